"""Sections of compare.html beyond the first screen: stages, repetitions, and in what runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fibrokd.evaluation.agreement.figures import FIGURES
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.side_by_side.repetitions import AGREEING, DECLARED
from fibrokd.evaluation.wording import Cell, Footnotes, cell, listing, spread_cell

AREAS = {"data": "Data", "assessment": "Assessment", "inputs": "Inputs (digests)"}
"""Area of settings → heading; any other is a network."""

_DIGEST = 64
_SHORT = 12


def recall(inputs: ReportInputs) -> dict[str, Any]:
    """Return one row per network, one column per stage."""
    footnotes = Footnotes()
    some = next(iter(inputs.networks.values()))["per_stage"]
    rows = [
        Row(
            inputs.title_of(name),
            [cell(found["recall"], footnotes, unit_scale=True) for found in metrics["per_stage"].values()],
        )
        for name, metrics in inputs.networks.items()
    ]
    columns = [
        Column("Run / network"),
        *(
            Column(f"{stage}: {found['images']:,} images ({found['clusters']:,})", short=stage)
            for stage, found in some.items()
        ),
    ]
    level = f"{100 * inputs.document['level']:g} %"
    caption = f"Recall by true stage, with {level} intervals; images of the stage and their clusters in the heading"
    return {"table": PageTable("Recall by stage", caption, columns, rows, notes=footnotes.listed)}


def further(inputs: ReportInputs) -> dict[str, Any]:
    """Return the metrics that the headline does not show, and what all of them mean."""
    footnotes = Footnotes()
    names = [name for name in METRICS if name not in HEADLINE]
    rows = [
        Row(inputs.title_of(network), [cell(metrics[name], footnotes) for name in names])
        for network, metrics in inputs.networks.items()
    ]
    columns = [Column("Run / network"), *(Column(METRICS[name].title) for name in names)]
    caption = f"Further metrics, with {100 * inputs.document['level']:g} % intervals"
    return {
        "table": PageTable("Further metrics", caption, columns, rows, notes=footnotes.listed),
        "terms": [(metric.title, metric.definition) for metric in METRICS.values()],
        "bootstrap": inputs.document["bootstrap"],
    }


def repetitions(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return spread and agreement of networks that differ in the seed only; ``None`` where there are none."""
    found = inputs.document["repetitions"]
    if not found:
        return None
    figures = [
        Row(_head(entry), [spread_cell(entry["figures"][name]) for name in HEADLINE], aside=_members(entry))
        for entry in found
    ]
    agreeing = [
        Row(
            _head(entry),
            [spread_cell(entry["agreement"][name]) for name in AGREEING],
            aside=f"{entry['agreement']['pairs']} pair{'s' if entry['agreement']['pairs'] > 1 else ''}",
        )
        for entry in found
    ]
    return {
        "declared": any(entry["known_by"] == DECLARED for entry in found),
        "tables": [
            PageTable(
                "Spread over seeds",
                "Mean over trainings ± standard deviation, and range",
                [Column("Network"), *(Column(METRICS[name].title) for name in HEADLINE)],
                figures,
            ),
            PageTable(
                "Agreement between seeds",
                "Agreement of the trainings of one network: mean over pairs ± standard deviation, and range",
                [Column("Network"), *(Column(FIGURES[name].title) for name in AGREEING)],
                agreeing,
            ),
        ],
        "seeds": [
            (name, ", ".join(f"{path} {seed}" for path, seed in seeds.items()))
            for entry in found
            for name, seeds in entry["seeds"].items()
        ],
    }


def _head(entry: Mapping[str, Any]) -> str:
    return f"{entry['network']}, {len(entry['members'])} trainings"


def _members(entry: Mapping[str, Any]) -> str:
    return listing([name.rpartition("/")[0] for name in entry["members"]])


def settings(inputs: ReportInputs) -> dict[str, Any]:
    """Return one table per area in which runs differ, and the runs of which trainings are not known."""
    rows: Sequence[Mapping[str, Any]] = inputs.document["settings"]
    runs = inputs.document["runs"]
    unknown = [
        name
        for name, run in runs.items()
        if any(
            entry["run"] == name and entry["network"] not in run["trainings"]
            for entry in inputs.document["networks"].values()
        )
    ]
    areas = dict.fromkeys(row["area"] for row in rows)
    return {
        "tables": [_table(area, [row for row in rows if row["area"] == area], list(runs)) for area in areas],
        "unknown": listing(unknown) if unknown else "",
    }


def _table(area: str, rows: Sequence[Mapping[str, Any]], runs: Sequence[str]) -> PageTable:
    title = AREAS.get(area, area)
    body = [Row(row["setting"], [_shown(row["values"], run) for run in runs]) for row in rows]
    return PageTable(title, title, [Column("Setting"), *map(Column, runs)], body, named=True)


def _shown(values: Mapping[str, Any], run: str) -> Cell | str:
    if run not in values:
        return "–"
    value = values[run]
    if isinstance(value, str) and len(value) == _DIGEST and set(value) <= set("0123456789abcdef"):
        return value[:_SHORT]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
