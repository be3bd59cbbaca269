"""How far networks agree with each other, and whether they are wrong about the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fibrokd.evaluation.agreement.figures import BEING_SURE, ERRING, FIGURES, SAYING, Figure
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Cell, Footnotes, cell, percent

SPELLED_OUT = 6
"""Pairs that are told in sentences; of more, tables are read."""


def agreement(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return two tables with one row per pair of networks, and a sentence about each; ``None`` of a single network."""
    found = [item for item in inputs.document["agreement"] if item["split"] == inputs.split]
    if not found:
        return None
    titles = {name: inputs.title_of(name) for item in found for name in (item["first"], item["second"])}
    return {
        "words": [in_words(item, titles) for item in found] if len(found) <= SPELLED_OUT else [],
        "tables": agreement_tables(found, titles, inputs.document["level"]),
        "terms": [(figure.title, figure.definition) for figure in FIGURES.values()],
    }


def agreement_tables(
    found: Sequence[Mapping[str, Any]], titles: Mapping[str, str], level: int | float
) -> list[PageTable]:
    """Return what networks say beside each other, and where they are right and wrong together.

    Args:
        found: Entries of the document's agreement.
        titles: Network → what it is called.
        level: Nominal coverage of the intervals.
    """
    intervals = f"with {100 * level:g} % intervals over clusters"
    return [
        _table("Agreement", f"What two networks say of the same images, {intervals}", SAYING, found, titles),
        _table("Errors in common", f"Who is right and wrong together, {intervals}", ERRING, found, titles),
        _table("Being sure", f"Who is surer than it is right, {intervals}", BEING_SURE, found, titles),
    ]


def _table(
    label: str,
    caption: str,
    figures: Mapping[str, Figure],
    found: Sequence[Mapping[str, Any]],
    titles: Mapping[str, str],
) -> PageTable:
    footnotes = Footnotes()
    rows = [
        Row(
            f"{titles[item['first']]} and {titles[item['second']]}",
            [_cell(item[name], figure, footnotes) for name, figure in figures.items()],
        )
        for item in found
    ]
    columns = [Column("Networks"), *(Column(figure.title) for figure in figures.values())]
    return PageTable(label, caption, columns, rows, notes=footnotes.listed)


def _cell(interval: Mapping[str, Any], figure: Figure, footnotes: Footnotes) -> Cell:
    return cell(interval, footnotes, unit_scale=figure.proportion, signed=figure.signed)


def in_words(entry: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Return what a clinician should know of a pair: how often a second network says something else, and is a check.

    Args:
        entry: Of the document's agreement.
        titles: Network → what it is called.
    """
    first, second = titles[entry["first"]], titles[entry["second"]]
    told = f"{first} and {second} give the same stage to {_share(entry['same_stage'])} of the images."
    same, other = (entry[f"both_wrong_{kind}"]["value"] for kind in ("same_stage", "other_stages"))
    overlap = entry["error_overlap"]
    if overlap["value"] is None:
        return f"{told} One of the two made no error here, so nothing can be said of errors in common."
    told += f" Both are wrong on {percent(same + other)}, on {percent(same)} with one and the same stage, which no"
    told += f" comparison of the two would show. {_overlap_words(overlap)}"
    return told


def _overlap_words(overlap: Mapping[str, Any]) -> str:
    times = f"{overlap['value']:.2f} times as often as if their errors had nothing to do with each other"
    if overlap["low"] is None:
        return f"They are wrong together {times}; there is no interval, so this may be chance."
    bounds = f"{overlap['low']:.2f} to {overlap['high']:.2f}"
    if overlap["low"] > 1:
        return f"They are wrong together {times} ({bounds}): the second is no independent second opinion."
    if overlap["high"] < 1:
        return f"They are wrong together {times} ({bounds}): where one errs, the other is rather right."
    return f"They are wrong together {times} ({bounds}): not told apart from errors without any connection."


def _share(interval: Mapping[str, Any]) -> str:
    if interval["low"] is None:
        return percent(interval["value"])
    return f"{percent(interval['value'])} ({100 * interval['low']:.1f} to {percent(interval['high'])})"
