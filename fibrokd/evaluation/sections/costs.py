"""What the networks cost: counts that are the same whenever the same run is made. Times differ, and stand elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs

NOT_COUNTED = "not counted"


def costs(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return one table; ``None`` where no card came with the numbers."""
    if not inputs.cards:
        return None
    rows = [
        Row(
            inputs.title_of(name),
            [
                f"{inputs.document['networks'][name]['parameters']:,}",
                _megabytes(inputs.cards.get(name, {}).get("weight_bytes")),
                *_spent(inputs.spent.get(name)),
                "a book" if "book" in inputs.cards.get(name, {}) else "–",
            ],
        )
        for name in inputs.networks
    ]
    columns = [
        Column("Network"),
        Column("Parameters", number=True),
        Column("Weights, MB", number=True),
        Column("Images through training", number=True),
        Column("Images through other networks on the way", number=True, short="Other networks"),
        Column("Answers of live teachers", number=True),
        Column("Teacher from"),
    ]
    return {"table": PageTable("Costs", "What went into every network", columns, rows)}


def _megabytes(size: int | None) -> str:
    return NOT_COUNTED if size is None else f"{size / 1e6:.1f}"


def _spent(cost: Mapping[str, Any] | None) -> list[str]:
    """Images through the network and through others, and answers of live teachers."""
    phases = (cost or {}).get("phases")
    if cost is None or not phases:
        return [NOT_COUNTED] * 3
    last = phases[-1]["network"]
    own, others = (
        sum(phase["images_trained"] for phase in phases if (phase["network"] == last) is same) for same in (True, False)
    )
    answers = sum(cost.get(key) or 0 for key in ("teacher_forwards", "own_teacher_forwards"))
    return [f"{own:,}", f"{others:,}", f"{answers:,}"]
