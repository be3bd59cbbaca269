"""What metrics.json says of patients and studies: one answer each, made of those to their images.

How answers to images become one is chosen on validation units of the same network and never moves: the rule with the
highest balanced accuracy there, of equally good ones the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fibrokd.evaluation.aggregation import RULES, OfUnits, of_units
from fibrokd.evaluation.end_points.document import end_points
from fibrokd.evaluation.fixed_beforehand import FIXED_ON, Validation
from fibrokd.evaluation.image_facts import ImageFacts
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap, rounded
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.stage_figures import stage_figures
from fibrokd.evaluation.totals import totals_by_group

UNITS = ("study", "patient")
"""What images are put together by, the smallest first."""

DEFAULT_RULE = "mean"
"""Rule where none can be chosen."""


def units(part: Predictions, validation: Validation, facts: ImageFacts, config: BootstrapConfig) -> dict[str, Any]:
    """Return ``units`` of a split: unit → figures; without units of which nothing is known, or that are single images.

    Args:
        part: Answers of a network on the split.
        validation: Answers of the same network on validation images, or why there are none.
        facts: Patient and study of every image.
        config: How intervals are made.
    """
    found = {}
    for unit in UNITS:
        known, names = _known(part, facts, unit)
        if known is None or len(set(names)) == len(names):
            continue
        if unit != "patient" and len(set(names)) == len({name.split("/")[0] for name in names}):
            continue  # one study of every patient: the same figures again
        found[unit] = _unit(part, known, names, _validation(part, validation, facts, unit), config)
    return {"units": found} if found else {}


def _known(part: Predictions, facts: ImageFacts, unit: str) -> tuple[Predictions | None, list[str]]:
    """The answers to images whose unit is known, and these units."""
    rows = facts.rows(part)
    patients, own = facts.fact("patient").at(rows), facts.fact(unit).at(rows)
    known = np.flatnonzero((patients.codes >= 0) & (own.codes >= 0))
    if not len(known):
        return None, []
    names = [own.names[code] for code in own.codes[known].tolist()]
    if unit != "patient":
        # Numbers of studies are those of a patient.
        owners = (patients.names[code] for code in patients.codes[known].tolist())
        names = [f"{owner}/{name}" for owner, name in zip(owners, names, strict=True)]
    return part if len(known) == len(part) else part.rows(known), names


def _validation(
    part: Predictions, validation: Validation, facts: ImageFacts, unit: str
) -> tuple[Predictions, list[str]] | str:
    """The validation answers to images whose unit is known, and these units; or why there are none."""
    if isinstance(validation, str):
        return validation
    if part.split == FIXED_ON:
        return "these are the validation images themselves"
    known, names = _known(validation, facts, unit)
    return f"no {unit} of the validation images is known" if known is None else (known, names)


def _unit(
    part: Predictions,
    known: Predictions,
    names: list[str],
    validation: tuple[Predictions, list[str]] | str,
    config: BootstrapConfig,
) -> dict[str, Any]:
    sizes = np.unique(names, return_counts=True)[1]
    counts: dict[str, Any] = {
        "unknown_images": len(part) - len(known),
        "images_per_unit": {"least": int(sizes.min()), "median": float(np.median(sizes)), "most": int(sizes.max())},
    }
    chosen, reached, units_there = _chosen(validation, config.min_clusters)
    rule = RULES[chosen or DEFAULT_RULE]
    made = of_units(known, names, rule)
    entry = {"rule": chosen or DEFAULT_RULE, "left_out": made.left_out, **counts}
    if chosen:
        entry["chosen_on"] = {"split": FIXED_ON, "units": units_there, "balanced_accuracy": reached}
    if made.answers is None:
        return entry
    own = validation if isinstance(validation, str) else of_units(*validation, rule).answers
    own = "no validation cluster has one true stage" if own is None else own
    return entry | stage_figures(bootstrap(made.answers, config), "units") | end_points(made.answers, own, config)


def _chosen(validation: tuple[Predictions, list[str]] | str, least: int) -> tuple[str | None, dict[str, float], int]:
    """The best rule on validation units, what every rule reaches there, and how many units these are."""
    if isinstance(validation, str):
        return None, {}, 0
    found = {name: of_units(*validation, rule) for name, rule in RULES.items()}
    reached = {name: _balanced_accuracy(made) for name, made in found.items()}
    answers = found[DEFAULT_RULE].answers
    if answers is None or len(set(answers.groups)) < least:
        return None, {}, 0
    return max(RULES, key=lambda name: reached[name]), reached, len(answers)


def _balanced_accuracy(made: OfUnits) -> float:
    if made.answers is None:
        return 0.0
    return rounded(float(METRICS["balanced_accuracy"].function(totals_by_group(made.answers).pooled())[0]))
