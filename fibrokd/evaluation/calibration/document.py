"""What metrics.json says of the calibration of one network on one split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fibrokd.evaluation.calibration.binned import (
    BINS,
    calibration_errors,
    chance_errors,
    confidence_sums,
    stage_errors,
    stage_sums,
    weighted,
)
from fibrokd.evaluation.calibration.differences import distances_of_differences
from fibrokd.evaluation.calibration.temperature import fitted, scaled
from fibrokd.evaluation.fixed_beforehand import Validation
from fibrokd.evaluation.intervals import (
    BootstrapConfig,
    Estimate,
    Interval,
    as_json,
    bootstrap,
    draw_counts,
    interval_of,
    metric_interval,
    rounded,
)
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions

ERRORS = {
    "expected_calibration_error": (confidence_sums, calibration_errors),
    "classwise_calibration_error": (stage_sums, stage_errors),
}
"""Error → sums by cluster, errors of weighted sums."""

LEAST_IN_BIN = 5
"""Images per bin, on average, from which an error gets an interval."""

CHANCES = 200
"""Imagined networks from which the error is taken that one shows which is exactly as right as it says."""

SCORED = ("log_loss", "brier")
"""Metrics that temperature scaling may improve."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What all images and the resamples say.

    Args:
        errors: Error → on all images first, then on the resamples.
        bins: Sums by bin, in the same order.
        held: Clusters that each bin holds.
        chance: Error → of imagined networks that are exactly as right as they say.
        clusters: Number of clusters.
    """

    errors: dict[str, Float[np.ndarray, " R1"]]
    bins: Float[np.ndarray, "R1 B 3"]
    held: Int[np.ndarray, " B"]
    chance: dict[str, Float[np.ndarray, " D"]]
    clusters: int


def calibration(part: Predictions, validation: Validation, config: BootstrapConfig) -> dict[str, Any]:
    """Return both calibration errors and ``calibration`` of a split.

    Args:
        part: Answers of a network on the split.
        validation: Answers of the same network on validation images, or why there are none.
        config: How intervals are made.
    """
    drawn = _drawn(part, config)
    found: dict[str, Any] = {name: _error(drawn, name, config) for name in ERRORS}
    details: dict[str, Any] = {
        "overconfidence": as_json(interval_of(_overconfidence(drawn), config)),
        "by_chance": _by_chance(drawn, config),
        "bins": [_bin(drawn, place, config) for place in np.flatnonzero(drawn.held).tolist()],
    }
    temperature = fitted(validation, config.min_clusters)
    if isinstance(validation, str) or validation.split == part.split or temperature.refused:
        details["no_temperature"] = temperature.refused or "it would be fitted on these very images"
        return found | {"calibration": details}
    after = scaled(part, temperature.value)
    redrawn, sample = _drawn(after, config), bootstrap(after, config)
    details["temperature"] = {
        "value": float(f"{temperature.value:.6g}"),
        "fixed_on": validation.split,
        "validation": {"images": len(validation), "clusters": len(set(validation.groups))},
        **{name: _error(redrawn, name, config) for name in ERRORS},
        "overconfidence": as_json(interval_of(_overconfidence(redrawn), config)),
        "by_chance": _by_chance(redrawn, config),
        **{name: as_json(metric_interval(METRICS[name], sample)) for name in SCORED},
    }
    return found | {"calibration": details}


def _drawn(part: Predictions, config: BootstrapConfig) -> _Drawn:
    sums = {name: of_clusters(part) for name, (of_clusters, _) in ERRORS.items()}
    confidence = sums["expected_calibration_error"]
    G = len(confidence)
    errors: dict[str, list[np.ndarray]] = {name: [] for name in ERRORS}
    bins = []
    for weights in (np.ones((1, G)), *draw_counts(G, config)):
        for name, (_, of_sums) in ERRORS.items():
            errors[name].append(of_sums(sums[name], weights))
        bins.append(weighted(confidence, weights))
    held = (confidence[..., 0] > 0).sum(axis=0)
    chance = chance_errors(part, CHANCES, np.random.default_rng(config.seed))
    return _Drawn(
        errors={name: np.concatenate(each) for name, each in errors.items()},
        bins=np.concatenate(bins),
        held=held,
        chance=dict(zip(ERRORS, chance, strict=True)),
        clusters=G,
    )


def _error(drawn: _Drawn, name: str, config: BootstrapConfig) -> dict[str, Any]:
    value, resampled = float(drawn.errors[name][0]), drawn.errors[name][1:]
    found = interval_of(Estimate(value, resampled, drawn.clusters, "there are no images"), config)
    if found.low is None:
        return as_json(found)
    if name == "classwise_calibration_error":
        return as_json(_without_bounds(found, "no interval: the noise of its bins is too large a part of it"))
    per_bin = drawn.bins[0, :, 0].sum() / BINS
    if per_bin < LEAST_IN_BIN:
        return as_json(_without_bounds(found, f"no interval: fewer than {LEAST_IN_BIN} images per bin on average"))
    # The noise of the bins lifts an error, and resampling adds as much again and half as much noise more: percentiles
    # may miss the value itself. The bounds leave room for both (see distances_of_differences, docs/decisions/0013).
    reach = np.quantile(distances_of_differences(resampled, max(0.0, float(resampled.mean()) - value)), config.level)
    low, high = max(0.0, value - float(reach)), min(1.0, value + float(reach))
    note = "symmetric bounds, wide enough for the noise of the bins"
    if value <= np.quantile(drawn.chance[name], config.level):
        low, note = 0.0, f"{note}; a network that is exactly as right as it says may show as much"
    return as_json(Interval(value, low, high, config.level, drawn.clusters, note))


def _by_chance(drawn: _Drawn, config: BootstrapConfig) -> dict[str, dict[str, float]]:
    return {
        name: {"mean": rounded(float(errors.mean())), "at_most": rounded(float(np.quantile(errors, config.level)))}
        for name, errors in drawn.chance.items()
    }


def _without_bounds(found: Interval, note: str) -> Interval:
    return Interval(found.value, None, None, found.level, found.clusters, note)


def _overconfidence(drawn: _Drawn) -> Estimate:
    sums = drawn.bins.sum(axis=1)
    values = (sums[:, 1] - sums[:, 2]) / sums[:, 0]
    return Estimate(float(values[0]), values[1:], drawn.clusters, "there are no images")


def _bin(drawn: _Drawn, place: int, config: BootstrapConfig) -> dict[str, Any]:
    images, stated, hits = (drawn.bins[:, place, column] for column in range(3))
    with np.errstate(invalid="ignore"):  # a resample may hold none of these images
        share = hits / images
    found = Estimate(float(share[0]), share[1:], int(drawn.held[place]), "there are no images", proportion=True)
    return {
        "images": int(images[0]),
        "confidence": rounded(float(stated[0] / images[0])),
        "accuracy": as_json(interval_of(found, config)),
    }
