"""Whether two networks rank the images of an end point equally well: DeLong's test, for images that come in clusters.

Every positive image has a share of negative ones that score less, and the reverse; the area is the mean of either.
How far sums of these shares differ between clusters gives the covariance of two areas. With one image per cluster it is
DeLong's.

Shape letters: N images, P of them positive, Q negative, G clusters.

References:
    Obuchowski, Biometrics 1997;53:567, DOI 10.2307/2533958, equations 3 to 5.
    DeLong, DeLong and Clarke-Pearson, Biometrics 1988;44:837, DOI 10.2307/2531595.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr, ndtri

_NOTHING = 1e-14
"""Variance below which two areas differ by nothing but rounding."""


@dataclass(frozen=True)
class AreaDifference:
    """Two areas under receiver operating characteristics, compared.

    Args:
        value: First minus second.
        deviation: Its standard deviation over clusters.
        p: Two-sided p-value; ``None`` where nothing varies.
        clusters: Clusters of the smaller class.
    """

    value: float
    deviation: float
    p: float | None
    clusters: int

    def bounds(self, level: float) -> tuple[float, float]:
        """Return normal bounds, cut at −1 and 1.

        Args:
            level: Nominal coverage.
        """
        reach = float(ndtri((1 + level) / 2)) * self.deviation
        return max(-1.0, self.value - reach), min(1.0, self.value + reach)


def compare_areas(
    first: Float[np.ndarray, " N"],
    second: Float[np.ndarray, " N"],
    positive: Bool[np.ndarray, " N"],
    clusters: Int[np.ndarray, " N"],
) -> AreaDifference | None:
    """Compare how two networks rank the same images; ``None`` where a class has fewer than two clusters.

    Args:
        first: Scores of the first network.
        second: Scores of the second one.
        positive: Who has the end point.
        clusters: Cluster of every image, counted from 0.
    """
    G = int(clusters.max()) + 1
    with_it, without = (int(np.count_nonzero(np.bincount(clusters[rows]))) for rows in (positive, ~positive))
    if min(with_it, without) < 2:
        return None
    one, other = (_shares(scores, positive, clusters, G) for scores in (first, second))
    value = one.area - other.area
    up, down = one.positive - other.positive, one.negative - other.negative
    total, P, Q = np.count_nonzero(np.bincount(clusters)), int(positive.sum()), int((~positive).sum())
    variance = (
        with_it / (with_it - 1) * float(up @ up) / P**2
        + without / (without - 1) * float(down @ down) / Q**2
        + 2 * total / (total - 1) * float(up @ down) / (P * Q)
    )
    if variance < _NOTHING:
        # Equal rankings; or areas that differ in every cluster alike, which no test is about.
        return AreaDifference(value, 0.0, 1.0 if abs(value) < _NOTHING else None, min(with_it, without))
    deviation = math.sqrt(variance)
    return AreaDifference(value, deviation, float(2 * ndtr(-abs(value) / deviation)), min(with_it, without))


class _Shares(NamedTuple):
    """The area, and by how much the shares of every cluster's images exceed it, positive and negative ones apart."""

    area: float
    positive: Float[np.ndarray, " G"]
    negative: Float[np.ndarray, " G"]


def _shares(
    scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"], clusters: Int[np.ndarray, " N"], G: int
) -> _Shares:
    own, others = scores[positive], scores[~positive]
    ascending, others_ascending = np.sort(own), np.sort(others)
    beaten = _midway(others_ascending, own) / len(others)
    beating = 1 - _midway(ascending, others) / len(own)
    area = float(beaten.mean())
    sums = [
        np.bincount(clusters[rows], weights=shares - area, minlength=G)
        for rows, shares in ((positive, beaten), (~positive, beating))
    ]
    return _Shares(area, *sums)


def _midway(ascending: Float[np.ndarray, " P"], values: Float[np.ndarray, " Q"]) -> Float[np.ndarray, " Q"]:
    """How many sorted numbers lie below each value, equal ones counted half."""
    lower, upto = np.searchsorted(ascending, values, side="left"), np.searchsorted(ascending, values, side="right")
    middle: np.ndarray = (lower + upto) / 2
    return middle
