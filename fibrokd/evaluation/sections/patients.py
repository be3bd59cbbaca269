"""Patients and studies: what several images of one person say together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fibrokd.evaluation.aggregation import RULES
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Cell, Footnotes, cell, number

TITLES = {"patient": ("Patients", "patient"), "study": ("Studies", "study")}


def patients(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return one table per kind of unit, and how answers were put together; ``None`` where no unit is known."""
    units = list(dict.fromkeys(unit for metrics in inputs.networks.values() for unit in metrics.get("units", {})))
    if not units:
        return None
    return {
        "tables": [_table(inputs, unit) for unit in reversed(units)],
        "choices": [_choice(inputs, unit) for unit in reversed(units)],
        "chosen": any("chosen_on" in entry for unit in units for _, entry in _rows(inputs, unit)),
        "rounds": inputs.rounds is not None,
        "rules": [(rule.title, rule.definition) for rule in RULES.values()],
    }


def _rows(inputs: ReportInputs, unit: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, metrics in inputs.networks.items():
        if unit in metrics.get("units", {}):
            yield inputs.title_of(name), metrics["units"][unit]


def _table(inputs: ReportInputs, unit: str) -> PageTable:
    footnotes = Footnotes()
    points = list(next(iter(_rows(inputs, unit)))[1].get("auroc", {}))
    rows = [
        Row(title, _cells(entry, points, footnotes), aside=_counted(entry, unit))
        for title, entry in _rows(inputs, unit)
    ]
    titles = [METRICS[name].title for name in HEADLINE] + [f"AUROC {name}" for name in points]
    level = f"{100 * inputs.document['level']:g} %"
    many, one = TITLES[unit]
    caption = f"{many}: one answer per {one}, with {level} intervals over clusters"
    return PageTable(many, caption, [Column("Network"), *map(Column, titles)], rows, notes=footnotes.listed)


def _cells(entry: Mapping[str, Any], points: list[str], footnotes: Footnotes) -> list[Cell | str]:
    if "units" not in entry:
        return ["not estimable"] * (len(HEADLINE) + len(points))
    figures = [entry[name] for name in HEADLINE] + [entry["auroc"][name] for name in points]
    return [cell(figure, footnotes, unit_scale=True) for figure in figures]


def _counted(entry: Mapping[str, Any], unit: str) -> str:
    sizes = entry["images_per_unit"]
    many = TITLES[unit][0].lower()
    images = f"{sizes['least']}" if sizes["least"] == sizes["most"] else f"{sizes['least']} to {sizes['most']}"
    told = f"{entry.get('units', 0)} {many}, {images} images each"
    if entry["left_out"]:
        told += f"; {entry['left_out']} left out, whose images have several stages"
    if entry["unknown_images"]:
        told += f"; {entry['unknown_images']} images of unknown {many}"
    return told


def _choice(inputs: ReportInputs, unit: str) -> PageTable:
    """What every rule reaches on validation units, and which one was taken."""
    rows = []
    for title, entry in _rows(inputs, unit):
        reached = entry.get("chosen_on", {}).get("balanced_accuracy", {})
        cells: list[Cell | str] = [number(reached[name]) if name in reached else "–" for name in RULES]
        there = f"{entry['chosen_on']['units']} validation units" if "chosen_on" in entry else "no choice: the default"
        rows.append(Row(title, [*cells, RULES[entry["rule"]].title], aside=there))
    many = TITLES[unit][0]
    columns = [Column("Network"), *(Column(rule.title, number=True) for rule in RULES.values()), Column("Taken")]
    return PageTable(
        f"{many}: choice of a rule", f"{many}: balanced accuracy on validation images by rule", columns, rows
    )
