"""Validation answers on which a temperature, a threshold or a rule may be fixed for other answers, or why none may.

What is fixed on images of a cluster is not fixed beforehand for other images of the same cluster. Splits by file name
keep patients in two splits at once, so this is no rare case.
"""

from __future__ import annotations

from collections.abc import Mapping

from fibrokd.evaluation.predictions import Predictions

FIXED_ON = "val"
"""Split on which things are fixed."""

NONE_THERE = "there are no answers on validation images"

Validation = Predictions | str
"""Answers on validation images, or why they may not be used."""


def validation_for(answers: Mapping[str, Predictions], *parts: Predictions) -> Validation:
    """Return the validation answers of a network, or why nothing may be fixed on them for these parts.

    Args:
        answers: Split → its answers.
        parts: What it would be fixed for; validation answers themselves are left to the caller.
    """
    known = answers.get(FIXED_ON)
    if known is None:
        return NONE_THERE
    clusters = set(known.groups)
    for part in parts:
        shared = len(clusters & set(part.groups)) if part.split != FIXED_ON else 0
        if shared:
            return (
                f"{shared} clusters hold validation and {part.split} images alike, so that nothing is fixed beforehand"
            )
    return known
