"""Calibration: is a network as often right as it says it is, and does a temperature mend it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.calibration.binned import BINS
from fibrokd.evaluation.calibration.document import ERRORS, SCORED
from fibrokd.evaluation.figures import reliability_uri
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.report_inputs import CONTROL, TEACHER, ReportInputs
from fibrokd.evaluation.wording import Footnotes, bounded, cell, number

TITLES = {
    "expected_calibration_error": "ECE",
    "classwise_calibration_error": "Classwise ECE",
    "overconfidence": "Overconfidence",
}
TERMS = {
    "ECE": f"Expected calibration error: images are put into {BINS} bins by the probability of the "
    "predicted stage; the mean distance of that probability and the share staged right. Chance keeps it above 0: "
    "beside it stands what a network would show that states the same and is exactly as right as it says.",
    "Classwise ECE": "The same for the probability of every single stage, averaged over stages; also beside chance.",
    "Overconfidence": "Mean probability of the predicted stage minus accuracy; above 0 where the network is too sure.",
    "Temperature": "What log-probabilities are divided by so that the log loss on validation images is lowest; above "
    "1 where the network was too sure there. No predicted stage changes.",
}


def calibration(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return tables before and after temperature scaling, and one reliability diagram per network.

    ``None`` where none of it was measured.
    """
    footnotes = Footnotes()
    found = {name: metrics for name, metrics in inputs.networks.items() if "calibration" in metrics}
    if not found:
        return None
    scaled = {name: m["calibration"]["temperature"] for name, m in found.items() if "temperature" in m["calibration"]}
    return {
        "words": [
            *(_in_words(inputs.title_of(name), metrics) for name, metrics in found.items()),
            *_taken_over(inputs),
        ],
        "rows": [
            {
                "network": inputs.title_of(name),
                "by_chance": _by_chance(metrics["calibration"]["by_chance"]),
                "cells": [_cell(_before(metrics, key), key, footnotes) for key in (*TITLES, *SCORED)],
            }
            for name, metrics in found.items()
        ],
        "scaled": [
            {
                "network": inputs.title_of(name),
                "temperature": f"{number(after['value'])} ({after['validation']['images']:,} images)",
                "by_chance": _by_chance(after["by_chance"]),
                "cells": [_cell(after[key], key, footnotes) for key in (*TITLES, *SCORED)],
            }
            for name, after in scaled.items()
        ],
        "refused": [
            f"{inputs.title_of(name)}: no temperature, because {metrics['calibration']['no_temperature']}."
            for name, metrics in found.items()
            if "no_temperature" in metrics["calibration"]
        ],
        "chances": [f"{TITLES[name]} by chance alone" for name in ERRORS],
        "columns": [*TITLES.values(), *(METRICS[name].title for name in SCORED)],
        "figures": [_figure(inputs.title_of(name), metrics["calibration"]["bins"]) for name, metrics in found.items()],
        "notes": footnotes.listed,
        "level": f"{100 * inputs.document['level']:g} %",
        "terms": [*TERMS.items(), *((METRICS[name].title, METRICS[name].definition) for name in SCORED)],
    }


def _by_chance(found: Mapping[str, Any]) -> list[str]:
    return [f"{number(found[name]['mean'])} (up to {number(found[name]['at_most'])})" for name in ERRORS]


def _before(metrics: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = metrics["calibration"][key] if key == "overconfidence" else metrics[key]
    return found


def _cell(found: Mapping[str, Any], key: str, footnotes: Footnotes) -> Any:
    return cell(found, footnotes, unit_scale=key in ERRORS, signed=key == "overconfidence")


def _in_words(title: str, metrics: Mapping[str, Any]) -> str:
    found = metrics["calibration"]["overconfidence"]
    if found["low"] is None:
        why = found.get("note", "no interval")
        return f"{title}: whether it is too sure cannot be said ({number(found['value'], signed=True)}; {why})."
    bounds = f"{number(found['value'], signed=True)}, {number(found['low'], True)} to {number(found['high'], True)}"
    if found["low"] > 0:
        return f"{title} is too sure ({bounds})."
    if found["high"] < 0:
        return f"{title} is not sure enough ({bounds})."
    return f"{title} is on average as sure as it is right, as far as can be told ({bounds})."


def _taken_over(inputs: ReportInputs) -> list[str]:
    """Whether students that had a teacher are as much too sure as it is, judged beside the one that had none."""
    entries = [entry for entry in inputs.document["agreement"] if entry["split"] == inputs.split]
    gaps = {(entry["first"], entry["second"]): entry["overconfidence_gap"] for entry in entries}
    control = gaps.get((TEACHER, CONTROL))
    if control is None:
        return []
    return [
        taken_over(inputs.title_of(name), control, gap)
        for (first, name), gap in gaps.items()
        if first == CONTROL and (TEACHER, name) in gaps
    ]


def taken_over(title: str, control: Mapping[str, Any], student: Mapping[str, Any]) -> str:
    """Return whether a student took over its teacher's calibration, as far as differences surely have a sign.

    Args:
        title: What the student is called.
        control: Overconfidence of the student without a teacher minus that of the teacher.
        student: Overconfidence of the student minus that of the one without a teacher.
    """
    sign, moved = _sure_sign(control), _sure_sign(student)
    told = f"Overconfidence of {title} less that of the student without a teacher: {_signed(student)}"
    if not sign:
        return (
            f"{told}. That one and the teacher do not surely differ ({_signed(control)}): nothing to take over shows."
        )
    if not moved:
        return f"{told}. Whether it took over any of its teacher's calibration cannot be told."
    if moved == sign:
        return f"{told}. It moved away from its teacher's calibration, not towards it."
    return f"{told}: towards its teacher, above which that one lies by {_signed(control)}. It takes after its teacher."


def _sure_sign(found: Mapping[str, Any]) -> int:
    if found["low"] is None:
        return 0
    return int(found["low"] > 0) - int(found["high"] < 0)


def _signed(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return f"{number(found['value'], signed=True)}, no interval"
    return f"{number(found['value'], signed=True)} ({number(found['low'], True)} to {number(found['high'], True)})"


def _figure(title: str, bins: list[Mapping[str, Any]]) -> dict[str, Any]:
    points = [(b["confidence"], b["accuracy"]["value"], b["accuracy"]["low"], b["accuracy"]["high"]) for b in bins]
    first, last = points[0], points[-1]
    return {
        "title": title,
        "uri": reliability_uri(points),
        "alt": f"Reliability diagram of {title}: where it says {first[0]:.2f} it is right in {first[1]:.2f}, "
        f"where it says {last[0]:.2f} in {last[1]:.2f} of the images.",
        "rows": [
            {"images": f"{b['images']:,}", "stated": number(b["confidence"]), "right": bounded(b["accuracy"])}
            for b in bins
        ],
    }
