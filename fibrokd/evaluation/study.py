"""Numbers of a study: what each arm reached over its seeds, and how it differs from the arms it is compared with.

Seeds are pooled: a figure is its mean over the seeds. Intervals resample whole clusters of test images, the same ones
for every network; they hold for these trained networks and say nothing about further seeds, whose spread is given
beside them. Differences are paired by image and by seed, and their p-values corrected for the number of arms (Holm).

Shape letters: N images, K stages, G clusters, R resamples, B bins.

References:
    Holm, Scand J Stat 1979;6:65. Davison & Hinkley 1997, section 3.8, DOI 10.1017/CBO9780511802843 (clusters).
    Nixon et al., CVPR Workshops 2019, arXiv:1904.01685 (calibration error of equal-mass bins).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from fibrokd.errors import TableError
from fibrokd.evaluation.intervals import Bootstrap, BootstrapConfig, bootstrap, draw_counts, require_same_images
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import StageScale

CALIBRATION = "expected_calibration_error"
REPORTED = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "quadratic_kappa",
    "mean_absolute_stage_error",
    "log_loss",
    CALIBRATION,
)
"""Metrics of the table, in its order."""

COMPARED = ("balanced_accuracy", "quadratic_kappa", "mean_absolute_stage_error", "log_loss", CALIBRATION)
"""Metrics of the paired comparisons."""

_BINS = 15


@dataclass(frozen=True)
class Trial:
    """One trained network of a study.

    Args:
        arm: Name of the arm.
        backbone: Student.
        fraction: Share of the training patients.
        seed: Seed of the student.
        answers: What it answered on the test images.
        facts: Size, latency and cost.
    """

    arm: str
    backbone: str
    fraction: float
    seed: int
    answers: Predictions
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Pool:
    """All seeds of one arm under one bootstrap.

    Args:
        trials: The networks, by seed.
        config: How intervals are made.
    """

    trials: tuple[Trial, ...]
    config: BootstrapConfig

    @cached_property
    def samples(self) -> list[Bootstrap]:
        """One bootstrap per seed, all on the same draws."""
        return [bootstrap(trial.answers, self.config) for trial in self.trials]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(trial.seed for trial in self.trials)

    def values(self, metric: str) -> Float[np.ndarray, " S"]:
        """Return the metric of every seed."""
        if metric == CALIBRATION:
            return np.array([_calibration(trial.answers)[0] for trial in self.trials])
        return np.array([float(METRICS[metric].function(sample.pooled)[0]) for sample in self.samples])

    def resampled(self, metric: str) -> Float[np.ndarray, "S R"]:
        """Return the metric of every seed in every resample."""
        if metric == CALIBRATION:
            return np.stack([_calibration_resampled(trial.answers, self.config) for trial in self.trials])
        return np.stack([METRICS[metric].function(sample.resampled) for sample in self.samples])

    def restricted(self, scale: StageScale) -> Pool:
        """Return the pool on the images of some stages, probabilities renormalised to them."""
        trials = tuple(replace(trial, answers=_restricted(trial.answers, scale)) for trial in self.trials)
        return Pool(trials, self.config)


def pools(trials: Sequence[Trial], config: BootstrapConfig) -> dict[tuple[str, str, float], Pool]:
    """Return the pools by (arm, backbone, fraction), seeds ascending.

    Raises:
        TableError: A seed of an arm comes twice.
    """
    found: dict[tuple[str, str, float], list[Trial]] = {}
    for trial in trials:
        found.setdefault((trial.arm, trial.backbone, trial.fraction), []).append(trial)
    for key, members in found.items():
        if len({trial.seed for trial in members}) != len(members):
            raise TableError(f"the results of {key[0]}", ["a seed comes twice"], "Keep one result per seed.")
    return {key: Pool(tuple(sorted(members, key=lambda trial: trial.seed)), config) for key, members in found.items()}


def summary(pool: Pool) -> dict[str, Any]:
    """Return every reported metric with its mean over seeds, interval, and spread over seeds."""
    figures = {}
    for metric in REPORTED:
        values = pool.values(metric)
        low, high = _bounds(pool.resampled(metric).mean(axis=0), pool.config)
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        figures[metric] = {"value": float(values.mean()), "low": low, "high": high, "seed_deviation": spread}
    return figures


def difference(pool: Pool, reference: Pool, metric: str) -> dict[str, Any]:
    """Return pool − reference over the seeds that both have, with interval and two-sided p-value.

    Args:
        pool: The arm.
        reference: What it is compared with; cut down to the arm's stages where it tells more of them apart.
        metric: One of :data:`COMPARED`.

    Raises:
        TableError: Test images differ.
    """
    shared = sorted(set(pool.seeds) & set(reference.seeds))
    if not shared:
        return {"seeds": [], "note": "no seed in common"}
    scale = pool.trials[0].answers.scale
    if reference.trials[0].answers.scale != scale:
        reference = reference.restricted(scale)
    one, other = (Pool(tuple(t for t in p.trials if t.seed in shared), p.config) for p in (pool, reference))
    for first, second in zip(one.trials, other.trials, strict=True):
        require_same_images(first.answers, second.answers)
    drawn = (one.resampled(metric) - other.resampled(metric)).mean(axis=0)
    low, high = _bounds(drawn, pool.config)
    return {
        "value": float((one.values(metric) - other.values(metric)).mean()),
        "low": low,
        "high": high,
        "p": _p_value(drawn),
        "seeds": shared,
    }


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


def _bounds(drawn: Float[np.ndarray, " R"], config: BootstrapConfig) -> tuple[float, float]:
    tail = (1 - config.level) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _p_value(drawn: Float[np.ndarray, " R"]) -> float:
    """Two-sided: twice the share of resamples on the other side of 0; never 0, for R resamples cannot tell that."""
    below, above = np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)
    return float(min(1.0, 2 * (min(below, above) + 1) / (len(drawn) + 1)))


def _restricted(answers: Predictions, scale: StageScale) -> Predictions:
    kept = np.array([answers.scale.names.index(name) for name in scale.names])
    rows = np.flatnonzero(np.isin(answers.truth, kept))
    part = answers.probabilities[np.ix_(rows, kept)]
    # A network that gives these stages no probability at all says nothing about them: all alike.
    total = part.sum(axis=1, keepdims=True)
    part = np.where(total > 0, part / np.maximum(total, 1e-300), 1 / len(kept))
    return Predictions(
        network=answers.network,
        split=answers.split,
        image_ids=tuple(answers.image_ids[row] for row in rows),
        groups=tuple(answers.groups[row] for row in rows),
        truth=np.searchsorted(kept, answers.truth[rows]).astype(np.int64),
        probabilities=part,
        scale=scale,
    )


# --------------------------------------------------------------------------- calibration
def _calibration(answers: Predictions) -> tuple[float, Float[np.ndarray, "G B 3"]]:
    """Expected calibration error of the top stage, and per cluster and bin: images, confidence, hits."""
    confidence = answers.probabilities.max(axis=1)
    hit = answers.predicted == answers.truth
    rank = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
    bins = rank * _BINS // len(rank)
    cluster = np.unique(np.array(answers.groups), return_inverse=True)[1]
    sums = np.zeros((int(cluster.max()) + 1, _BINS, 3))
    np.add.at(sums, (cluster, bins), np.stack([np.ones(len(hit)), confidence, hit], axis=1))
    return float(_error(sums.sum(axis=0)[None])[0]), sums


def _calibration_resampled(answers: Predictions, config: BootstrapConfig) -> Float[np.ndarray, " R"]:
    sums = _calibration(answers)[1]
    flat = sums.reshape(len(sums), -1)
    blocks = [_error((block @ flat).reshape(len(block), _BINS, 3)) for block in draw_counts(len(sums), config)]
    return np.concatenate(blocks)


def _error(sums: Float[np.ndarray, "R B 3"]) -> Float[np.ndarray, " R"]:
    total: np.ndarray = np.abs(sums[..., 1] - sums[..., 2]).sum(axis=1) / sums[..., 0].sum(axis=1)
    return total
