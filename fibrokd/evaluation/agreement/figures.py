"""Figures of how far two networks agree: pure functions of sums over images, and the table of them.

Sums of clusters add up, as those of :mod:`fibrokd.evaluation.totals` do, so a resample is a weighted sum of clusters.
Truth enters only where right and wrong answers are counted. Nothing here resamples or reads files.

Shape letters: N images, G clusters, R resamples, K stages; ``*batch`` one or more leading axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fibrokd.evaluation.metrics import accuracy, mean_absolute_stage_error, quadratic_kappa
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import Totals

OUTCOMES = ("both_right", "only_first_right", "only_second_right", "both_wrong_same_stage", "both_wrong_other_stages")
"""What may become of an image; every image has one."""


@dataclass(frozen=True, eq=False)
class PairTotals:
    """Sums over images that two networks answered, for one or many sets of images at once.

    Args:
        stages: Number of images by (stage of the first network, stage of the second one).
        distance: Sum of the total-variation distances of their probabilities.
        surer: Sum of the probabilities that the second network gives to the stages it calls, minus that of the first.
        outcomes: Number of images by :data:`OUTCOMES`.
    """

    stages: Float[np.ndarray, "*batch K K"]
    distance: Float[np.ndarray, "*batch"]
    surer: Float[np.ndarray, "*batch"]
    outcomes: Float[np.ndarray, "*batch 5"]

    @property
    def images(self) -> Float[np.ndarray, "*batch"]:
        """Number of images."""
        images: np.ndarray = self.outcomes.sum(axis=-1)
        return images

    def weighted(self, weights: Float[np.ndarray, "R G"]) -> PairTotals:
        """Return the totals of R weighted sums of the G sets held here."""
        G, K = self.stages.shape[0], self.stages.shape[-1]
        sums = weights @ np.column_stack([self.stages.reshape(G, K * K), self.distance, self.surer, self.outcomes])
        stages, distance, surer, outcomes = np.split(sums, [K * K, K * K + 1, K * K + 2], axis=1)
        return PairTotals(stages.reshape(-1, K, K), distance[:, 0], surer[:, 0], outcomes)


def pair_totals(first: Predictions, second: Predictions, codes: Int[np.ndarray, " N"]) -> PairTotals:
    """Return the totals of every cluster.

    Args:
        first: Answers of one network.
        second: Answers of the other one to the same images in the same order.
        codes: Cluster of every image, counted from 0.
    """
    G, K = int(codes.max()) + 1, len(first.scale)
    one, other = first.predicted, second.predicted
    cells = np.bincount((codes * K + one) * K + other, minlength=G * K * K)
    kinds = np.bincount(codes * len(OUTCOMES) + _outcomes(first, second), minlength=G * len(OUTCOMES))
    return PairTotals(
        stages=cells.reshape(G, K, K).astype(np.float64),
        distance=np.bincount(codes, weights=total_variation(first, second), minlength=G),
        surer=np.bincount(codes, weights=_stated(second) - _stated(first), minlength=G),
        outcomes=kinds.reshape(G, len(OUTCOMES)).astype(np.float64),
    )


def total_variation(first: Predictions, second: Predictions) -> Float[np.ndarray, " N"]:
    """Return half the sum over stages of |p − q| of every image: the probability that would have to be moved.

    Args:
        first: Answers of one network.
        second: Answers of the other one to the same images in the same order.
    """
    p, q = (part.probabilities / part.probabilities.sum(axis=1, keepdims=True) for part in (first, second))
    moved: np.ndarray = np.abs(p - q).sum(axis=1) / 2
    return moved


def _stated(part: Predictions) -> Float[np.ndarray, " N"]:
    """Probability of the stage that is called."""
    stated: np.ndarray = part.probabilities.max(axis=1) / part.probabilities.sum(axis=1)
    return stated


def _outcomes(first: Predictions, second: Predictions) -> Int[np.ndarray, " N"]:
    """Place of every image's outcome among :data:`OUTCOMES`."""
    one, other = first.predicted == first.truth, second.predicted == first.truth
    wrong = np.where(first.predicted == second.predicted, 3, 4)
    return np.where(one & other, 0, np.where(one, 1, np.where(other, 2, wrong)))


@dataclass(frozen=True)
class Figure:
    """One number per pair of networks and set of images.

    Args:
        title: What a report calls it.
        function: Totals [*batch] → values [*batch]; NaN where undefined.
        definition: One sentence for a reader who is no statistician.
        undefined: Why the function may answer NaN.
        proportion: It is a share of images.
        signed: It is a difference, and its sign is shown.
    """

    title: str
    function: Callable[[PairTotals], Float[np.ndarray, "*batch"]]
    definition: str
    undefined: str = "there are no images"
    proportion: bool = False
    signed: bool = False


