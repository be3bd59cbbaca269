"""Clinical end points: how well they are ranked, what decisions at thresholds fixed beforehand are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fibrokd.evaluation.end_points.decisions import DECISION_METRICS
from fibrokd.evaluation.end_points.sample import has_end_point, probability_of
from fibrokd.evaluation.end_points.thresholds import RULES, curve
from fibrokd.evaluation.figures import Curve, benefit_uri, roc_uri
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Footnotes, bounded, cell, listing, number, percent

FALSE_ALARMS = tuple(round(0.01 * step, 2) for step in range(101))
"""Shares of false alarms at which a curve is drawn."""
LISTED = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of false alarms at which it is written down."""
AREAS = {
    "AUROC": "Probability that an image with the end point gets a higher score than one without, equal scores counting "
    "one half; 0.5 is chance.",
    "Average precision": "Precision averaged over the images that have the end point, in the order of their scores; "
    "chance is their share.",
    "Net benefit": "Hits minus false alarms, per image, a false alarm weighing the odds of the probability at which "
    "one would act. Acting on its word does harm where its line is below 0 or below that of acting on all.",
}

Roc = dict[str, tuple[list[float], list[float]]]


def end_points(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return tables and charts by end point; ``None`` where the scale has none."""
    first = next(iter(inputs.networks.values()))
    if not first.get("end_points"):
        return None
    footnotes = Footnotes()
    return {
        "areas": [row for name in first["end_points"] for row in _areas(inputs, name, footnotes)],
        "rules": [_rule(inputs, rule, footnotes) for rule in RULES if _has(inputs, rule)],
        "refused": _refusals(inputs),
        "rocs": [roc for name in first["end_points"] if (roc := _roc(inputs, name)) is not None],
        "listed": [f"{100 * share:g} %" for share in LISTED],
        "benefits": [_benefit(inputs, name) for name in first["end_points"]],
        "prevalences": [_prevalence(inputs, rule, footnotes) for rule in RULES if _has(inputs, rule)],
        "columns": [metric.title for metric in DECISION_METRICS.values()],
        "networks": [inputs.title_of(name) for name in inputs.networks],
        "notes": footnotes.listed,
        "level": f"{100 * inputs.document['level']:g} %",
        "terms": [
            *AREAS.items(),
            *((rule.title, rule.definition) for rule in RULES.values()),
            *((metric.title, metric.definition) for metric in DECISION_METRICS.values()),
        ],
    }


def _entries(inputs: ReportInputs, end_point: str) -> dict[str, Mapping[str, Any]]:
    return {name: metrics["end_points"][end_point] for name, metrics in inputs.networks.items()}


def _areas(inputs: ReportInputs, end_point: str, footnotes: Footnotes) -> list[dict[str, Any]]:
    return [
        {
            "end_point": end_point,
            "network": inputs.title_of(name),
            "positive": _share(entry),
            "cells": [
                cell(inputs.networks[name]["auroc"][end_point], footnotes, unit_scale=True),
                cell(entry["average_precision"], footnotes, unit_scale=True),
            ],
        }
        for name, entry in _entries(inputs, end_point).items()
    ]


def _share(entry: Mapping[str, Any]) -> str:
    positive, negative = entry["positive"]["images"], entry["negative"]["images"]
    return f"{positive:,} of {positive + negative:,} ({percent(positive / (positive + negative))})"


def _has(inputs: ReportInputs, rule: str) -> bool:
    return any(
        rule in entry["operating_points"] for m in inputs.networks.values() for entry in m["end_points"].values()
    )


def _refusals(inputs: ReportInputs) -> list[str]:
    """One line per reason, with the networks and end points that it holds for."""
    lines: dict[str, dict[str, list[str]]] = {}
    for network, metrics in inputs.networks.items():
        for end_point, entry in metrics["end_points"].items():
            refused = entry.get("no_threshold", {})
            for reason in dict.fromkeys(refused.values()):
                rules = [RULES[rule].title for rule in RULES if refused.get(rule) == reason]
                which = end_point if len(rules) == len(RULES) else f"{end_point} ({listing(rules)})"
                lines.setdefault(reason, {}).setdefault(inputs.title_of(network), []).append(which)
    return [
        f"No threshold, because {reason}: {'; '.join(f'{who} {listing(which)}' for who, which in found.items())}."
        for reason, found in lines.items()
    ]


def _points(inputs: ReportInputs, rule: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """End point, title of the network, decisions: one row each."""
    first = next(iter(inputs.networks.values()))
    return [
        (end_point, inputs.title_of(name), entry["operating_points"][rule])
        for end_point in first["end_points"]
        for name, entry in _entries(inputs, end_point).items()
        if rule in entry["operating_points"]
    ]


def _rule(inputs: ReportInputs, rule: str, footnotes: Footnotes) -> dict[str, Any]:
    rows = [
        {
            "end_point": end_point,
            "network": network,
            "threshold": _threshold(found["threshold"]),
            "cells": [
                cell(found[name], footnotes, unit_scale=metric.proportion) for name, metric in DECISION_METRICS.items()
            ],
        }
        for end_point, network, found in _points(inputs, rule)
    ]
    return {"title": RULES[rule].title, "definition": RULES[rule].definition, "rows": rows}


def _threshold(value: float) -> str:
    """Spell a probability so that it can be told from 0 and 1."""
    if 0.001 <= value <= 0.999:
        return number(value)
    return f"{value:.2g}" if value < 0.5 else f"1 − {1 - value:.2g}"


def _prevalence(inputs: ReportInputs, rule: str, footnotes: Footnotes) -> dict[str, Any]:
    points = _points(inputs, rule)
    rows = [
        {
            "end_point": end_point,
            "network": network,
            "prevalence": f"{100 * row['prevalence']:g} %",
            "cells": [cell(row[name], footnotes, unit_scale=True) for name in ("ppv", "npv")],
        }
        for end_point, network, found in points
        for row in found["by_prevalence"]
    ]
    return {"title": RULES[rule].title, "rows": rows}


def _roc(inputs: ReportInputs, end_point: str) -> dict[str, Any] | None:
    curves: Roc = {}
    for part in inputs.parts:
        sensitivity = _sensitivities(part, part.scale.cutoffs[part.scale.cutoff_names.index(end_point)])
        if sensitivity:
            curves[inputs.title_of(part.network)] = (list(FALSE_ALARMS), sensitivity)
    if not curves:
        return None  # one of the two classes is missing, as the table of areas says
    return {
        "end_point": end_point,
        "uri": roc_uri(curves),
        "alt": f"Receiver operating characteristic of {end_point}. {_roc_in_words(curves)}",
        "rows": [
            {"network": title, "values": [number(values[FALSE_ALARMS.index(share)]) for share in LISTED]}
            for title, (_, values) in curves.items()
        ],
    }


def _sensitivities(part: Predictions, cutoff: int) -> list[float]:
    """Return the highest sensitivity with at most each share of false alarms; empty where a class is missing."""
    found = curve(probability_of(part, cutoff), has_end_point(part, cutoff))
    if found is None:
        return []
    alarms = np.concatenate([[0.0], 1 - found.specificity])
    reached = np.concatenate([[0.0], found.sensitivity])
    places = np.searchsorted(alarms, np.asarray(FALSE_ALARMS) + 1e-12, side="right") - 1
    values: list[float] = reached[places].tolist()
    return values


def _roc_in_words(curves: Roc) -> str:
    told = [
        f"{title}: sensitivity {values[FALSE_ALARMS.index(0.1)]:.3f} with at most 10 % false alarms"
        for title, (_, values) in curves.items()
    ]
    return "; ".join(told) + "."


def _benefit(inputs: ReportInputs, end_point: str) -> dict[str, Any]:
    entries = {inputs.title_of(name): entry["decision_curve"] for name, entry in _entries(inputs, end_point).items()}
    first: Sequence[Mapping[str, Any]] = next(iter(entries.values()))
    probabilities = [row["probability"] for row in first]
    of_all = [row["of_all"] for row in first]
    curves: dict[str, Curve] = {
        title: (probabilities, [row["net_benefit"]["value"] for row in rows]) for title, rows in entries.items()
    }
    told = "; ".join(f"{title}: {rows[len(rows) // 2]['net_benefit']['value']:.3f}" for title, rows in entries.items())
    return {
        "end_point": end_point,
        "uri": benefit_uri(curves, (probabilities, of_all)),
        "alt": f"Decision curves of {end_point}. Net benefit at {probabilities[len(probabilities) // 2]:g}: {told}.",
        "rows": [
            {
                "probability": f"{probability:.2f}",
                "of_all": number(of_all[place]),
                "values": [bounded(rows[place]["net_benefit"]) for rows in entries.values()],
            }
            for place, probability in enumerate(probabilities)
        ],
    }
