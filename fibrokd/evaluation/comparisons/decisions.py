"""How two networks differ in sensitivity and specificity, each at its own threshold that was fixed beforehand.

Right decisions on images of one class are counted by cluster; their differences are resampled with the clusters, and
tested by their signs (McNemar's test for clusters).

Shape letters: N images, G clusters, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from fibrokd.evaluation.comparisons.signs import sign_test
from fibrokd.evaluation.end_points.decisions import ratio
from fibrokd.evaluation.end_points.sample import has_end_point, probability_of
from fibrokd.evaluation.intervals import BootstrapConfig, Estimate, Interval, draw_counts, interval_of
from fibrokd.evaluation.pairing import in_order_of
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import cluster_codes


class AtThreshold(NamedTuple):
    """Answers of one network to one end point, and its probability at and above which an image is called positive."""

    answers: Predictions
    threshold: float


class DecisionDifference(NamedTuple):
    """First minus second, and the p-value of no difference; ``None`` where there is no interval."""

    difference: Interval
    p: float | None


def compare_decisions(
    first: AtThreshold, second: AtThreshold, cutoff: int, config: BootstrapConfig
) -> Iterator[tuple[str, DecisionDifference]]:
    """Yield the differences in ``sensitivity`` and ``specificity`` on the same images.

    Args:
        first: One network with its threshold.
        second: The other one.
        cutoff: Index k of the end point "stage ≥ k".
        config: How intervals are made.

    Raises:
        TableError: The two answered different images.
    """
    part, other = first.answers, in_order_of(first.answers, second.answers)
    positive, clusters = has_end_point(part, cutoff), cluster_codes(part)
    one = probability_of(part, cutoff) >= first.threshold
    two = probability_of(other, cutoff) >= second.threshold
    for name, of_class in (("sensitivity", positive), ("specificity", ~positive)):
        more = (one == positive).astype(np.int64) - (two == positive).astype(np.int64)
        yield name, _difference(more, of_class, clusters, config)


def _difference(
    more: Int[np.ndarray, " N"],
    of_class: Bool[np.ndarray, " N"],
    clusters: Int[np.ndarray, " N"],
    config: BootstrapConfig,
) -> DecisionDifference:
    G = int(clusters.max()) + 1
    images = np.bincount(clusters[of_class], minlength=G).astype(np.float64)
    gained = np.bincount(clusters[of_class], weights=more[of_class], minlength=G)
    found = Estimate(
        value=float(ratio(gained.sum(keepdims=True), images.sum(keepdims=True))[0]),
        resampled=_resampled(gained, images, config),
        clusters=int((images > 0).sum()),
        undefined="no image is of this class",
    )
    difference = interval_of(found, config)
    tested = difference.low is not None
    return DecisionDifference(difference, sign_test(np.rint(gained).astype(np.int64)) if tested else None)


def _resampled(
    gained: Float[np.ndarray, " G"], images: Float[np.ndarray, " G"], config: BootstrapConfig
) -> Float[np.ndarray, " R"]:
    columns = np.stack([gained, images], axis=1)
    sums = np.concatenate([block @ columns for block in draw_counts(len(images), config)])
    return ratio(sums[:, 0], sums[:, 1])
