"""What metrics.json says of subgroups of the assessed images.

Every subgroup is held against all other images of which the same is known, on the same resamples of clusters. p-values
are corrected over the subgroups of a fact (Holm). Of several subgroups one is the worst by chance alone: it is named,
and that it was found by looking is said.

Shape letters: R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.comparisons.p_values import bootstrap_p, holm
from fibrokd.evaluation.image_facts import ImageFacts
from fibrokd.evaluation.intervals import (
    Bootstrap,
    Estimate,
    Interval,
    as_json,
    draw_counts,
    interval_of,
    percentile_interval,
    rounded,
)
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.subgroups.grouping import Grouping, grouping
from fibrokd.evaluation.totals import Totals, totals_by_group

LEAST = 20
"""Clusters on either side below which no gap is tested: percentiles of fewer find differences where there are none."""

SCORES = ("balanced_accuracy", "accuracy", "mean_absolute_stage_error")
"""Figures of every subgroup; the first decides which one is the worst."""


_PERFECT = {"balanced_accuracy": 1.0, "accuracy": 1.0, "mean_absolute_stage_error": 0.0}


def subgroups(sample: Bootstrap, facts: ImageFacts) -> dict[str, Any]:
    """Return ``subgroups`` of a split: fact → figures of its subgroups; nothing where no fact is known.

    Args:
        sample: Answers of a network on the split, and their resamples.
        facts: What is known of every image.
    """
    rows = facts.rows(sample.predictions)
    made = {
        column: grouping(facts.fact(column).at(rows), facts.in_split("train", column), facts.cuts.get(column))
        for column in facts.columns
    }
    parted = {column: found for column, found in made.items() if isinstance(found, Grouping)}
    resampled = _resampled(sample, parted)
    entries: dict[str, Any] = {}
    for column, found in made.items():
        entries[column] = {"refused": found} if isinstance(found, str) else _column(sample, found, resampled[column])
    return {"subgroups": entries} if entries else {}


class _Sums:
    """Totals of some images: by cluster, together, and in every resample."""

    def __init__(self, by_group: Totals) -> None:
        self.by_group = by_group
        self.pooled = by_group.pooled()
        self._drawn: list[Totals] = []

    def draw(self, weights: Float[np.ndarray, "r G"]) -> None:
        self._drawn.append(self.by_group.weighted(weights))

    @property
    def resampled(self) -> Totals:
        parts = zip(*((each.confusion, each.surprise, each.squared_error) for each in self._drawn), strict=True)
        return Totals(*(np.concatenate(part) for part in parts))

    @property
    def clusters(self) -> int:
        return int((self.by_group.images > 0).sum())


def _resampled(sample: Bootstrap, parted: Mapping[str, Grouping]) -> dict[str, list[tuple[_Sums, _Sums]]]:
    """Of every fact and subgroup, its own sums and those of the others; all clusters are drawn once for all."""
    part = sample.predictions
    found = {
        column: [
            (_Sums(totals_by_group(part, each.codes == code)), _Sums(totals_by_group(part, others)))
            for code in range(len(each.names))
            for others in [(each.codes >= 0) & (each.codes != code)]
        ]
        for column, each in parted.items()
    }
    for weights in draw_counts(sample.clusters, sample.config):
        for pairs in found.values():
            for own, others in pairs:
                own.draw(weights)
                others.draw(weights)
    return found


def _column(sample: Bootstrap, found: Grouping, sums: Sequence[tuple[_Sums, _Sums]]) -> dict[str, Any]:
    groups = {name: _group(sample, own, others) for name, (own, others) in zip(found.names, sums, strict=True)}
    groups = {name: entry for name, entry in groups.items() if entry["images"]}
    for metric in SCORES:
        tested = [gap for entry in groups.values() if "p" in (gap := entry["gap"][metric])]
        p_values = [gap["p"] for gap in tested]
        # Each of two subgroups is the other's others: that is one comparison.
        for gap, corrected in zip(tested, p_values if len(groups) == 2 else holm(p_values), strict=True):
            gap["p_holm"] = rounded(corrected)
    compared = [name for name, entry in groups.items() if entry["gap"][SCORES[0]]["value"] is not None]
    known = {name: groups[name][SCORES[0]] for name in compared if groups[name][SCORES[0]]["low"] is not None}
    worst = min(known, key=lambda name: known[name]["value"]) if len(known) > 1 else None
    return {
        "unknown_images": int((found.codes < 0).sum()),
        **({"cuts": list(found.cuts), "cut_on": found.cut_on} if found.cuts else {}),
        "groups": groups,
        **({"worst": {"group": worst, "of": len(known)}} if worst is not None else {}),
    }


def _group(sample: Bootstrap, own: _Sums, others: _Sums) -> dict[str, Any]:
    names = sample.predictions.scale.names
    absent = [name for name, images in zip(names, own.pooled.confusion[0].sum(axis=1), strict=True) if not images]
    refused = _refusal(sample, own, others, absent)
    drawn, rest = own.resampled, others.resampled
    entry: dict[str, Any] = {"images": int(own.pooled.images[0]), "clusters": own.clusters, "absent_stages": absent}
    for name in SCORES:
        entry[name] = as_json(_figure(name, own, drawn, sample))
    entry["gap"] = {name: _gap(name, (own, drawn), (others, rest), sample, refused[name]) for name in SCORES}
    return entry


def _refusal(sample: Bootstrap, own: _Sums, others: _Sums, absent: Sequence[str]) -> dict[str, str]:
    """Why a figure of a subgroup does not compare with that of the others; empty where it does."""
    fewest = min(own.clusters, others.clusters)
    least = max(LEAST, sample.config.min_clusters)
    if fewest < least:
        return dict.fromkeys(SCORES, f"only {fewest} clusters on one side (at least {least} needed)")
    stages = [set(np.flatnonzero(side.pooled.confusion[0].sum(axis=1)).tolist()) for side in (own, others)]
    reason = "" if stages[0] == stages[1] else f"its stages are others ({', '.join(absent) or 'more'})"
    return {name: reason if name == "balanced_accuracy" else "" for name in SCORES}


def _figure(name: str, own: _Sums, drawn: Totals, sample: Bootstrap) -> Interval:
    metric = METRICS[name]
    value = float(metric.function(own.pooled)[0])
    found = Estimate(value, metric.function(drawn), own.clusters, metric.undefined, metric.proportion)
    return interval_of(found, sample.config)


def _gap(
    name: str, own: tuple[_Sums, Totals], others: tuple[_Sums, Totals], sample: Bootstrap, refused: str
) -> dict[str, Any]:
    """The subgroup's figure minus that of the others."""
    config, clusters = sample.config, min(own[0].clusters, others[0].clusters)
    if refused:
        return as_json(Interval(None, None, None, config.level, clusters, f"not estimable: {refused}"))
    function = METRICS[name].function
    figures = [float(function(side[0].pooled)[0]) for side in (own, others)]
    value = figures[0] - figures[1]
    if _PERFECT[name] in figures or (name != "mean_absolute_stage_error" and 0.0 in figures):
        # Percentiles would take that figure for certain, and call others worse for one mistake.
        note = "no interval: on one side all images gave the same answer"
        return as_json(Interval(value, None, None, config.level, clusters, note))
    drawn = function(own[1]) - function(others[1])
    found = percentile_interval(value, drawn, clusters, config)
    return as_json(found) | ({"p": rounded(bootstrap_p(drawn))} if found.low is not None else {})
