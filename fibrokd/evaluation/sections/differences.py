"""Paired differences between networks on the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fibrokd.evaluation.comparisons.document import TESTS
from fibrokd.evaluation.end_points.thresholds import RULES
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Cell, Footnotes, cell, p_value

HIGHER, LOWER, SAME, UNKNOWN = "higher", "lower", "not told apart", "no interval"


def differences(inputs: ReportInputs) -> dict[str, Any]:
    """Return one row per pair of networks: metrics, areas of the end points, and decisions at fixed thresholds."""
    found = [item for item in inputs.document["comparisons"] if item["split"] == inputs.split]
    alpha = round(1 - inputs.document["level"], 10)
    tables = [_table(inputs, caption, columns, found, alpha) for caption, columns in _columns(found).items() if columns]
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


class _Asked(NamedTuple):
    """What a column tells: a metric, of an end point, at the threshold of a rule."""

    metric: str
    end_point: str = ""
    rule: str = ""

    @property
    def title(self) -> str:
        if self.metric in METRICS:
            return METRICS[self.metric].title
        return self.end_point if self.metric == "auroc" else f"{self.end_point} {self.metric}"


def _asked(item: Mapping[str, Any]) -> _Asked:
    return _Asked(item["metric"], item.get("end_point", ""), item.get("rule", ""))


def _columns(found: Sequence[Mapping[str, Any]]) -> dict[str, list[_Asked]]:
    """Caption of a table → its columns."""
    columns = {
        "Paired differences": [_Asked(name) for name in HEADLINE],
        "Paired differences in further metrics": [_Asked(name) for name in METRICS if name not in HEADLINE],
    }
    for asked in dict.fromkeys(_asked(item) for item in found if "end_point" in item):
        rule = RULES[asked.rule].title if asked.rule else ""
        caption = f"Paired differences of decisions (thresholds: {rule})" if rule else "Paired differences of AUROC"
        columns.setdefault(caption, []).append(asked)
    return columns


def _table(
    inputs: ReportInputs, label: str, columns: Sequence[_Asked], found: Sequence[Mapping[str, Any]], alpha: float
) -> PageTable:
    footnotes = Footnotes()
    by_key = {(item["first"], item["second"], _asked(item)): item for item in found}
    pairs = dict.fromkeys((item["first"], item["second"]) for item in found)
    rows = [
        Row(
            f"{inputs.title_of(first)} minus {inputs.title_of(second)}",
            [_cell(by_key.get((first, second, column)), footnotes, alpha) for column in columns],
        )
        for first, second in pairs
    ]
    caption = f"{label}, first network minus second, with {100 * inputs.document['level']:g} % intervals"
    titles = [column.title for column in columns]
    return PageTable(label, caption, [Column("Networks"), *map(Column, titles)], rows, notes=footnotes.listed)


def _cell(entry: Mapping[str, Any] | None, footnotes: Footnotes, alpha: float) -> Cell | str:
    if entry is None:  # one of the two has no threshold by this rule
        return "–"
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
