"""Numbers of a study: what each arm reached over its seeds, and how far two arms differ.

Seeds are pooled: a figure is its mean over the seeds. Intervals resample whole clusters of test images, the same ones
for every network; they hold for these trained networks and say nothing about further seeds, whose spread is given
beside them. Which differences are looked at, and how their p-values are corrected, is not decided here
(:mod:`fibrokd.evaluation.study.families`).

Shape letters: G clusters, R resamples, S seeds.

References:
    Davison & Hinkley 1997, sections 3.8 (clusters) and 5.2 (percentile bounds), DOI 10.1017/CBO9780511802843.
    Hall, "On symmetric bootstrap confidence intervals", J R Stat Soc B 1988;50:35 (calibration error).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from fibrokd.errors import TableError
from fibrokd.evaluation.calibration.binned import calibration_errors, confidence_sums
from fibrokd.evaluation.calibration.differences import distances_of_differences
from fibrokd.evaluation.comparisons.p_values import bootstrap_p
from fibrokd.evaluation.intervals import BootstrapConfig, draw_counts, percentile_interval, require_same_images
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.study.restricted import restricted
from fibrokd.evaluation.totals import totals_by_group

CALIBRATION = "expected_calibration_error"
TESTED = ("balanced_accuracy", "quadratic_kappa", "mean_absolute_stage_error", "log_loss")
"""Metrics whose differences are tested."""

COMPARED = (*TESTED, CALIBRATION)
"""Metrics of the paired comparisons."""

_COUNTED = ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa", "mean_absolute_stage_error", "log_loss")
REPORTED = (*_COUNTED, CALIBRATION)
"""Metrics of the table, in its order."""

LEAST_SEEDS = 3
"""Seeds below which no difference between arms is called better or worse."""

LOWER_IS_BETTER = frozenset(["mean_absolute_stage_error", "log_loss", CALIBRATION])


class StudyBootstrap(BootstrapConfig):
    """How the intervals of a study are made."""

    resamples: Annotated[int, Field(ge=100, le=100_000)] = 20_000
    """Number of resamples: a p-value is at least 2 / (resamples + 1), and is multiplied by the number of arms."""


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
    def _values(self) -> list[dict[str, float]]:
        return [_measured(trial.answers) for trial in self.trials]

    @cached_property
    def _figures(self) -> list[dict[str, Float[np.ndarray, " R"]]]:
        return [_sampled(trial.answers, self.config) for trial in self.trials]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(trial.seed for trial in self.trials)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages that are told apart."""
        return self.trials[0].answers.scale.names

    @cached_property
    def clusters(self) -> int:
        """Number of clusters of test images."""
        return len(set(self.trials[0].answers.groups))

    def values(self, metric: str) -> Float[np.ndarray, " S"]:
        """Return the metric of every seed; NaN where it is not defined."""
        return np.array([figures[metric] for figures in self._values])

    def resampled(self, metric: str) -> Float[np.ndarray, "S R"]:
        """Return the metric of every seed in every resample; NaN where it is not defined."""
        return np.stack([figures[metric] for figures in self._figures])

    def on_stages(self, names: Sequence[str]) -> Pool:
        """Return the pool on the images of some of its stages, probabilities renormalised to them."""
        if tuple(names) == self.stages:
            return self
        cut = tuple(replace(trial, answers=restricted(trial.answers, names)) for trial in self.trials)
        return Pool(cut, self.config)


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
    """Return every reported metric with its mean over seeds, interval, and spread over seeds.

    What cannot be had is ``None``, and ``note`` says why.
    """
    figures = {}
    for metric in REPORTED:
        values = pool.values(metric)
        known = len(values) > 1 and bool(np.isfinite(values).all())
        spread = float(values.std(ddof=1)) if known else None
        value, drawn = float(values.mean()), pool.resampled(metric).mean(axis=0)
        # Draws of a calibration error lie too high by the noise that resampling adds: their percentiles may miss the
        # value itself, and reflected at it they overshoot. Symmetric bounds hold in simulations (see the test).
        distance = np.abs(drawn - value) if metric == CALIBRATION else None
        figures[metric] = {**_estimate(value, drawn, pool, distance, least=0.0), "seed_deviation": spread}
    return figures


