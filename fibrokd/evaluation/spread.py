"""How far one figure differs between several trainings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean, standard deviation (of one value ``None``), least and most; all ``None`` of no value.

    Args:
        values: The figure of every training.

    Example:
        >>> spread([0.5, 0.75])
        {'mean': 0.625, 'deviation': 0.1767766952966369, 'least': 0.5, 'most': 0.75}
    """
    if not values:
        return {"mean": None, "deviation": None, "least": None, "most": None}
    deviation = stdev(values) if len(values) > 1 else None
    return {"mean": mean(values), "deviation": deviation, "least": min(values), "most": max(values)}
