"""Whether two networks stage equally many images right: McNemar's test, for images that come in clusters.

Were the two networks alike, their answers to a cluster could be exchanged, and the difference in the number of right
ones would be as likely positive as negative, whatever its size. The sum of these differences is held against all ways
to choose their signs. With one image per cluster this is McNemar's exact test.

Shape letters: G clusters.

References:
    McNemar, Psychometrika 1947;12:153, DOI 10.1007/BF02295996.
    Durkalski et al., Stat Med 2003;22:2417, DOI 10.1002/sim.1438 (clusters: the variance of the normal form).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int
from scipy.special import ndtr

EXACT_UP_TO = 2000
"""Largest sum of absolute differences whose distribution is counted out; beyond, the normal one is as good."""


def sign_test(differences: Int[np.ndarray, " G"]) -> float:
    """Return the two-sided p-value that the differences of clusters have no direction; 1 where all are 0.

    Args:
        differences: Right answers of the first network minus those of the second, by cluster.
    """
    sizes = np.abs(differences[differences != 0]).astype(np.int64)
    if not len(sizes):
        return 1.0
    total, reach = abs(int(differences.sum())), int(sizes.sum())
    if reach > EXACT_UP_TO:
        return float(2 * ndtr(-total / math.sqrt(float((sizes.astype(np.float64) ** 2).sum()))))
    # chance[s] is the probability that differences of random sign add up to s - reach.
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for size in sizes:
        up, down = np.zeros_like(chance), np.zeros_like(chance)
        up[size:], down[:-size] = chance[:-size], chance[size:]
        chance = (up + down) / 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, chance[sums >= total].sum()))
