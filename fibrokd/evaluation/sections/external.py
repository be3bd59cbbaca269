"""What networks reach on this collection, beside what they reach on the one they were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.external import REASONS
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Cell, Footnotes, cell


def external(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return both collections' figures and their difference; ``None`` where networks were trained on this one."""
    if inputs.external is None:
        return None
    footnotes = Footnotes()
    rows = [
        Row(METRICS[metric].title, _cells(found[metric], footnotes), aside=inputs.title_of(name))
        for name, found in inputs.external["networks"].items()
        for metric in HEADLINE
    ]
    columns = [Column("Metric"), Column("Own test images"), Column("This collection"), Column("This minus own")]
    level = f"{100 * inputs.document['level']:g} %"
    caption = f"Networks at home and here, with {level} intervals over clusters of either collection"
    left_out = [f"{count} ({REASONS[reason]})" for reason, count in inputs.external["left_out"].items()]
    return {
        "table": PageTable("Both collections", caption, columns, rows, notes=footnotes.listed),
        "left_out": left_out,
    }


def _cells(figures: Mapping[str, Any], footnotes: Footnotes) -> list[Cell]:
    own, here = (cell(figures[side], footnotes, unit_scale=True) for side in ("own", "external"))
    return [own, here, cell(figures["difference"], footnotes, signed=True)]
