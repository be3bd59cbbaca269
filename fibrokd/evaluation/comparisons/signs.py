"""Whether two networks stage equally many images right: McNemar's test, for images that come in clusters.

Were the two networks alike, their answers to a cluster could be exchanged, and the difference in the number of right
ones would be as likely positive as negative, whatever its size. The sum of these differences is held against all ways
to choose their signs. With one image per cluster this is McNemar's exact test.

Shape letters: G clusters, D of them in which networks differ.

References:
    McNemar, Psychometrika 1947;12:153, DOI 10.1007/BF02295996.
    Durkalski et al., Stat Med 2003;22:2417, DOI 10.1002/sim.1438 (clusters: the variance of the normal form).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int
from scipy.special import ndtr

EXACT_UP_TO = 10**8
"""Additions that counting out may take. Beyond, sums are normal where no cluster is much of them, else drawn."""

_MUCH = 0.01  # of the variance, by one cluster
_DRAWS = 20_000


def sign_test(differences: Int[np.ndarray, " G"]) -> float:
    """Return the two-sided p-value that the differences of clusters have no direction; 1 where all are 0.

    Args:
        differences: Right answers of the first network minus those of the second, by cluster.
    """
    sizes = np.abs(differences[differences != 0]).astype(np.int64)
    if not len(sizes):
        return 1.0
    unit = int(np.gcd.reduce(sizes))
    sizes, total = sizes // unit, abs(int(differences.sum())) // unit
    if len(sizes) * int(sizes.sum()) <= EXACT_UP_TO:
        return _counted_out(sizes, total)
    squares = sizes.astype(np.float64) ** 2
    if squares.max() <= _MUCH * squares.sum():
        return float(2 * ndtr(-total / math.sqrt(float(squares.sum()))))
    random = np.random.default_rng(0)
    drawn = np.array([np.where(random.random(len(sizes)) < 0.5, sizes, -sizes).sum() for _ in range(_DRAWS)])
    return (int((np.abs(drawn) >= total).sum()) + 1) / (_DRAWS + 1)


def _counted_out(sizes: Int[np.ndarray, " D"], total: int) -> float:
    """The share of all ways to choose signs that lead at least as far."""
    reach = int(sizes.sum())
    # chance[s] is the probability that differences of random sign add up to s - reach.
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for size in sizes.tolist():
        up, down = np.zeros_like(chance), np.zeros_like(chance)
        up[size:], down[:-size] = chance[:-size], chance[size:]
        chance = (up + down) / 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, chance[sums >= total].sum()))
