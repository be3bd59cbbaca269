"""One network's answers to one end point, on all images and on every resample of their clusters.

Resamples are those of every other metric: they depend on the seed and the number of clusters alone.

Shape letters: N images, M of one class, G clusters, R resamples, r of a block, T thresholds, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from fibrokd.evaluation.end_points.decisions import Decisions
from fibrokd.evaluation.end_points.ranking import Ranking, rank
from fibrokd.evaluation.intervals import BootstrapConfig, draw_small_counts
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import cluster_codes


@dataclass(frozen=True, eq=False)
class Area:
    """An area under a curve.

    Args:
        value: The area on all images; NaN where a class is missing.
        resampled: The area on every resample.
    """

    value: float
    resampled: Float[np.ndarray, " R"]


@dataclass(frozen=True, eq=False)
class EndPointSample:
    """Answers to one end point, and their resamples.

    Args:
        by_group: Decisions of the G clusters at T thresholds, [G, T].
        pooled: Decisions on all images, [1, T].
        resampled: Decisions on the resamples, [R, T].
        auroc: Area under the receiver operating characteristic.
        average_precision: Area under precision by recall, as a sum of steps.
        positive: Positive images of every cluster.
        negative: Negative images of every cluster.
        config: How resamples were drawn.
    """

    by_group: Decisions
    pooled: Decisions
    resampled: Decisions
    auroc: Area
    average_precision: Area
    positive: Float[np.ndarray, " G"]
    negative: Float[np.ndarray, " G"]
    config: BootstrapConfig


def probability_of(part: Predictions, cutoff: int) -> Float[np.ndarray, " N"]:
    """Return the probability of "stage ≥ cutoff" of every image, after its probabilities were divided by their sum.

    Rounded to twelve decimals, so that sums of the same probabilities are equal whatever the order of addition.
    """
    p = part.probabilities.astype(np.float64)
    scores: np.ndarray = np.round(p[:, cutoff:].sum(axis=1) / p.sum(axis=1), 12)
    return scores


def has_end_point(part: Predictions, cutoff: int) -> Bool[np.ndarray, " N"]:
    """Return which images truly have "stage ≥ cutoff"."""
    positive: np.ndarray = part.truth >= cutoff
    return positive


def end_point_samples(
    part: Predictions, thresholds: Mapping[int, Sequence[float]], config: BootstrapConfig
) -> dict[int, EndPointSample]:
    """Resample the clusters of ``part`` and count decisions on every end point at every threshold.

    Args:
        part: Answers.
        thresholds: Index k of the end point "stage ≥ k" → its thresholds; an image is called positive where its
            probability is at or above one.
        config: How resamples are drawn.
    """
    clusters = cluster_codes(part)
    G = int(clusters.max()) + 1
    counted = {cutoff: _counted(part, cutoff, limits, clusters, G) for cutoff, limits in thresholds.items()}
    drawn: dict[int, list[_Sums]] = {cutoff: [] for cutoff in thresholds}
    for block in draw_small_counts(G, config):
        for cutoff, each in counted.items():
            drawn[cutoff].append(each.sums(block))
    return {cutoff: _sample(each, drawn[cutoff], config) for cutoff, each in counted.items()}


class _Sums(NamedTuple):
    """Of some resamples: AUROC, average precision, and sums of the columns."""

    auroc: Float[np.ndarray, " r"]
    average_precision: Float[np.ndarray, " r"]
    columns: Float[np.ndarray, "r C"]


@dataclass(frozen=True, eq=False)
class _Counted:
    """One end point before resampling: images in order, and columns of counts per cluster.

    Columns are positive images, those that reach each threshold, and the same of negative images.
    """

    ranking: Ranking
    columns: Float[np.ndarray, "G C"]

    def sums(self, weights: Integer[np.ndarray, "r G"]) -> _Sums:
        return _Sums(*self.ranking.areas(weights), weights.astype(np.float64) @ self.columns)


def _counted(
    part: Predictions, cutoff: int, limits: Sequence[float], clusters: Int[np.ndarray, " N"], G: int
) -> _Counted:
    scores, positive = probability_of(part, cutoff), has_end_point(part, cutoff)
    limit = np.asarray(limits, dtype=np.float64)
    tables = [_at_or_above(scores[rows], clusters[rows], limit, G) for rows in (positive, ~positive)]
    return _Counted(rank(scores, positive, clusters), np.concatenate(tables, axis=1))


def _sample(counted: _Counted, drawn: Sequence[_Sums], config: BootstrapConfig) -> EndPointSample:
    pooled = counted.sums(np.ones((1, len(counted.columns)), dtype=np.uint8))
    auroc, average_precision, columns = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    positive, negative = np.split(counted.columns, 2, axis=1)
    return EndPointSample(
        by_group=_decisions(counted.columns),
        pooled=_decisions(pooled.columns),
        resampled=_decisions(columns),
        auroc=Area(float(pooled.auroc[0]), auroc),
        average_precision=Area(float(pooled.average_precision[0]), average_precision),
        positive=positive[:, 0],
        negative=negative[:, 0],
        config=config,
    )


def _at_or_above(
    scores: Float[np.ndarray, " M"], clusters: Int[np.ndarray, " M"], limits: Float[np.ndarray, " T"], G: int
) -> Float[np.ndarray, "G T+1"]:
    """Return the images of every cluster, and how many of them reach each limit."""
    order = np.argsort(limits)
    reached = np.searchsorted(limits[order], scores, side="right")  # so many limits, the lowest ones
    width = len(limits) + 1
    exactly = np.bincount(clusters * width + reached, minlength=G * width).reshape(G, width)
    at_least = exactly[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.float64)
    table = np.empty_like(at_least)
    table[:, 0] = at_least[:, 0]
    table[:, 1 + order] = at_least[:, 1:]
    return table


def _decisions(columns: Float[np.ndarray, "sets C"]) -> Decisions:
    positive, negative = np.split(columns, 2, axis=1)
    hits, alarms = positive[:, 1:], negative[:, 1:]
    return Decisions(hits=hits, misses=positive[:, :1] - hits, alarms=alarms, passes=negative[:, :1] - alarms)
