"""Bounds of calibration errors and of their differences.

Shape letters: R resamples.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float


def distances_of_differences(drawn: Float[np.ndarray, " R"], added: float) -> Float[np.ndarray, " R"]:
    """Return how far resampled differences of calibration errors say that the value may lie from the truth.

    A calibration error is too high by the noise of its bins, the more so the better a network is calibrated, and
    resampling adds noise of the same size to it. Of a perfectly calibrated network it is noise alone, which grows from
    about s to √2 s: what was there before is about ``added`` / (√2 − 1), and may be on either side of a difference.
    Bounds that leave this out exclude the truth in most cohorts where one network is calibrated and the other is not
    (``benchmarks.calibration_size``; docs/decisions/0013 says where these fail, too).

    Args:
        drawn: The difference in every resample.
        added: What resampling adds to the errors on one side of it: the larger one of both sides.
    """
    distance: np.ndarray = np.abs(drawn - drawn.mean()) + added / (math.sqrt(2) - 1)
    return distance
