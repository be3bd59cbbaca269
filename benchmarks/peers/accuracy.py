"""What both sides' students got right: balanced accuracy with intervals over patients, alone and as paired difference.

Shape letters: N pictures, K stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import softmax

from benchmarks.peers.pictures import Pictures
from fibrokd.evaluation.intervals import (
    MIN_CLUSTERS,
    Bootstrap,
    Interval,
    bootstrap,
    metric_interval,
    paired_difference,
)
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import METAVIR

METRIC = METRICS["balanced_accuracy"]
CHANCE = 1 / len(METAVIR)
MIN_TRAININGS = 3
"""Fewer differences between trainings get no interval."""


def resampled(name: str, logits: Sequence[Sequence[float]] | np.ndarray, test: Pictures) -> Bootstrap:
    """Resample the patients of a network's answers.

    Args:
        name: Its name.
        logits: What it answered, [N, K].
        test: What it was asked, N pictures.
    """
    probabilities = softmax(np.asarray(logits, np.float64), axis=1)
    return bootstrap(Predictions(name, "test", test.image_ids, test.patients, test.stages, probabilities, METAVIR))


def accuracy(sample: Bootstrap) -> dict[str, Any]:
    """Return a network's balanced accuracy."""
    return _rounded(metric_interval(METRIC, sample))


def difference(ours: Bootstrap, theirs: Bootstrap) -> dict[str, Any]:
    """Return the paired difference, ours − theirs.

    Returns:
        Value and interval; ``same``: whether 0 lies in it, None where there is none because there are too few
        patients; ``agreement``: share of the pictures that both stage alike.
    """
    found = paired_difference(METRIC, ours, theirs)
    agreement = float((ours.predictions.predicted == theirs.predictions.predicted).mean())
    return {**_rounded(found), "same": _same(found), "agreement": round(agreement, 4)}


def all_same(differences: Sequence[dict[str, Any]]) -> bool | None:
    """Return whether every student is the same within its interval; None where one of them cannot be told."""
    verdicts = [found["same"] for found in differences]
    return None if None in verdicts or not verdicts else all(verdicts)


def over_trainings(differences: Sequence[float]) -> dict[str, Any]:
    """Return the mean difference of two programs with Student's t interval over trainings.

    Resampled patients tell how far *these* networks differ. Whether the *programs* do is told by how much trainings of
    one and the same program would, so here every pair of students is one observation and the test patients are fixed.

    Args:
        differences: Ours − theirs, one per pair of students that started from the same weights.

    Returns:
        Value, 95 % interval, number of trainings, their standard deviation; ``holds_zero``: whether 0 lies in the
        interval, which from few trainings is wide. All but value and number are None from fewer than
        :data:`MIN_TRAININGS`.
    """
    values = np.asarray(differences, np.float64)
    found: dict[str, Any] = {"value": round(float(values.mean()), 4), "trainings": len(values)}
    if len(values) < MIN_TRAININGS:
        return {**found, "deviation": None, "low": None, "high": None, "holds_zero": None}
    deviation = float(values.std(ddof=1))
    reach = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
    low, high = float(values.mean()) - reach, float(values.mean()) + reach
    bounds = {"deviation": round(deviation, 4), "low": round(low, 4), "high": round(high, 4)}
    return {**found, **bounds, "holds_zero": low <= 0 <= high}


def _same(found: Interval) -> bool | None:
    if found.low is None or found.high is None:
        # Students that answer alike leave no interval, because no resample tells them apart.
        return True if found.value == 0 and found.clusters >= MIN_CLUSTERS else None
    return found.low <= 0 <= found.high


def _rounded(found: Interval) -> dict[str, Any]:
    values = {"value": found.value, "low": found.low, "high": found.high}
    told = {name: None if value is None else round(value, 4) for name, value in values.items()}
    return {**told, "patients": found.clusters, "note": found.note}
