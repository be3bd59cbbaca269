"""What a lookup table reaches at each level of grouping, beside the networks."""

from __future__ import annotations

from typing import Any

from fibrokd.evaluation.lookup import judgement, lookups, own_lookup
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import LEVELS, Footnotes, cell, percent

JUDGEMENTS = {
    "beats": "beats the lookup",
    "not shown": "higher, but not shown to beat the lookup (intervals overlap or are missing)",
    "does not beat": "does not beat the lookup",
}


def controls(inputs: ReportInputs) -> dict[str, Any]:
    """Return the lookup per level and the judgement per network."""
    footnotes = Footnotes()
    own = own_lookup(inputs)
    rows = [
        {
            "level": LEVELS.get(found.level, found.level),
            "own": found.own_level,
            "twins": percent(found.twin_in_train),
            "accuracy": cell(found.accuracy, footnotes, unit_scale=True),
        }
        for found in lookups(inputs)
    ]
    networks = [
        {
            "title": inputs.title_of(name),
            "accuracy": cell(metrics["accuracy"], footnotes, unit_scale=True),
            "judgement": JUDGEMENTS[judgement(metrics["accuracy"], own)] if own else "not comparable",
        }
        for name, metrics in inputs.networks.items()
    ]
    return {
        "copies": percent(inputs.copies_in_train),
        "rows": rows,
        "networks": networks,
        "comparable": own is not None,
        "notes": footnotes.listed,
    }
