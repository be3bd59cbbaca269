"""What metrics.json says of the clinical end points of one network on one split.

Thresholds are fixed on the validation images of the same network and never seen by test images. Where there are none,
or where they lack one of the two classes, that is said instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.end_points.decisions import (
    DECISION_METRICS,
    DecisionMetric,
    Decisions,
    net_benefit,
    npv_at,
    ppv_at,
)
from fibrokd.evaluation.end_points.sample import (
    Area,
    EndPointSample,
    end_point_samples,
    has_end_point,
    probability_of,
)
from fibrokd.evaluation.end_points.thresholds import RULES, curve, threshold
from fibrokd.evaluation.intervals import BootstrapConfig, Estimate, Interval, as_json, interval_of
from fibrokd.evaluation.predictions import Predictions

FIXED_ON = "val"
"""Split on which thresholds are fixed."""

PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of people with the end point, from screening to a referral clinic, for which predictive values are given."""

PROBABILITIES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Probabilities at which one would act, of decision curves."""


def end_points(part: Predictions, validation: Predictions | None, config: BootstrapConfig) -> dict[str, Any]:
    """Return ``auroc`` and ``end_points`` of a split; nothing where the scale has no end points.

    Args:
        part: Answers of a network on the split.
        validation: Answers of the same network on validation images; ``None`` where there are none.
        config: How intervals are made.
    """
    if not part.scale.cutoffs:
        return {}
    fixed = {cutoff: _thresholds(part, validation, cutoff) for cutoff in part.scale.cutoffs}
    thresholds = {cutoff: [*PROBABILITIES, *limits.values()] for cutoff, (limits, _) in fixed.items()}
    samples = end_point_samples(part, thresholds, config)
    found = {
        name: _end_point(samples[cutoff], *fixed[cutoff])
        for name, cutoff in zip(part.scale.cutoff_names, part.scale.cutoffs, strict=True)
    }
    return {"auroc": {name: entry.pop("auroc") for name, entry in found.items()}, "end_points": found}


def _end_point(sample: EndPointSample, limits: Mapping[str, float], refused: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        name: {"images": int(images.sum()), "clusters": int((images > 0).sum())}
        for name, images in (("positive", sample.positive), ("negative", sample.negative))
    }
    entry["auroc"] = as_json(_area(sample, sample.auroc, "every image has the end point, or none"))
    entry["average_precision"] = as_json(_area(sample, sample.average_precision, "no image has the end point"))
    entry["decision_curve"] = [_benefit(sample, place, probability) for place, probability in enumerate(PROBABILITIES)]
    entry["operating_points"] = {
        rule: {"threshold": float(f"{limit:.12g}"), "fixed_on": FIXED_ON}
        | _operating_point(sample, len(PROBABILITIES) + place)
        for place, (rule, limit) in enumerate(limits.items())
    }
    return entry | ({"no_threshold": refused} if refused else {})


def _thresholds(part: Predictions, validation: Predictions | None, cutoff: int) -> tuple[dict[str, float], str]:
    """Return the threshold of every rule, or why there are none."""
    if part.split == FIXED_ON:
        return {}, "thresholds are fixed on these very images"
    if validation is None:
        return {}, "there are no answers on validation images to fix thresholds on"
    known = curve(probability_of(validation, cutoff), has_end_point(validation, cutoff))
    if known is None:
        return {}, "the validation images lack those with the end point, or those without"
    return {name: threshold(rule, known) for name, rule in RULES.items()}, ""


def _area(sample: EndPointSample, area: Area, undefined: str) -> Interval:
    # As many clusters as the smaller class has: the other one cannot make up for it.
    clusters = int(min((sample.positive > 0).sum(), (sample.negative > 0).sum()))
    return interval_of(Estimate(area.value, area.resampled, clusters, undefined), sample.config)


def _operating_point(sample: EndPointSample, place: int) -> dict[str, Any]:
    return {name: as_json(_decided(sample, place, metric)) for name, metric in DECISION_METRICS.items()} | {
        "by_prevalence": [
            {"prevalence": prevalence, "ppv": as_json(ppv), "npv": as_json(npv)}
            for prevalence in PREVALENCES
            for ppv, npv in [_predictive_values(sample, place, prevalence)]
        ]
    }


def _decided(sample: EndPointSample, place: int, metric: DecisionMetric) -> Interval:
    found = Estimate(
        value=float(metric.function(_at(sample.pooled, place))[0]),
        resampled=metric.function(_at(sample.resampled, place)),
        clusters=int(metric.counted(_at(sample.by_group, place)).sum()),
        undefined=metric.undefined,
        proportion=metric.proportion,
    )
    return interval_of(found, sample.config)


def _predictive_values(sample: EndPointSample, place: int, prevalence: float) -> tuple[Interval, Interval]:
    clusters = int(min((sample.positive > 0).sum(), (sample.negative > 0).sum()))
    undefined = "no image is called so, or one of the two classes is missing"
    ppv, npv = (
        interval_of(
            Estimate(
                value=float(function(_at(sample.pooled, place), prevalence)[0]),
                resampled=function(_at(sample.resampled, place), prevalence),
                clusters=clusters,
                undefined=undefined,
            ),
            sample.config,
        )
        for function in (ppv_at, npv_at)
    )
    return ppv, npv


def _benefit(sample: EndPointSample, place: int, probability: float) -> dict[str, Any]:
    value, drawn = (net_benefit(_at(each, place), probability) for each in (sample.pooled, sample.resampled))
    clusters = int(((sample.positive + sample.negative) > 0).sum())
    found = interval_of(Estimate(float(value[0]), drawn, clusters, "there are no images"), sample.config)
    prevalence = float(sample.positive.sum() / (sample.positive + sample.negative).sum())
    of_all = prevalence - (1 - prevalence) * probability / (1 - probability)
    return {"probability": probability, "net_benefit": as_json(found), "of_all": float(f"{of_all:.12g}")}


def _at(found: Decisions, place: int) -> Decisions:
    return Decisions(found.hits[:, place], found.misses[:, place], found.alarms[:, place], found.passes[:, place])
