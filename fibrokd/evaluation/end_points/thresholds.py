"""Thresholds of an end point, fixed on validation images: a rule each.

An image is called positive where its score is at or above the threshold. A threshold lies halfway between the lowest
score that it calls positive and the next lower one of the validation images, so that rounding decides nothing there.
Nothing here sees test images.

Shape letters: N images, T distinct scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

SENSITIVITY = 0.95
"""What the second rule asks of the validation images."""


@dataclass(frozen=True, eq=False)
class Curve:
    """What every distinct score would do as a threshold, from the strictest to the one that calls all positive.

    Args:
        scores: Distinct scores, descending.
        sensitivity: Share of the positive images at or above each.
        specificity: Share of the negative images below each.
    """

    scores: Float[np.ndarray, " T"]
    sensitivity: Float[np.ndarray, " T"]
    specificity: Float[np.ndarray, " T"]


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen.

    Args:
        title: What a report calls it.
        choose: Curve of the validation images → place of the lowest score that is called positive.
        definition: One sentence for a reader who is no statistician.
    """

    title: str
    choose: Callable[[Curve], int]
    definition: str


def curve(scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"]) -> Curve | None:
    """Return the curve of some images; ``None`` where one of the two classes is missing."""
    if positive.all() or not positive.any():
        return None
    distinct, place = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(place, weights=positive, minlength=len(distinct)))
    alarms = np.cumsum(np.bincount(place, weights=~positive, minlength=len(distinct)))
    return Curve(-distinct, hits / hits[-1], 1 - alarms / alarms[-1])


def youden(found: Curve) -> int:
    """Return where sensitivity + specificity is highest; of equal ones the most sensitive.

    Reference: Youden, Cancer 3 (1950) 32–35, DOI 10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    index = found.sensitivity + found.specificity
    return int(np.flatnonzero(np.isclose(index, index.max(), rtol=0, atol=1e-12))[-1])


def sensitive(found: Curve) -> int:
    """Return the strictest place whose sensitivity is at least :data:`SENSITIVITY`."""
    return int(np.flatnonzero(found.sensitivity >= SENSITIVITY - 1e-12)[0])


def threshold(rule: Rule, found: Curve) -> float:
    """Return the threshold that a rule chooses; 0 where it calls every image positive."""
    place = rule.choose(found)
    if place + 1 == len(found.scores):
        return 0.0
    above, below = float(found.scores[place]), float(found.scores[place + 1])
    # Scores have twelve decimals, their middle thirteen: what is written down is what was used.
    middle = round((above + below) / 2, 13)
    return middle if below < middle <= above else above


RULES: dict[str, Rule] = {
    "youden": Rule(
        "Youden",
        youden,
        "Threshold with the highest sum of sensitivity and specificity on the validation images.",
    ),
    "sensitivity_95": Rule(
        "95 % sensitivity",
        sensitive,
        "Strictest threshold that finds at least 95 % of the validation images that have the end point.",
    ),
}
"""Rules by the name that metrics.json uses."""
