"""What metrics.json says of the calibration of one network on one split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from fibrokd.evaluation.calibration.binned import (
    calibration_errors,
    confidence_sums,
    stage_errors,
    stage_sums,
    weighted,
)
from fibrokd.evaluation.calibration.temperature import fit_temperature, scaled
from fibrokd.evaluation.intervals import (
    BootstrapConfig,
    Estimate,
    as_json,
    bootstrap,
    draw_counts,
    interval_of,
    metric_interval,
)
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions

ERRORS = {
    "expected_calibration_error": (confidence_sums, calibration_errors),
    "classwise_calibration_error": (stage_sums, stage_errors),
}
"""Error → sums by cluster, errors of weighted sums."""

SCORED = ("log_loss", "brier")
"""Metrics that temperature scaling may improve."""


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Errors, and sums by bin, on all images first and then on the resamples; clusters that each bin holds."""

    errors: dict[str, Float[np.ndarray, " R1"]]
    bins: Float[np.ndarray, "R1 B 3"]
    held: Int[np.ndarray, " B"]
    clusters: int


def calibration(part: Predictions, validation: Predictions | None, config: BootstrapConfig) -> dict[str, Any]:
    """Return both calibration errors and ``calibration`` of a split.

    Args:
        part: Answers of a network on the split.
        validation: Answers of the same network on validation images; ``None`` where there are none.
        config: How intervals are made.
    """
    drawn = _drawn(part, config)
    found: dict[str, Any] = {name: _error(drawn, name, config) for name in ERRORS}
    details: dict[str, Any] = {
        "overconfidence": as_json(interval_of(_overconfidence(drawn), config)),
        "bins": [_bin(drawn, place, config) for place in np.flatnonzero(drawn.held).tolist()],
    }
    if validation is None or validation.split == part.split:
        return found | {"calibration": details}
    temperature = fit_temperature(validation)
    after = scaled(part, temperature)
    redrawn, sample = _drawn(after, config), bootstrap(after, config)
    details["temperature"] = {
        "value": float(f"{temperature:.6g}"),
        "fixed_on": validation.split,
        **{name: _error(redrawn, name, config) for name in ERRORS},
        "overconfidence": as_json(interval_of(_overconfidence(redrawn), config)),
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
    return _Drawn({name: np.concatenate(each) for name, each in errors.items()}, np.concatenate(bins), held, G)


def _error(drawn: _Drawn, name: str, config: BootstrapConfig) -> dict[str, Any]:
    # Draws of a calibration error lie too high by the noise that resampling adds to its bins, so that percentiles may
    # miss the value itself. Symmetric bounds hold in simulations (Hall, J R Stat Soc B 1988;50:35).
    value, drawn_values = float(drawn.errors[name][0]), drawn.errors[name][1:]
    found = interval_of(Estimate(value, drawn_values, drawn.clusters, "there are no images"), config)
    if found.low is None:
        return as_json(found)
    reach = float(np.quantile(np.abs(drawn_values - value), config.level))
    return as_json(found) | {"low": _digits(max(0.0, value - reach)), "high": _digits(min(1.0, value + reach))}


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
        "confidence": _digits(float(stated[0] / images[0])),
        "accuracy": as_json(interval_of(found, config)),
    }


def _digits(value: float) -> float:
    return float(f"{value:.12g}")
