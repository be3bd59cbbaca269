"""What metrics.json and sets.csv say of the stage sets of one network on one split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrokd.evaluation.conformal.sets import by_calibration
from fibrokd.evaluation.conformal.stage_sets import CALIBRATED_ON, LEVEL, StageSets, stage_sets
from fibrokd.evaluation.intervals import BootstrapConfig, Estimate, Interval, as_json, draw_counts, interval_of, rounded
from fibrokd.evaluation.predictions import Predictions
from fibrokd.files import write_text

LEAST_OF_STAGE = 20
"""Calibration clusters of a stage below which its coverage is not told."""

COLUMNS = ("network", "split", "group", "stage", "lowest", "highest", "covered", "set")


def coverage(part: Predictions, others: Mapping[str, Predictions], config: BootstrapConfig) -> dict[str, Any]:
    """Return ``coverage`` and ``stage_sets`` of a split.

    Args:
        part: Answers of a network on the split.
        others: Split → answers of the same network.
        config: How intervals are made.
    """
    sets = stage_sets(part, others, config.min_clusters)
    if isinstance(sets, str):
        nothing = Interval(None, None, None, config.level, 0, f"not estimable: {sets}")
        return {"coverage": as_json(nothing), "stage_sets": {"level": LEVEL, "refused": sets}}
    counts = _Counts(sets, config)
    return {
        "coverage": as_json(counts.share("covered")),
        "stage_sets": {
            "level": LEVEL,
            "fixed_on": CALIBRATED_ON,
            "calibration_clusters": len(sets.calibrated),
            "left_out": {"assessed": sets.left_out[0], "calibration": sets.left_out[1]},
            "temperature": rounded(sets.temperature.value),
            **({"no_temperature": sets.temperature.refused} if sets.temperature.refused else {}),
            "threshold": rounded(sets.threshold),
            "by_calibration": [rounded(bound) for bound in by_calibration(len(sets.calibrated), LEVEL, config.level)],
            "size": as_json(counts.share("size", proportion=False)),
            "single": as_json(counts.share("single")),
            "sizes": np.bincount(sets.sizes, minlength=len(sets.answers.scale) + 1)[1:].tolist(),
            "by_stage": {name: _of_stage(sets, counts, k) for k, name in enumerate(sets.answers.scale.names)},
        },
    }


def set_table(predictions: Sequence[Predictions], config: BootstrapConfig) -> pd.DataFrame:
    """Return :data:`COLUMNS`, one row per network and cluster of every split that has sets."""
    answers: dict[str, dict[str, Predictions]] = {}
    for part in predictions:
        answers.setdefault(part.network, {})[part.split] = part
    rows = []
    for part in predictions:
        sets = stage_sets(part, answers[part.network], config.min_clusters)
        if isinstance(sets, str):
            continue
        stage = sets.answers.scale.names
        columns = (sets.answers.groups, sets.answers.truth, sets.lowest, sets.highest, sets.covered, sets.names)
        for group, truth, low, high, covered, name in zip(*columns, strict=True):
            rows.append((part.network, part.split, group, stage[truth], stage[low], stage[high], int(covered), name))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_sets(path: Path, predictions: Sequence[Predictions], config: BootstrapConfig) -> None:
    """Write sets.csv atomically."""
    write_text(path, set_table(predictions, config).to_csv(index=False, lineterminator="\n"))


class _Counts:
    """Sums over clusters of what is counted of their sets, on all clusters first and then on the resamples."""

    def __init__(self, sets: StageSets, config: BootstrapConfig) -> None:
        of_stage = {f"clusters {k}": sets.answers.truth == k for k in range(len(sets.answers.scale))}
        columns = {
            "clusters": np.ones(len(sets.answers)),
            "covered": sets.covered,
            "size": sets.sizes,
            "single": sets.sizes == 1,
            **of_stage,
            **{f"covered {name.split()[1]}": own & sets.covered for name, own in of_stage.items()},
        }
        table = np.stack([np.asarray(column, dtype=np.float64) for column in columns.values()], axis=1)
        weights = (np.ones((1, len(table))), *draw_counts(len(table), config))
        self._sums = dict(zip(columns, np.concatenate([each @ table for each in weights]).T, strict=True))
        self._config = config

    def share(self, name: str, of: str = "clusters", proportion: bool = True) -> Interval:
        """Return the sum of ``name`` per cluster that ``of`` counts."""
        counted, whole = self._sums[name], self._sums[of]
        shares = np.divide(counted, whole, out=np.full(len(whole), np.nan), where=whole > 0)
        undefined = "no cluster has this stage"
        found = Estimate(float(shares[0]), shares[1:], int(whole[0]), undefined, proportion)
        return interval_of(found, self._config)


def _of_stage(sets: StageSets, counts: _Counts, k: int) -> dict[str, Any]:
    own, known = int((sets.answers.truth == k).sum()), int((sets.calibrated == k).sum())
    found = counts.share(f"covered {k}", f"clusters {k}")
    if known < LEAST_OF_STAGE:
        # The threshold is that of all stages together: of a stage that calibration hardly knew, a share of covered
        # patients says how that mixture fell out, and would be read as a promise for the stage.
        few = f"not estimable: only {known} calibration clusters have this stage ({LEAST_OF_STAGE} needed)"
        found = Interval(None, None, None, found.level, found.clusters, few)
    return {"clusters": own, "calibration_clusters": known, "coverage": as_json(found)}
