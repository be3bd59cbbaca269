"""What metrics.json says of how far networks agree on the same images: every pair, in the order of the networks.

Shape letters: N images, G clusters, K stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Int

from fibrokd.evaluation.agreement.figures import FIGURES, PairTotals, pair_totals
from fibrokd.evaluation.intervals import Bootstrap, BootstrapConfig, Estimate, as_json, draw_counts, interval_of
from fibrokd.evaluation.pairing import in_order_of
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import cluster_codes


def agreements(samples: Sequence[Bootstrap]) -> list[dict[str, Any]]:
    """Return how far all pairs of networks agree that answered the same split.

    Args:
        samples: Answers, and how they were resampled.

    Returns:
        Entries ``{"split", "first", "second", "images", "clusters"}`` and one interval per name of
        :data:`fibrokd.evaluation.agreement.figures.FIGURES`.

    Raises:
        TableError: Two networks answered different images of one split.
    """
    found: list[dict[str, Any]] = []
    for split in dict.fromkeys(sample.predictions.split for sample in samples):
        of_split = [sample for sample in samples if sample.predictions.split == split]
        if len(of_split) > 1:
            found += _of_split([sample.predictions for sample in of_split], of_split[0].config)
    return found


def _of_split(parts: Sequence[Predictions], config: BootstrapConfig) -> list[dict[str, Any]]:
    # Sorting the clusters of a million images takes a second: once for all pairs.
    base = parts[0]
    codes = cluster_codes(base)
    aligned = [in_order_of(base, part) for part in parts]
    return [agreement(first, second, codes, config) for first, second in combinations(aligned, 2)]


def agreement(
    first: Predictions, second: Predictions, codes: Int[np.ndarray, " N"], config: BootstrapConfig
) -> dict[str, Any]:
    """Return how far two networks agree.

    Args:
        first: Answers of one network.
        second: Answers of the other one to the same images in the same order.
        codes: Cluster of every image, counted from 0.
        config: How intervals are made.
    """
    by_cluster = pair_totals(first, second, codes)
    clusters = len(by_cluster.distance)
    pooled = by_cluster.weighted(np.ones((1, clusters)))
    resampled = _resampled(by_cluster, config)
    intervals = {
        name: interval_of(
            Estimate(
                value=float(figure.function(pooled)[0]),
                resampled=figure.function(resampled),
                clusters=clusters,
                undefined=figure.undefined,
                proportion=figure.proportion,
            ),
            config,
        )
        for name, figure in FIGURES.items()
    }
    return {
        "split": first.split,
        "first": first.network,
        "second": second.network,
        "images": len(first),
        "clusters": clusters,
        **{name: as_json(interval) for name, interval in intervals.items()},
    }


def _resampled(by_cluster: PairTotals, config: BootstrapConfig) -> PairTotals:
    parts = [by_cluster.weighted(block) for block in draw_counts(len(by_cluster.distance), config)]
    return PairTotals(
        np.concatenate([part.stages for part in parts]),
        np.concatenate([part.distance for part in parts]),
        np.concatenate([part.surer for part in parts]),
        np.concatenate([part.outcomes for part in parts]),
    )
