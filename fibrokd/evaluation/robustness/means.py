"""Means over images of some clusters, with their intervals.

Shape letters: N images.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.intervals import BootstrapConfig, Estimate, Interval, draw_counts, interval_of
from fibrokd.evaluation.predictions import Predictions


def mean_over_clusters(
    values: Float[np.ndarray, " N"], part: Predictions, config: BootstrapConfig, proportion: bool = False
) -> Interval:
    """Return the mean over images, with its interval over clusters.

    Args:
        values: One per image.
        part: The images.
        config: How the interval is made.
        proportion: Whether every value is 0 or 1.
    """
    codes = np.unique(np.array(part.groups), return_inverse=True)[1]
    sums, images = np.bincount(codes, values), np.bincount(codes).astype(float)
    drawn = np.concatenate([(counts @ sums) / (counts @ images) for counts in draw_counts(len(images), config)])
    found = Estimate(float(values.mean()), drawn, len(images), "there are no images", proportion)
    return interval_of(found, config)
