"""metrics.json: every metric with its interval by network and split, end points, calibration, and pairs of networks.

The shape is published in metrics.schema.json beside this file. The document depends on the predictions, the costs and
the bootstrap configuration only; wall times and hosts have no place in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from fibrokd.errors import TableError
from fibrokd.evaluation.agreement.document import agreements
from fibrokd.evaluation.calibration.document import calibration
from fibrokd.evaluation.comparisons.document import comparisons
from fibrokd.evaluation.conformal.document import coverage
from fibrokd.evaluation.conformal.stage_sets import CALIBRATED_ON
from fibrokd.evaluation.end_points.document import end_points, thresholds_told
from fibrokd.evaluation.fixed_beforehand import FIXED_ON, Validation, validation_for
from fibrokd.evaluation.image_facts import ImageFacts
from fibrokd.evaluation.intervals import (
    DEFAULT_BOOTSTRAP,
    Bootstrap,
    BootstrapConfig,
    as_json,
    bootstrap,
)
from fibrokd.evaluation.overlap import LEARNED_FROM, AtLevel, Portion, at_levels
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.stage_figures import stage_figures
from fibrokd.evaluation.subgroups.document import subgroups
from fibrokd.evaluation.units.document import units

FORMAT = 6
WELL_KNOWN = 0.9  # share of images with a patient above which clusters may be read as patients
Tied = Mapping[str, Mapping[str, frozenset[str]]]
SCHEMA = Path(__file__).with_name("metrics.schema.json")


def metrics_document(
    predictions: Sequence[Predictions],
    costs: Mapping[str, Mapping[str, int]],
    stamp: Mapping[str, Any] | None = None,
    config: BootstrapConfig = DEFAULT_BOOTSTRAP,
    known_patients: int | float | None = None,
    tied: Tied | None = None,
    facts: ImageFacts | None = None,
) -> dict[str, Any]:
    """Return the content of metrics.json.

    Args:
        predictions: Answers of the networks, best as read back from predictions.csv; their order is kept.
        costs: Network → ``{"parameters": number}``.
        stamp: Integrity stamp of the prepared folder.
        config: How intervals are made.
        known_patients: Share of the images whose patient is known; ``None`` if that is not known either.
        tied: Split → level → images with a relative among those learned from, see
            :func:`fibrokd.evaluation.overlap.relatives`; without it nothing is said about inflation.
        facts: What is known of every image; without it nothing is said of patients, studies and subgroups.

    Raises:
        TableError: There are no predictions, costs are missing, parts repeat, scales differ, or networks were
            assessed on different images of the same split.
    """
    _check(predictions, costs)
    samples = [bootstrap(part, config) for part in predictions]
    answers = {name: {part.split: part for part in predictions if part.network == name} for name in costs}
    networks: dict[str, Any] = {}
    for sample in samples:
        name = sample.predictions.network
        entry = networks.setdefault(name, {"parameters": int(costs[name]["parameters"])})
        split = sample.predictions.split
        part = sample.predictions
        validation = validation_for(answers[name], part)
        entry[split] = {
            **stage_figures(sample),
            **calibration(part, validation, config),
            **coverage(part, answers[name], config),
            **end_points(part, validation, config),
            **_inflation(sample, tied or {}),
            **_by_facts(sample, validation, facts),
        }
    return {
        "format": FORMAT,
        "scale": list(predictions[0].scale.names),
        "level": config.level,
        "bootstrap": bootstrap_words(predictions, config, known_patients),
        "networks": networks,
        "comparisons": comparisons(samples, {key: thresholds_told(networks[key[0]][key[1]]) for key in _keys(samples)}),
        "agreement": agreements(samples),
        "stamp": dict(stamp or {}),
    }


def _keys(samples: Sequence[Bootstrap]) -> list[tuple[str, str]]:
    return [(sample.predictions.network, sample.predictions.split) for sample in samples]


def bootstrap_words(
    predictions: Sequence[Predictions], config: BootstrapConfig, known_patients: int | float | None = None
) -> dict[str, Any]:
    """Return how intervals were made, as documents tell it.

    Args:
        predictions: Answers with their clusters.
        config: How intervals are made.
        known_patients: Share of the images whose patient is known; ``None`` if that is not known either.
    """
    return {
        "method": "percentile, whole clusters resampled",
        "clusters": cluster_words(predictions, known_patients),
        "resamples": config.resamples,
        "seed": config.seed,
        "min_clusters": config.min_clusters,
    }


def cluster_words(predictions: Sequence[Predictions], known_patients: int | float | None = None) -> str:
    """Return what the clusters of these predictions are.

    Args:
        predictions: Answers with their clusters.
        known_patients: Share of the images whose patient is known; ``None`` if that is not known either.
    """
    alone = all(len(set(part.groups)) == len(part) for part in predictions)
    if alone:
        return "images (no patient is known)" if not known_patients else "images (each is alone in its cluster)"
    tied = "images tied by any evidence (patient, study, file name, content, likeness)"
    if known_patients is None or known_patients >= WELL_KNOWN:
        return tied
    return f"{tied}; the patient is known for {100 * known_patients:.1f} % of the images only"


def _check(predictions: Sequence[Predictions], costs: Mapping[str, Mapping[str, int]]) -> None:
    pairs = [(part.network, part.split) for part in predictions]
    networks = dict.fromkeys(network for network, _ in pairs)
    problems = [
        f"{network} on {split} comes twice"
        for network, split in dict.fromkeys(pairs)
        if pairs.count((network, split)) > 1
    ]
    problems += [f"costs of {name} lack 'parameters'" for name in networks if "parameters" not in costs.get(name, {})]
    for name in networks:
        problems += _in_two_splits(name, [part for part in predictions if part.network == name])
    if not predictions:
        problems.append("there are none")
    if len({part.scale for part in predictions}) > 1:
        problems.append("they are on different stage scales")
    if problems:
        raise TableError("the predictions to assess", problems, "Collect the predictions again with `fibrokd assess`.")


def _in_two_splits(network: str, parts: Sequence[Predictions]) -> list[str]:
    """An image belongs to one split: of one in two, something would be fixed on the very image that is assessed."""
    problems = []
    for one, other in combinations(parts, 2):
        known = set(one.image_ids)
        shared = [image_id for image_id in other.image_ids if image_id in known] if one.split != other.split else []
        if shared:
            shown = ", ".join(shared[:5]) + (f" and {len(shared) - 5} more" if len(shared) > 5 else "")
            problems.append(f"{network}: {one.split} and {other.split} hold the same images ({shown})")
    return problems


def _by_facts(sample: Bootstrap, validation: Validation, facts: ImageFacts | None) -> dict[str, Any]:
    """Figures of patients, studies and subgroups; not of splits on which something is fixed."""
    part = sample.predictions
    if facts is None or part.split in (FIXED_ON, CALIBRATED_ON):
        return {}
    return {**units(part, validation, facts, sample.config), **subgroups(sample, facts)}


def _inflation(sample: Bootstrap, tied: Tied) -> dict[str, Any]:
    levels = tied.get(sample.predictions.split)
    if not levels:
        return {}
    found = at_levels(sample, levels)
    sources = [name for name in LEARNED_FROM if name != sample.predictions.split]
    return {"inflation": {"learned_from": sources, "levels": {name: _level(row) for name, row in found.items()}}}


def _level(row: AtLevel) -> dict[str, Any]:
    gaps = {name: as_json(gap) for name, gap in row.gap_points.items()}
    return {**_portion(row.left), "gap_points": gaps, "related": _portion(row.related)}


def _portion(portion: Portion) -> dict[str, Any]:
    scores = {name: as_json(score) for name, score in portion.scores.items()}
    return {"images": portion.images, "clusters": portion.clusters, **scores}
