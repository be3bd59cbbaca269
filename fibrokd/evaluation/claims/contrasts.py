"""Differences between arms of studies that a claim names, with their p-values.

A contrast is a sum of figures of several arms on the same test images. Seeds that all of its arms have are pooled.
One p-value is over patients, the same ones resampled for every network: it is about these networks. The other counts
how far trainings of the arms' studies differ, too (:mod:`fibrokd.evaluation.study.trainings`).

Shape letters: R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.calibration.differences import distances_of_differences
from fibrokd.evaluation.claims.found import TEACHER, Figure, MissingError, sides_of
from fibrokd.evaluation.claims.register import ArmOf, Contrast
from fibrokd.evaluation.comparisons.p_values import bootstrap_p
from fibrokd.evaluation.intervals import MAX_UNDEFINED, MIN_CLUSTERS, require_same_images
from fibrokd.evaluation.study.families import side_of
from fibrokd.evaluation.study.pooled import CALIBRATION, Pool
from fibrokd.evaluation.study.trainings import Spread, compare_arms

Spreads = Mapping[str, Mapping[tuple[str, float, tuple[str, ...], str], Spread]]
"""Study → (backbone, fraction, stages, metric) → how far trainings of one arm differ."""


def contrast_figure(
    contrast: Contrast, pools: Mapping[ArmOf, Pool], spreads: Spreads, seeds: Sequence[int], level: float
) -> Figure:
    """Return a contrast with its interval and p-value: by percentiles, of calibration errors symmetric about the value.

    Args:
        contrast: Which arms, which metric, which bound.
        pools: Networks of every arm that it names.
        spreads: How far trainings differ.
        seeds: Which of their seeds.
        level: Nominal coverage.

    Raises:
        TableError: Arms were assessed on different test images.
        MissingError: The figure cannot be estimated.
    """
    fewest = min((pools[arm].stages for arm in contrast.arms), key=len)
    cut = {arm: pools[arm].on_stages(fewest) for arm in contrast.arms}
    first = cut[contrast.arms[0]].trials[0].answers
    for pool in cut.values():
        for trial in pool.trials:
            require_same_images(first, trial.answers)
    by_seed = {arm: _rows(pool.values(contrast.metric), pool, seeds) for arm, pool in cut.items()}
    drawn = {arm: _rows(pool.resampled(contrast.metric), pool, seeds).mean(axis=0) for arm, pool in cut.items()}
    values = _combined(contrast, by_seed)
    value = float(values.mean())
    resampled = _combined(contrast, drawn)
    known = resampled[np.isfinite(resampled)]
    clusters = cut[contrast.arms[0]].clusters
    if not np.isfinite(value) or clusters < MIN_CLUSTERS or len(known) < (1 - MAX_UNDEFINED) * len(resampled):
        raise MissingError(f"patients enough to estimate {contrast.metric.replace('_', ' ')}")
    if contrast.metric == CALIBRATION:
        added = {arm: np.array([max(0.0, np.nanmean(drawn[arm]) - by_seed[arm].mean())]) for arm in by_seed}
        distance = distances_of_differences(known, float(max(_both_sides(contrast, added))[0]))
        interval = _symmetric_interval(contrast, value, distance, level)
    else:
        interval = _interval(contrast, known, level)
    trainings = _over_trainings(contrast, value, float(known.std()), cut, spreads, seeds, level)
    return Figure(value, *sides_of(contrast, values), *interval, trainings)


def _over_trainings(
    contrast: Contrast,
    value: float,
    patients: float,
    pools: Mapping[ArmOf, Pool],
    spreads: Spreads,
    seeds: Sequence[int],
    level: float,
) -> float | None:
    """The two-sided p-value that counts how far trainings differ; a teacher is taken as it is.

    None where any arm of its study has been trained but once.
    """
    plus, minus = (
        {arm: side.count(arm) / (len(side) if contrast.combine == "mean" else 1) for arm in side}
        for side in (contrast.plus, contrast.minus)
    )
    sides = []
    for arm, pool in pools.items():
        if arm.arm.startswith(TEACHER):
            continue
        of = pool.trials[0]
        spread = spreads.get(arm.study, {}).get((of.backbone, of.fraction, pool.stages, contrast.metric))
        if spread is None or len(pool.seeds) < 2:
            return None
        sides.append(side_of(pool, contrast.metric, spread, plus.get(arm, 0.0) - minus.get(arm, 0.0)))
    return compare_arms(value - contrast.limit, patients, sides, len(seeds), level).p


def _interval(contrast: Contrast, known: Float[np.ndarray, " R"], level: float) -> tuple[float, float, float]:
    """Bounds, and the two-sided p-value against the claimed bound."""
    low, high = (float(bound) for bound in np.quantile(known, [(1 - level) / 2, (1 + level) / 2]))
    return low, high, bootstrap_p(known, contrast.limit)


def _symmetric_interval(
    contrast: Contrast, value: float, distance: Float[np.ndarray, " R"], level: float
) -> tuple[float, float, float]:
    """The same from how far the value may lie from the truth."""
    reach = float(np.quantile(distance, level))
    beyond = np.count_nonzero(distance >= abs(value - contrast.limit))
    return value - reach, value + reach, (beyond + 1) / (len(distance) + 1)


def _rows(values: np.ndarray, pool: Pool, seeds: Sequence[int]) -> np.ndarray:
    """The seeds' rows; of a teacher, its one row for each."""
    if pool.trials[0].arm.startswith(TEACHER):
        return np.repeat(values[:1], len(seeds), axis=0)
    return values[[pool.seeds.index(seed) for seed in seeds]]


def _combined(contrast: Contrast, figures: Mapping[ArmOf, np.ndarray]) -> np.ndarray:
    """The contrast, element by element of equal arrays."""
    plus, minus = _both_sides(contrast, figures)
    difference: np.ndarray = plus - minus
    return difference


def _both_sides(contrast: Contrast, figures: Mapping[ArmOf, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What is made of the arms that count, and of those that are subtracted (zeros, where there are none)."""

    def side(arms: Sequence[ArmOf]) -> np.ndarray:
        if not arms:
            return np.zeros_like(next(iter(figures.values())))
        total = np.stack([figures[arm] for arm in arms]).sum(axis=0)
        return np.asarray(total / len(arms) if contrast.combine == "mean" else total)

    return side(contrast.plus), side(contrast.minus)
