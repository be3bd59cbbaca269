"""How often nominal 95 % intervals of so many clusters hold the truth, in simulated cohorts.

Figures of ``python -m benchmarks.coverage --patients 20 50 100 200``: 1,000 cohorts each, seed 0, five pictures per
patient, standard error .007. Data whose clusters differ more in size, or whose stages are rarer, do worse.
"""

from __future__ import annotations

from collections.abc import Mapping

ENOUGH = 200
"""Clusters from which on intervals hold about what they promise."""

SIMULATED: Mapping[int, Mapping[str, float]] = {
    20: {"accuracy": 0.927, "balanced_accuracy": 0.913, "macro_f1": 0.806, "quadratic_kappa": 0.913},
    50: {"accuracy": 0.938, "balanced_accuracy": 0.944, "macro_f1": 0.924, "quadratic_kappa": 0.945},
    100: {"accuracy": 0.948, "balanced_accuracy": 0.955, "macro_f1": 0.951, "quadratic_kappa": 0.957},
}
"""Clusters → metric → share of cohorts whose interval holds the truth."""


def simulated_coverage(clusters: int) -> tuple[int, Mapping[str, float]] | None:
    """Return the next smaller number of clusters that was simulated, or the smallest, and what was found there.

    Args:
        clusters: Clusters that intervals rest on.

    Returns:
        ``None`` where clusters are enough.
    """
    if clusters >= ENOUGH:
        return None
    known = max((number for number in SIMULATED if number <= clusters), default=min(SIMULATED))
    return known, SIMULATED[known]
