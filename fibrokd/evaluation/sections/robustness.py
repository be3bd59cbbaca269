"""How far answers move where the picture was taken otherwise and the patient is the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Footnotes, bounded, cell, number, unsteady

_TITLES = {
    "recorded": "The stored picture, disturbed",
    "rendered": "The same simulated patient, examined otherwise",
}


def robustness(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return one table per kind of disturbance; ``None`` where no picture was disturbed."""
    if inputs.robustness is None:
        return None
    limit, networks = inputs.robustness["limit"], inputs.robustness["networks"]
    entries = [entry for found in networks.values() for entry in found.values()]
    present = [kind for kind in _TITLES if any(entry["kind"] == kind for entry in entries)]
    return {
        "limit": f"{limit:g}",
        "tables": [_table(inputs, networks, kind) for kind in present],
        **_sets(inputs, networks),
        "rendered": "rendered" in present,
        "findings": unsteady(inputs),
        "most": [_most(inputs, name, found) for name, found in networks.items()],
    }


def _table(inputs: ReportInputs, networks: Mapping[str, Mapping[str, Any]], kind: str) -> PageTable:
    footnotes = Footnotes()
    keys = list(
        dict.fromkeys(key for found in networks.values() for key, entry in found.items() if entry["kind"] == kind)
    )
    rows = []
    for key in keys:
        known = [found[key] for found in networks.values()]
        cells = [
            shown
            for entry in known
            for shown in (
                replace(cell(entry["moved"], footnotes), aside=_signed(entry["shift"])),
                cell(entry["changed"], footnotes, unit_scale=True),
            )
        ]
        rows.append(Row(_sentence(known[0]["words"]), cells, aside=f"{known[0]['images']} images"))
    columns = [Column("Picture")]
    for name in networks:
        title = inputs.title_of(name)
        columns += [Column(f"{title}: moved by (stages)"), Column(f"{title}: share called another stage")]
    level = f"{100 * inputs.document['level']:g} %"
    caption = f"{_TITLES[kind]}: mean size of the shift of the expected stage, with {level} intervals"
    return PageTable(_TITLES[kind], caption, columns, rows, notes=footnotes.listed)


def _sets(inputs: ReportInputs, networks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the table of stage sets, and why networks have none."""
    first = {name: next(iter(found.values()))["stage_sets"] for name, found in networks.items()}
    made = {name: found for name, found in networks.items() if "refused" not in first[name]}
    refused = [
        f"{inputs.title_of(name)}: no sets, because {first[name]['refused']}." for name in networks if name not in made
    ]
    if not made:
        return {"sets": None, "refused": refused, "wanted": ""}
    footnotes = Footnotes()
    rows = []
    for key, entry in next(iter(made.values())).items():
        cells = [
            shown
            for sets in (found[key]["stage_sets"] for found in made.values())
            for shown in (
                replace(cell(sets["coverage"], footnotes, unit_scale=True), aside=f"before: {number(sets['before'])}"),
                cell(sets["grown"], footnotes, signed=True),
            )
        ]
        rows.append(Row(_sentence(entry["words"]), cells))
    columns = [Column("Picture")]
    for name in made:
        title = inputs.title_of(name)
        columns += [Column(f"{title}: {words}") for words in ("true stage held", "stages added")]
    wanted = f"{100 * first[next(iter(made))]['level']:g} %"
    caption = f"Sets of the same patients, {wanted} wanted, with {100 * inputs.document['level']:g} % intervals"
    return {
        "sets": PageTable("Sets of the same patients", caption, columns, rows, notes=footnotes.listed),
        "refused": refused,
        "wanted": wanted,
    }


def _signed(shift: Mapping[str, Any]) -> str:
    """Which way it moved on average."""
    value = f"shift: {number(shift['value'], signed=True)}"
    if shift["low"] is None:
        return f"{value}, no interval"
    return f"{value} ({number(shift['low'], signed=True)} to {number(shift['high'], signed=True)})"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _most(inputs: ReportInputs, name: str, found: Mapping[str, Any]) -> str:
    worst = max(found.values(), key=lambda entry: entry["moved"]["value"])
    return f"{inputs.title_of(name)}: {worst['words']}, {bounded(worst['moved'])}"
