"""What every round of a cross-validation reached, and how far rounds differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fibrokd.evaluation.conformal.stage_sets import LEVEL
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.rounds import COVERAGE
from fibrokd.evaluation.sections.agreement import agreement_tables
from fibrokd.evaluation.wording import Footnotes, cell, spread_cell

SHOWN = "balanced_accuracy"
"""Metric that is told round by round."""


def rounds(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return the spread over rounds, and one figure of each; ``None`` where networks were trained once."""
    if inputs.rounds is None:
        return None
    networks = inputs.rounds["networks"]
    some = next(iter(networks.values()))[SHOWN]["rounds"]
    return {
        "by": inputs.rounds["by"],
        "count": len(some),
        "left_out": sum(inputs.rounds["left_out"].values()),
        "tables": [
            _spread(inputs, networks),
            _each(inputs, networks, SHOWN, f"{METRICS[SHOWN].title} of every round"),
            *_coverage(inputs, networks),
            *_agreement(inputs, inputs.rounds["agreement"]),
        ],
        "apart": any(found["note"] for found in inputs.rounds["agreement"].values()),
    }


def _agreement(inputs: ReportInputs, networks: Mapping[str, Any]) -> Iterator[PageTable]:
    """How far networks of two rounds agree, where rounds share images."""
    for network, found in networks.items():
        names = [pair[side] for pair in found["pairs"] for side in ("first", "second")]
        if names:
            titles = {name: f"{inputs.title_of(network)}, round {name}" for name in names}
            yield from agreement_tables(found["pairs"], titles, inputs.document["level"])


def _spread(inputs: ReportInputs, networks: Mapping[str, Any]) -> PageTable:
    rows = [
        Row(inputs.title_of(name), [spread_cell(found[metric]) for metric in HEADLINE])
        for name, found in networks.items()
    ]
    columns = [Column("Network"), *(Column(METRICS[name].title) for name in HEADLINE)]
    return PageTable("Spread over rounds", "Mean over rounds ± standard deviation, and range", columns, rows)


def _coverage(inputs: ReportInputs, networks: Mapping[str, Any]) -> Iterator[PageTable]:
    """What becomes of stage sets on what a round had not seen, where rounds had calibration images."""
    rounds_of = [found[COVERAGE]["rounds"].values() for found in networks.values()]
    if any(figure["value"] is not None for figures in rounds_of for figure in figures):
        words = f"Share of the clusters whose stage set holds the true stage ({100 * LEVEL:g} % wanted)"
        yield _each(inputs, networks, COVERAGE, words)


def _each(inputs: ReportInputs, networks: Mapping[str, Any], metric: str, what: str) -> PageTable:
    footnotes, by = Footnotes(), inputs.rounds["by"] if inputs.rounds else ""
    names = next(iter(networks.values()))[metric]["rounds"]
    rows = [
        Row(name, [cell(found[metric]["rounds"][name], footnotes, unit_scale=True) for found in networks.values()])
        for name in names
    ]
    columns = [Column(f"{by.capitalize()} tested"), *(Column(inputs.title_of(name)) for name in networks)]
    caption = f"{what} on the {by} that it had not seen, with intervals over its clusters"
    return PageTable("Round by round", caption, columns, rows, notes=footnotes.listed)
