"""What metrics.json says of the clinical end points of one network on one split.

Thresholds are fixed on the validation images of the same network and never seen by test images. Where there are none,
or where they lack one of the two classes, that is said instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.end_points.decisions import (
    DECISION_METRICS,
    DecisionMetric,
    Decisions,
    bayes,
    both_classes,
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
from fibrokd.evaluation.fixed_beforehand import FIXED_ON, Validation
from fibrokd.evaluation.intervals import BootstrapConfig, Estimate, Interval, as_json, interval_of, rounded
from fibrokd.evaluation.predictions import Predictions

PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of people with the end point, from screening to a referral clinic, for which predictive values are given."""

PROBABILITIES = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Probabilities at which one would act, of decision curves."""


def end_points(part: Predictions, validation: Validation, config: BootstrapConfig) -> dict[str, Any]:
    """Return ``auroc`` and ``end_points`` of a split; nothing where the scale has no end points.

    Args:
        part: Answers of a network on the split.
        validation: Answers of the same network on validation images, or why there are none.
        config: How intervals are made.
    """
    if not part.scale.cutoffs:
        return {}
    fixed = {cutoff: _fixed(part, validation, cutoff, config.min_clusters) for cutoff in part.scale.cutoffs}
    thresholds = {cutoff: [*PROBABILITIES, *each.limits.values()] for cutoff, each in fixed.items()}
    samples = end_point_samples(part, thresholds, config)
    found = {
        name: _end_point(samples[cutoff], fixed[cutoff])
        for name, cutoff in zip(part.scale.cutoff_names, part.scale.cutoffs, strict=True)
    }
    return {"auroc": {name: entry.pop("auroc") for name, entry in found.items()}, "end_points": found}


def thresholds_told(figures: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return end point → rule → threshold of what a document says of one network on one split.

    Args:
        figures: With ``end_points``, as :func:`end_points` returns them; without: there are none.
    """
    return {
        name: {rule: point["threshold"] for rule, point in entry["operating_points"].items()}
        for name, entry in figures.get("end_points", {}).items()
    }


class _Fixed(NamedTuple):
    """Rule → threshold, rule → why there is none, and the validation images that this rests on."""

    limits: dict[str, float]
    refused: dict[str, str]
    rests_on: dict[str, dict[str, int]]


def _fixed(part: Predictions, validation: Validation, cutoff: int, least: int) -> _Fixed:
    if part.split == FIXED_ON:
        return _Fixed({}, dict.fromkeys(RULES, "thresholds are fixed on these very images"), {})
    if isinstance(validation, str):
        return _Fixed({}, dict.fromkeys(RULES, validation), {})
    scores, positive = probability_of(validation, cutoff), has_end_point(validation, cutoff)
    groups = np.array(validation.groups)
    rests_on = {
        name: {"images": int(rows.sum()), "clusters": len(set(groups[rows].tolist()))}
        for name, rows in (("positive", positive), ("negative", ~positive))
    }
    known = curve(scores, positive)
    fewest = min(each["clusters"] for each in rests_on.values())
    if known is None or fewest < least:
        why = f"one of the two classes has validation images of {fewest} clusters only (at least {least} needed)"
        return _Fixed({}, dict.fromkeys(RULES, why), rests_on)
    limits = {name: threshold(rule, known) for name, rule in RULES.items()}
    refused = {name: "the rule would call every image positive" for name, limit in limits.items() if limit == 0}
    return _Fixed({name: limit for name, limit in limits.items() if limit > 0}, refused, rests_on)


