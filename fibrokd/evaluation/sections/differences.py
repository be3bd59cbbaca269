"""Paired differences between networks on the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fibrokd.evaluation.comparisons.document import TESTS
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Cell, Footnotes, cell, p_value

HIGHER, LOWER, SAME, UNKNOWN = "higher", "lower", "not told apart", "no interval"

_AUROC = "auroc"


def differences(inputs: ReportInputs) -> dict[str, Any]:
    """Return one row per pair of networks: headline metrics, the further ones, and areas of the end points."""
    found = [item for item in inputs.document["comparisons"] if item["split"] == inputs.split]
    alpha = round(1 - inputs.document["level"], 10)
    areas = [item for item in found if item["metric"] == _AUROC]
    points = list(dict.fromkeys(item["end_point"] for item in areas))
    further = [name for name in METRICS if name not in HEADLINE]
    level = f"{100 * inputs.document['level']:g} %"
    first = f"first network minus second, with {level} intervals"
    tables = [
        _table(inputs, f"Paired differences, {first}", list(HEADLINE), found, alpha),
        _table(inputs, f"Paired differences in further metrics, {first}", further, found, alpha),
        _table(inputs, f"Paired differences of AUROC, {first}", points, areas, alpha),
    ]
    return {
        "tables": [table for table in tables if table.rows],
        "alpha": f"{alpha:g}",
        "largest": max((item.get("family_size", 0) for item in found), default=0),
        "tests": [
            (name[:1].upper() + name[1:], f"{what[:1].upper()}{what[1:]}.")
            for name, what in TESTS.items()
            if any(item.get("test") == name for item in found)
        ],
    }


def _table(
    inputs: ReportInputs, caption: str, columns: Sequence[str], found: Sequence[Mapping[str, Any]], alpha: float
) -> PageTable:
    footnotes = Footnotes()
    by_key = {(item["first"], item["second"], item.get("end_point", item["metric"])): item for item in found}
    pairs = dict.fromkeys((item["first"], item["second"]) for item in found)
    rows = [
        Row(
            f"{inputs.title_of(first)} minus {inputs.title_of(second)}",
            [_cell(by_key[first, second, column], footnotes, alpha) for column in columns],
        )
        for first, second in pairs
        if columns
    ]
    titles = [METRICS[name].title if name in METRICS else name for name in columns]
    label = caption.split(",", maxsplit=1)[0]
    return PageTable(label, caption, [Column("Networks"), *map(Column, titles)], rows, notes=footnotes.listed)


def _cell(entry: Mapping[str, Any], footnotes: Footnotes, alpha: float) -> Cell:
    shown = cell(entry["difference"], footnotes, signed=True)
    told = "" if "p_holm" not in entry else p_value(entry["p_holm"])
    return replace(shown, verdict=in_words(entry, alpha), aside=told)


def in_words(entry: Mapping[str, Any], alpha: float) -> str:
    """Return whether a difference is told from none by its corrected p-value, and on which side.

    Args:
        entry: Of the document's comparisons.
        alpha: Level of the test.
    """
    if "p_holm" not in entry:
        return UNKNOWN
    if entry["p_holm"] >= alpha:
        return SAME
    return HIGHER if entry["difference"]["value"] > 0 else LOWER
