"""From images to clusters: one answer for all the images of a patient, or of whatever is known to belong together.

Shape letters: N images, G clusters, K stages.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import cluster_codes


@dataclass(frozen=True, eq=False)
class OfClusters:
    """Answers for whole clusters.

    Args:
        answers: One row per cluster that has one true stage, clusters in ascending order; image id and group are both
            the cluster. ``None`` where no cluster has one true stage.
        left_out: Clusters whose images have several true stages, so that they have none of their own.
    """

    answers: Predictions | None
    left_out: int


def mean_by_cluster(part: Predictions) -> OfClusters:
    """Return the mean probabilities over the images of every cluster, rounded to twelve decimals.

    The mean of equal probabilities is then the same however many there are.
    """
    clusters = cluster_codes(part)
    G, K = int(clusters.max()) + 1, len(part.scale)
    sums = np.stack([np.bincount(clusters, weights=part.probabilities[:, k], minlength=G) for k in range(K)], axis=1)
    counts = np.bincount(clusters * K + part.truth, minlength=G * K).reshape(G, K)
    one = (counts > 0).sum(axis=1) == 1
    if not one.any():
        return OfClusters(None, G)
    names = tuple(name for name, kept in zip(sorted(set(part.groups)), one, strict=True) if kept)
    answers = replace(
        part,
        image_ids=names,
        groups=names,
        truth=counts[one].argmax(axis=1).astype(np.int64),
        probabilities=np.round(sums[one] / sums[one].sum(axis=1, keepdims=True), 12),
    )
    return OfClusters(answers, int((~one).sum()))
