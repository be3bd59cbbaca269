"""Where the numbers come from: digests of every input, how intervals were made, the networks' cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.report_inputs import ReportInputs


def provenance(inputs: ReportInputs) -> dict[str, Any]:
    """Return digests, the bootstrap, and every card as rows of (key, value)."""
    return {
        "digests": sorted(inputs.provenance.items()),
        "bootstrap": inputs.document["bootstrap"],
        "cards": [{"title": inputs.title_of(name), "rows": _flat(card)} for name, card in inputs.cards.items()],
    }


def _flat(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((f"{prefix}{key}", shown))
    return rows
