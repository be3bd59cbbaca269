"""Percentile intervals by resampling whole clusters of images, for single networks and for paired differences.

Images that belong together (those of one patient, where patients are known) are not independent, so clusters are drawn
with replacement and bring all their images along.
Draws depend only on the seed and the number of clusters: networks assessed on the same images see the same
resamples, which is what makes differences paired. Metrics are defined elsewhere; nothing here knows their names.

Shape letters: G clusters, R resamples, K stages.

Reference: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; Davison and Hinkley,
Bootstrap Methods and their Application (1997), section 3.8 (hierarchical data), DOI 10.1017/CBO9780511802843.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float, UInt
from pydantic import Field

from fibrokd.config import Config
from fibrokd.errors import TableError
from fibrokd.evaluation.metrics import Metric, StageMetric
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import Totals, totals_by_group

MIN_CLUSTERS = 10
MAX_UNDEFINED = 0.05
_BLOCK_BYTES = 64 * 2**20
_KEPT_BYTES = 128 * 2**20
_SAME = 1e-12
_INFINITE = 1e300


class BootstrapConfig(Config):
    """How intervals are made."""

    resamples: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Number of resamples."""

    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Nominal coverage of the intervals."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the resampling."""

    min_clusters: Annotated[int, Field(ge=2)] = MIN_CLUSTERS
    """Below this number of clusters a value gets no interval: percentiles of so few mean nothing."""


DEFAULT_BOOTSTRAP = BootstrapConfig()


@dataclass(frozen=True)
class Interval:
    """A value and how far to trust it.

    Args:
        value: The value on all images; ``None`` where it is not estimable.
        low: Lower bound; ``None`` where there is no interval.
        high: Upper bound; ``None`` where there is no interval.
        level: Nominal coverage.
        clusters: Number of clusters that the metric counts.
        note: Why a value or its bounds are missing or unusual; empty otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    clusters: int
    note: str = ""


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Predictions with their totals per cluster, over all images, and per resample; made by :func:`bootstrap`.

    Args:
        predictions: What was resampled.
        by_group: Totals of the G clusters.
        pooled: Totals over all images; its leading axis has length 1.
        resampled: Totals of the R resamples.
        config: How they were drawn.
    """

    predictions: Predictions
    by_group: Totals
    pooled: Totals
    resampled: Totals
    config: BootstrapConfig

    @property
    def clusters(self) -> int:
        """Number of clusters."""
        return len(self.by_group.surprise)


def bootstrap(predictions: Predictions, config: BootstrapConfig = DEFAULT_BOOTSTRAP) -> Bootstrap:
    """Resample the clusters of ``predictions``; every metric is then read off the result."""
    by_group = totals_by_group(predictions)
    parts = [by_group.weighted(block) for block in draw_counts(len(by_group.surprise), config)]
    resampled = Totals(
        np.concatenate([part.confusion for part in parts]),
        np.concatenate([part.surprise for part in parts]),
        np.concatenate([part.squared_error for part in parts]),
    )
    return Bootstrap(predictions, by_group, by_group.pooled(), resampled, config)


def draw_counts(clusters: int, config: BootstrapConfig) -> Iterator[Float[np.ndarray, "r G"]]:
    """Yield, block by block, how often each of G clusters occurs in each resample; blocks bound the memory."""
    for block in draw_small_counts(clusters, config):
        yield block.astype(np.float64)


def draw_small_counts(clusters: int, config: BootstrapConfig) -> Iterable[UInt[np.ndarray, "r G"]]:
    """Return the same blocks in small integers; all figures of the same clusters share them while they are small."""
    key = clusters, config.resamples, config.seed
    return _kept_counts(*key) if clusters * config.resamples <= _KEPT_BYTES else _drawn_counts(*key)


@lru_cache(maxsize=4)
def _kept_counts(clusters: int, resamples: int, seed: int) -> tuple[UInt[np.ndarray, "r G"], ...]:
    return tuple(_drawn_counts(clusters, resamples, seed))