def difference(pool: Pool, reference: Pool, metric: str, by_seed: bool = True) -> dict[str, Any]:
    """Return pool − reference on the same images, with interval and two-sided p-value; ``None`` with a note if not.

    ``by_seed`` holds the difference of every pair of seeds (empty where means over all seeds are compared),
    ``patient_deviation`` the standard deviation over resamples.

    Args:
        pool: The arm.
        reference: What it is compared with. Whichever of both tells more stages apart is cut down to those of the
            other.
        metric: One of :data:`COMPARED`; a p-value is given for :data:`TESTED` alone.
        by_seed: Pair seeds, and leave out those that only one has; otherwise means over all seeds are compared.

    Raises:
        TableError: Test images differ.
    """
    shared = sorted(set(pool.seeds) & set(reference.seeds)) if by_seed else []
    if by_seed and not shared:
        nothing = {"value": None, "low": None, "high": None, "p": None, "note": "no seed in common"}
        return {**nothing, "seeds": [], "by_seed": [], "patient_deviation": None}
    fewer = min(pool.stages, reference.stages, key=len)
    pool, reference = pool.on_stages(fewer), reference.on_stages(fewer)
    for other in reference.trials:
        require_same_images(pool.trials[0].answers, other.answers)
    rows, other_rows = ([p.seeds.index(s) for s in shared] if by_seed else slice(None) for p in (pool, reference))
    sides = ((pool, rows), (reference, other_rows))
    figures = [side.values(metric)[chosen] for side, chosen in sides]
    values = [float(figure.mean()) for figure in figures]
    draws = [side.resampled(metric)[chosen].mean(axis=0) for side, chosen in sides]
    drawn, distance = draws[0] - draws[1], None
    if metric == CALIBRATION:
        added = max(0.0, *(float(side.mean()) - value for side, value in zip(draws, values, strict=True)))
        distance = distances_of_differences(drawn, added)
    found = _estimate(values[0] - values[1], drawn, pool, distance, least=-1.0)
    tested = metric in TESTED and found["low"] is not None
    seeds = shared if by_seed else list(pool.seeds)
    each = [float(value) for value in figures[0] - figures[1]] if by_seed else []
    deviation = float(np.nanstd(drawn)) if found["low"] is not None else None
    p = bootstrap_p(drawn) if tested else None
    return {**found, "p": p, "seeds": seeds, "by_seed": each, "patient_deviation": deviation}


def is_better(entry: Mapping[str, Any], metric: str) -> bool:
    """Whether a difference has the good sign: lower for errors, higher for the rest."""
    return bool((entry["value"] < 0) == (metric in LOWER_IS_BETTER))


def _estimate(
    value: float,
    drawn: Float[np.ndarray, " R"],
    pool: Pool,
    distance: Float[np.ndarray, " R"] | None,
    least: float,
) -> dict[str, float | str | None]:
    """Value and percentile bounds; where distances are given, bounds symmetric about the value, cut at ``least``."""
    config, clusters = pool.config, pool.clusters
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "note": "not estimable"}
    if clusters < config.min_clusters:
        note = f"no interval from {clusters} clusters (at least {config.min_clusters} needed)"
        return {"value": value, "low": None, "high": None, "note": note}
    found = percentile_interval(value, drawn, clusters, config)
    low, high = found.low, found.high
    if distance is not None and low is not None:
        reach = float(np.quantile(distance, config.level))
        low, high = max(least, value - reach), min(1.0, value + reach)
    return {"value": value, "low": low, "high": high, "note": found.note}


def _measured(answers: Predictions) -> dict[str, float]:
    """Every reported metric on all images."""
    once = np.ones((1, len(set(answers.groups))))
    return {metric: float(found[0]) for metric, found in _weighted(answers, [once]).items()}


def _sampled(answers: Predictions, config: BootstrapConfig) -> dict[str, Float[np.ndarray, " R"]]:
    """Every reported metric in every resample."""
    return _weighted(answers, draw_counts(len(set(answers.groups)), config))


def _weighted(answers: Predictions, blocks: Iterable[Float[np.ndarray, "r G"]]) -> dict[str, Float[np.ndarray, " R"]]:
    """Every reported metric under weights of the clusters."""
    totals, sums = totals_by_group(answers), confidence_sums(answers)
    parts: dict[str, list[np.ndarray]] = {metric: [] for metric in REPORTED}
    for weights in blocks:
        drawn = totals.weighted(weights)
        for metric in _COUNTED:
            parts[metric].append(METRICS[metric].function(drawn))
        parts[CALIBRATION].append(calibration_errors(sums, weights))
    return {metric: np.concatenate(found) for metric, found in parts.items()}
