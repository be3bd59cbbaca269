"""p-values from resamples, and their correction for the number of comparisons.

Shape letters: R resamples.

References:
    Holm, Scand J Stat 1979;6:65.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def bootstrap_p(drawn: Float[np.ndarray, " R"], limit: float = 0.0) -> float:
    """Return a two-sided p-value: twice the share of resamples on the other side of a limit.

    Never 0, for R resamples cannot tell that; undefined resamples are left out. It agrees with
    percentile bounds but for the rank of a resample.

    Args:
        drawn: Figure in every resample; NaN where it is not defined.
        limit: Value that is tested.
    """
    defined = drawn[~np.isnan(drawn)]
    below, above = np.count_nonzero(defined <= limit), np.count_nonzero(defined >= limit)
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(defined) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    worst = 0.0
    for rank, position in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = worst
    return [float(value) for value in adjusted]