def _of_stages(metric: Callable[[Totals], Float[np.ndarray, "*batch"]], pair: PairTotals) -> np.ndarray:
    """A metric of a confusion matrix, with the first network in the place of the truth."""
    nothing = np.zeros_like(pair.distance)
    return metric(Totals(pair.stages, nothing, nothing))


def same_stage(pair: PairTotals) -> Float[np.ndarray, "*batch"]:
    """Share of images to which both networks give the same stage."""
    return _of_stages(accuracy, pair)


def kappa(pair: PairTotals) -> Float[np.ndarray, "*batch"]:
    """Quadratic-weighted kappa of one network's stages against the other's; the same from either side."""
    return _of_stages(quadratic_kappa, pair)


def mean_absolute_difference(pair: PairTotals) -> Float[np.ndarray, "*batch"]:
    """Mean distance between the two stages of an image, in stages."""
    return _of_stages(mean_absolute_stage_error, pair)


def mean_total_variation(pair: PairTotals) -> Float[np.ndarray, "*batch"]:
    """Mean over images of half the sum of |p − q|, from 0 to 1."""
    return _divided(pair.distance, pair.images)


def _share(place: int) -> Callable[[PairTotals], np.ndarray]:
    return lambda pair: _divided(pair.outcomes[..., place], pair.images)


def error_overlap(pair: PairTotals) -> Float[np.ndarray, "*batch"]:
    """Share of images on which both err ÷ product of the shares on which each errs; 1 where errors are independent."""
    both = pair.outcomes[..., 3] + pair.outcomes[..., 4]
    first, second = both + pair.outcomes[..., 2], both + pair.outcomes[..., 1]
    return _divided(both * pair.images, first * second)


def overconfidence_gap(pair: PairTotals) -> Float[np.ndarray, "*batch"]:
    """Overconfidence (mean probability of the called stage minus accuracy) of the second network minus the first's."""
    more_often_right = pair.outcomes[..., 2] - pair.outcomes[..., 1]
    return _divided(pair.surer - more_often_right, pair.images)


def _divided(part: Float[np.ndarray, "*batch"], whole: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    ratio: np.ndarray = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return ratio


SAYING: dict[str, Figure] = {
    "same_stage": Figure(
        "Same stage", same_stage, "Share of images to which both networks give the same stage.", proportion=True
    ),
    "quadratic_kappa": Figure(
        "Quadratic kappa",
        kappa,
        "Agreement of the two networks' stages beyond chance, a disagreement weighing the square of its distance in "
        "stages; 0 is chance, 1 is the same stage throughout. The truth has no part in it.",
        "both networks give all images one and the same stage",
    ),
    "mean_absolute_difference": Figure(
        "Stages apart", mean_absolute_difference, "Mean distance between the stages that the two give to an image."
    ),
    "total_variation": Figure(
        "Probability moved",
        mean_total_variation,
        "How much probability would have to be moved between stages to turn one network's answer into the other's, on "
        "average (total-variation distance): 0 is the same answer, 1 has nothing in common.",
    ),
}
"""What two networks say beside each other, by the name that metrics.json uses."""

ERRING: dict[str, Figure] = {
    "both_right": Figure("Both right", _share(0), "Share of images that both stage right.", proportion=True),
    "only_first_right": Figure(
        "Only the first right", _share(1), "Share of images that only the first one stages right.", proportion=True
    ),
    "only_second_right": Figure(
        "Only the second right", _share(2), "Share of images that only the second one stages right.", proportion=True
    ),
    "both_wrong_same_stage": Figure(
        "Both wrong, same stage",
        _share(3),
        "Share of images to which both give the same wrong stage: they agree, and no agreement shows the error.",
        proportion=True,
    ),
    "both_wrong_other_stages": Figure(
        "Both wrong, other stages", _share(4), "Share of images to which they give two wrong stages.", proportion=True
    ),
    "error_overlap": Figure(
        "Wrong together, times expected",
        error_overlap,
        "Share of images that both stage wrong ÷ what it would be if the errors of one said nothing of those of the "
        "other (the product of their error shares). 1: as often as chance has it; above 1: they fail on the same "
        "images.",
        "one of the two made no error",
    ),
}
"""Where two networks are right and wrong together."""

BEING_SURE: dict[str, Figure] = {
    "overconfidence_gap": Figure(
        "Second more overconfident by",
        overconfidence_gap,
        "Overconfidence (mean probability of the called stage minus accuracy) of the second network minus that of the "
        "first, on the same images: 0 where both are as sure as they are right, or miss it by as much.",
        signed=True,
    ),
}
"""Whether one is surer than it is right by more than the other."""

FIGURES = SAYING | ERRING | BEING_SURE
"""Every figure of a pair."""
