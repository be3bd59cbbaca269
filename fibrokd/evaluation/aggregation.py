"""From images to units: one answer for all the images of a patient, a study, or whatever is known to belong together.

Shape letters: N images, U units, K stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from fibrokd.evaluation.predictions import Predictions

Answers = Float[np.ndarray, "N K"]
Units = Int[np.ndarray, " N"]

_LEAST = 1e-12


@dataclass(frozen=True)
class Rule:
    """How answers to images become one.

    Args:
        title: What a report calls it.
        function: Probabilities [N, K] (rows sum to 1), unit of every image, number of units → probabilities [U, K],
            of any sum.
        definition: One sentence for a reader who is no statistician.
    """

    title: str
    function: Callable[[Answers, Units, int], Float[np.ndarray, "U K"]]
    definition: str


@dataclass(frozen=True, eq=False)
class OfUnits:
    """Answers for whole units.

    Args:
        answers: One row per unit that has one true stage, units in ascending order of their name, which is their image
            id; their group is the cluster of their images. ``None`` where no unit has one true stage.
        left_out: Units whose images have several true stages, so that they have none of their own.
    """

    answers: Predictions | None
    left_out: int


def mean(p: Answers, units: Units, count: int) -> Float[np.ndarray, "U K"]:
    """Return mean probabilities (the sum rule)."""
    return np.stack([np.bincount(units, weights=column, minlength=count) for column in p.T], axis=1)


def product(p: Answers, units: Units, count: int) -> Float[np.ndarray, "U K"]:
    """Return geometric means of probabilities (the product rule)."""
    logs = mean(np.log(np.maximum(p, _LEAST)), units, count) / np.bincount(units, minlength=count)[:, None]
    geometric: np.ndarray = np.exp(logs - logs.max(axis=1, keepdims=True))
    return geometric


def median(p: Answers, units: Units, count: int) -> Float[np.ndarray, "U K"]:
    """Return the median probability of every stage; where all medians are 0, the mean."""
    medians = pd.DataFrame(p).groupby(units).median().to_numpy(dtype=np.float64, copy=True)
    nothing = medians.sum(axis=1) == 0
    medians[nothing] = mean(p, units, count)[nothing]
    return medians


def votes(p: Answers, units: Units, count: int) -> Float[np.ndarray, "U K"]:
    """Return the share of images that each stage is the most probable one of."""
    K = p.shape[1]
    return np.bincount(units * K + p.argmax(axis=1), minlength=count * K).reshape(count, K).astype(np.float64)


def surest(p: Answers, units: Units, count: int) -> Float[np.ndarray, "U K"]:
    """Return the answer whose most probable stage is the most probable; of equally sure ones their mean."""
    sureness = np.round(p.max(axis=1), 12)
    highest = pd.Series(sureness).groupby(units).max().to_numpy(dtype=np.float64)
    kept = sureness == highest[units]
    return mean(p[kept], units[kept], count)


RULES: dict[str, Rule] = {
    "mean": Rule("Mean probability", mean, "Mean of the stage probabilities of its images."),
    "product": Rule("Product", product, "Geometric mean of the stage probabilities: one firm no outweighs many."),
    "median": Rule("Median", median, "Median probability of every stage over its images."),
    "votes": Rule("Majority", votes, "Share of its images that are called each stage."),
    "surest": Rule("Surest image", surest, "Answer to the image that the network is surest of."),
}
"""Rules by the name that metrics.json uses; of equally good ones the first."""


def of_units(part: Predictions, names: Sequence[str], rule: Rule) -> OfUnits:
    """Return one answer per unit, rounded to twelve decimals: equal answers give the same however many there are.

    Args:
        part: Answers to images.
        names: Unit of every image.
        rule: How its answers become one.
    """
    units, known = pd.factorize(np.array(names, dtype=object), sort=True)
    U, K = len(known), len(part.scale)
    counts = np.bincount(units * K + part.truth, minlength=U * K).reshape(U, K)
    one = (counts > 0).sum(axis=1) == 1
    if not one.any():
        return OfUnits(None, U)
    p = part.probabilities.astype(np.float64)
    made = rule.function(p / p.sum(axis=1, keepdims=True), units, U)[one]
    first = np.unique(units, return_index=True)[1]
    answers = replace(
        part,
        image_ids=tuple(known[one]),
        groups=tuple(part.groups[row] for row in first[one]),
        truth=counts[one].argmax(axis=1).astype(np.int64),
        probabilities=np.round(made / made.sum(axis=1, keepdims=True), 12),
    )
    return OfUnits(answers, int((~one).sum()))


def mean_by_cluster(part: Predictions) -> OfUnits:
    """Return the mean probabilities over the images of every cluster; image id and group are both the cluster."""
    return of_units(part, part.groups, RULES["mean"])