def _end_point(sample: EndPointSample, fixed: _Fixed) -> dict[str, Any]:
    entry: dict[str, Any] = {
        name: {"images": int(images.sum()), "clusters": int((images > 0).sum())}
        for name, images in (("positive", sample.positive), ("negative", sample.negative))
    }
    entry["auroc"] = as_json(_area(sample, sample.auroc))
    entry["average_precision"] = as_json(_area(sample, sample.average_precision))
    entry["decision_curve"] = [_benefit(sample, place, probability) for place, probability in enumerate(PROBABILITIES)]
    entry["operating_points"] = {
        rule: {"threshold": limit, "fixed_on": FIXED_ON} | _operating_point(sample, len(PROBABILITIES) + place)
        for place, (rule, limit) in enumerate(fixed.limits.items())
    }
    entry |= {"no_threshold": fixed.refused} if fixed.refused else {}
    return entry | ({"validation": fixed.rests_on} if fixed.rests_on else {})


def _area(sample: EndPointSample, area: Area) -> Interval:
    undefined = "every image has the end point, or none"
    return interval_of(Estimate(area.value, area.resampled, _smaller_class(sample), undefined), sample.config)


def _smaller_class(sample: EndPointSample) -> int:
    return both_classes(_at(sample.by_group, 0))


def _operating_point(sample: EndPointSample, place: int) -> dict[str, Any]:
    found = {name: _decided(sample, place, metric) for name, metric in DECISION_METRICS.items()}
    right, wrong = found["sensitivity"], found["specificity"]

    def at(prevalence: float) -> dict[str, Any]:
        called, spared = _Carried(right, wrong, prevalence), _Carried(wrong, right, 1 - prevalence)
        return {
            "prevalence": prevalence,
            "ppv": as_json(_predictive_value(sample, place, ppv_at, prevalence, called)),
            "npv": as_json(_predictive_value(sample, place, npv_at, prevalence, spared)),
        }

    return {name: as_json(interval) for name, interval in found.items()} | {
        "by_prevalence": [at(prevalence) for prevalence in PREVALENCES]
    }


def _decided(sample: EndPointSample, place: int, metric: DecisionMetric) -> Interval:
    found = Estimate(
        value=float(metric.function(_at(sample.pooled, place))[0]),
        resampled=metric.function(_at(sample.resampled, place)),
        clusters=metric.clusters(_at(sample.by_group, place)),
        undefined=metric.undefined,
        proportion=metric.proportion,
    )
    return interval_of(found, sample.config)


class _Carried(NamedTuple):
    """What a predictive value is made of: the share of its class called so, that of the other not called so, prior."""

    own: Interval
    other: Interval
    prior: float


def _predictive_value(
    sample: EndPointSample,
    place: int,
    function: Callable[[Decisions, float], Float[np.ndarray, "*batch"]],
    prevalence: float,
    carried: _Carried,
) -> Interval:
    clusters = _smaller_class(sample)
    if carried.other.value == 1 and carried.other.low is not None and carried.own.low is not None and carried.own.value:
        # No resample has a mistake that the images do not have: percentiles would claim certainty.
        shares = np.array([carried.own.low]), np.array([1 - carried.other.low])
        low, note = float(bayes(*shares, carried.prior)[0]), "from the lower bounds of sensitivity and specificity"
        return Interval(1.0, low, 1.0, sample.config.level, clusters, note)
    value, drawn = (function(_at(each, place), prevalence) for each in (sample.pooled, sample.resampled))
    undefined = "no image is called so, or one of the two classes is missing"
    return interval_of(Estimate(float(value[0]), drawn, clusters, undefined), sample.config)


def _benefit(sample: EndPointSample, place: int, probability: float) -> dict[str, Any]:
    value, drawn = (net_benefit(_at(each, place), probability) for each in (sample.pooled, sample.resampled))
    clusters = int(((sample.positive + sample.negative) > 0).sum())
    found = interval_of(Estimate(float(value[0]), drawn, clusters, "there are no images"), sample.config)
    prevalence = float(sample.positive.sum() / (sample.positive + sample.negative).sum())
    of_all = prevalence - (1 - prevalence) * probability / (1 - probability)
    return {"probability": probability, "net_benefit": as_json(found), "of_all": rounded(of_all)}


def _at(found: Decisions, place: int) -> Decisions:
    return Decisions(found.hits[:, place], found.misses[:, place], found.alarms[:, place], found.passes[:, place])
