"""Whether stage sets still hold the true stage where the picture was taken otherwise.

Split conformal prediction promises its coverage for patients exchangeable with those of the calibration. Pictures of
another scanner are not; temperature and threshold stay those that were fixed on undisturbed pictures, and the sets of
the same patients are compared before and after.

Reference: Tibshirani, Barber, Candès and Ramdas, NeurIPS 2019, arXiv:1904.06019 (coverage under covariate shift).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fibrokd.evaluation.conformal.stage_sets import LEVEL, stage_sets
from fibrokd.evaluation.intervals import BootstrapConfig, as_json
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.robustness.means import mean_over_clusters


def sets_kept(
    before: Predictions, after: Predictions, others: Mapping[str, Predictions], config: BootstrapConfig
) -> dict[str, Any]:
    """Return coverage after, coverage before, its paired change, and how many stages a set grew by on average.

    Args:
        before: Answers to undisturbed pictures.
        after: Answers to the same, disturbed, in the same order.
        others: Split → answers of the same network that temperature and threshold are fixed on.
        config: How intervals are made.

    Returns:
        ``refused`` with the reason instead, where there are no sets.
    """
    old, new = (stage_sets(part, others, config.min_clusters) for part in (before, after))
    if isinstance(old, str) or isinstance(new, str):
        return {"level": LEVEL, "refused": old if isinstance(old, str) else new}
    held = new.covered.astype(np.float64)
    change = held - old.covered
    grown = (new.sizes - old.sizes).astype(np.float64)
    return {
        "level": LEVEL,
        "coverage": as_json(mean_over_clusters(held, new.answers, config, proportion=True)),
        "before": float(round(old.covered.mean(), 6)),
        "change": as_json(mean_over_clusters(change, new.answers, config)),
        "grown": as_json(mean_over_clusters(grown, new.answers, config)),
    }
