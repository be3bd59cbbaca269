"""Paired differences between networks on the same patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Cell, Footnotes, cell

HIGHER, LOWER, SAME, UNKNOWN = "higher", "lower", "not told apart", "no interval"


def differences(inputs: ReportInputs) -> dict[str, Any]:
    """Return one row per pair of networks, one cell per headline metric."""
    footnotes = Footnotes()
    found = [item for item in inputs.document["comparisons"] if item["split"] == inputs.split]
    pairs = dict.fromkeys((item["first"], item["second"]) for item in found)
    by_key = {(item["first"], item["second"], item["metric"]): item["difference"] for item in found}
    rows = [
        {
            "first": inputs.title_of(first),
            "second": inputs.title_of(second),
            "cells": [_cell(by_key[first, second, metric], footnotes) for metric in HEADLINE],
        }
        for first, second in pairs
    ]
    return {
        "columns": [METRICS[name].title for name in HEADLINE],
        "rows": rows,
        "count": len(found),
        "level": f"{100 * inputs.document['level']:g} %",
        "notes": footnotes.listed,
    }


def _cell(difference: Mapping[str, Any], footnotes: Footnotes) -> tuple[Cell, str]:
    return cell(difference, footnotes, signed=True), in_words(difference)


def in_words(difference: Mapping[str, Any]) -> str:
    """Return whether the interval of a difference excludes zero, and on which side."""
    if difference["low"] is None:
        return UNKNOWN
    if difference["low"] > 0:
        return HIGHER
    return LOWER if difference["high"] < 0 else SAME