def _drawn_counts(clusters: int, resamples: int, seed: int) -> Iterator[UInt[np.ndarray, "r G"]]:
    random = np.random.default_rng(seed)
    rows = max(1, _BLOCK_BYTES // (8 * clusters))
    for start in range(0, resamples, rows):
        block = np.empty((min(rows, resamples - start), clusters), dtype=np.uint16)
        for row in block:
            row[:] = np.bincount(random.integers(clusters, size=clusters), minlength=clusters)
        yield block.astype(np.uint8) if block.max() < 256 else block


def metric_interval(metric: Metric, sample: Bootstrap) -> Interval:
    """Return a metric over all stages with its interval; absent stages are named in the note."""
    found = Estimate(
        value=float(metric.function(sample.pooled)[0]),
        resampled=metric.function(sample.resampled),
        clusters=sample.clusters,
        undefined=metric.undefined,
        proportion=metric.proportion,
    )
    return interval_of(found, sample.config)


def stage_interval(metric: StageMetric, stage: int, sample: Bootstrap) -> Interval:
    """Return a metric of one stage with its interval; only clusters holding images that it counts are counted."""
    found = Estimate(
        value=float(metric.function(sample.pooled.confusion)[0, stage]),
        resampled=metric.function(sample.resampled.confusion)[:, stage],
        clusters=int(metric.counted(sample.by_group.confusion)[:, stage].sum()),
        undefined=metric.undefined,
        proportion=metric.proportion,
    )
    return interval_of(found, sample.config)


def paired_difference(metric: Metric, first: Bootstrap, second: Bootstrap) -> Interval:
    """Return ``first − second`` on the same images, both evaluated on the same resamples.

    Raises:
        TableError: The two were not assessed on the same images, truths, groups and resamples.
    """
    return paired_differences([metric], first, second)[0]


def paired_differences(metrics: Sequence[Metric], first: Bootstrap, second: Bootstrap) -> list[Interval]:
    """Return the differences of several metrics; see :func:`paired_difference`."""
    require_same_images(first.predictions, second.predictions)
    if first.config != second.config:
        raise TableError("a paired comparison", ["the two were resampled differently"], "Use one BootstrapConfig.")
    undefined = "one of the two values is not estimable"
    return [
        interval_of(Estimate(value, paired_draws(metric, first, second), first.clusters, undefined), first.config)
        for metric in metrics
        for value in [float((metric.function(first.pooled) - metric.function(second.pooled))[0])]
    ]


def unpaired_difference(metric: Metric, first: Bootstrap, second: Bootstrap) -> Interval:
    """Return ``first − second`` on images of different patients; resamples must come from different seeds.

    Its clusters are those of the smaller side.

    Raises:
        TableError: Both sides were resampled with the same seed, which may pair what is not paired.
    """
    if first.config.seed == second.config.seed:
        raise TableError(
            "an unpaired comparison", ["both sides were resampled alike"], "Use another seed for one side."
        )
    value = float((metric.function(first.pooled) - metric.function(second.pooled))[0])
    clusters = min(first.clusters, second.clusters)
    found = Estimate(value, paired_draws(metric, first, second), clusters, "one of the two values is not estimable")
    return interval_of(found, first.config)


def paired_draws(metric: Metric, first: Bootstrap, second: Bootstrap) -> Float[np.ndarray, " R"]:
    """Return ``first − second`` on every resample; NaN where one of both is not estimable."""
    difference: np.ndarray = metric.function(first.resampled) - metric.function(second.resampled)
    return difference


def require_same_images(first: Predictions, second: Predictions) -> None:
    """Check that two networks were assessed on the same images with the same truth and groups, in any order.

    Raises:
        TableError: They were not; says how many images differ.
    """
    a, b = (
        dict(zip(part.image_ids, zip(part.groups, part.truth.tolist(), strict=True), strict=True))
        for part in (first, second)
    )
    only = len(a.keys() ^ b.keys())
    changed = sum(a[key] != b[key] for key in a.keys() & b.keys())
    if only or changed:
        raise TableError(
            f"the comparison of {first.network} with {second.network} on {first.split}",
            [f"{only} images occur in one of the two only, {changed} have another truth or group"],
            "Assess both networks on the same prepared folder.",
        )


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure whose interval is wanted.

    Args:
        value: The figure on all images; NaN where it is not estimable.
        resampled: The figure on every resample; NaN where it is not estimable.
        clusters: Number of clusters that it counts.
        undefined: Why it may be not estimable.
        proportion: It is a share of images, so that "none of n clusters failed" has an exact bound.
    """

    value: float
    resampled: Float[np.ndarray, " R"]
    clusters: int
    undefined: str
    proportion: bool = False


def interval_of(found: Estimate, config: BootstrapConfig) -> Interval:
    """Return a figure with its percentile interval, or with the reason why it or its bounds are missing."""
    value, clusters = found.value, found.clusters
    if not np.isfinite(value):
        return Interval(None, None, None, config.level, clusters, f"not estimable: {found.undefined}")
    if clusters < config.min_clusters:
        note = f"no interval from {clusters} clusters (at least {config.min_clusters} needed)"
        return Interval(value, None, None, config.level, clusters, note)
    if found.proportion and value in (0.0, 1.0):
        low, high = _exact_bounds(value, clusters, config.level)
        note = f"exact bound: all {clusters} clusters gave the same answer"
        return Interval(value, low, high, config.level, clusters, note)
    interval = percentile_interval(value, found.resampled, clusters, config)
    if interval.low is not None and interval.high is not None and interval.high - interval.low < _SAME:
        note = "no interval: every resample gave the same value"
        return Interval(value, None, None, config.level, clusters, note)
    return interval


def percentile_interval(
    value: float, resampled: Float[np.ndarray, " R"], clusters: int, config: BootstrapConfig
) -> Interval:
    """Return a value with its percentile interval, or with the reason why there is none.

    Args:
        value: The value on all images.
        resampled: Its values on the resamples; NaN where it is not estimable; may be infinite.
        clusters: Number of clusters that it counts.
        config: Nominal coverage.
    """
    defined = resampled[~np.isnan(resampled)]
    undefined = 1 - len(defined) / len(resampled)
    if undefined > MAX_UNDEFINED:
        note = f"no interval: not estimable in {undefined:.0%} of the resamples"
        return Interval(value, None, None, config.level, clusters, note)
    tail = (1 - config.level) / 2
    # An infinite resample is a large one, not a missing one.
    low, high = (float(bound) for bound in np.quantile(np.clip(defined, -_INFINITE, _INFINITE), [tail, 1 - tail]))
    if max(high, -low) > _INFINITE / len(defined) ** 2:
        note = f"no interval: infinite in {np.isinf(defined).mean():.1%} of the resamples"
        return Interval(value, None, None, config.level, clusters, note)
    note = f"{undefined:.1%} of the resamples left out, where it is not estimable" if undefined else ""
    return Interval(value, low, high, config.level, clusters, note)


def _exact_bounds(value: float, clusters: int, level: float) -> tuple[float, float]:
    # Clopper and Pearson, Biometrika 26 (1934) 404–413, DOI 10.1093/biomet/26.4.404, with clusters as the trials:
    # percentiles would claim certainty where no error has been seen yet.
    edge = ((1 - level) / 2) ** (1 / clusters)
    return (edge, 1.0) if value == 1.0 else (0.0, 1 - edge)


def as_json(interval: Interval) -> dict[str, Any]:
    """Return ``{"value", "low", "high", "clusters"}``, with ``"note"`` where there is one."""
    bounds = {"value": interval.value, "low": interval.low, "high": interval.high}
    data: dict[str, Any] = {name: None if bound is None else rounded(bound) for name, bound in bounds.items()}
    data["clusters"] = interval.clusters
    if interval.note:
        data["note"] = interval.note
    return data


def rounded(value: float) -> float:
    """Return a number with twelve digits: in which order a BLAS adds must not decide the bytes of a file."""
    return float(f"{value:.12g}")
