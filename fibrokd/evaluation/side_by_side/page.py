"""compare.html: runs side by side for people, with the parts and the style of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibrokd.evaluation.report import Section, render_page
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.sections.agreement import agreement
from fibrokd.evaluation.sections.provenance import provenance
from fibrokd.evaluation.side_by_side.overview import overview
from fibrokd.evaluation.side_by_side.sections import further, recall, repetitions, settings
from fibrokd.evaluation.side_by_side.shared import Shared
from fibrokd.evaluation.wording import listing
from fibrokd.files import write_text

SECTIONS = (
    Section("overview", "Side by side", overview, "compare_overview"),
    Section("repetitions", "Trained anew", repetitions, "compare_repetitions"),
    Section("agreement", "Agreement between networks", agreement),
    Section("recall", "Stage by stage", recall, "compare_recall"),
    Section("metrics", "Further metrics", further, "compare_metrics"),
    Section("settings", "In what the runs differ", settings, "compare_settings"),
    Section("provenance", "Provenance", provenance),
)

MARKS = {"fit": "", "caution": " (data: caution)", "unfit": " (unfit data)"}
"""What stands behind the name of a network wherever it is shown, by the verdict on its data."""

UNCHECKED = " (data not checked)"


def compare_inputs(document: Mapping[str, Any], shared: Shared) -> ReportInputs:
    """Return what the page is made of.

    Args:
        document: Content of compare.json.
        shared: What it was computed from.
    """
    runs = document["runs"]
    verdicts = {name: runs[entry["run"]]["stamp"].get("verdict") for name, entry in document["networks"].items()}
    return ReportInputs(
        title=f"{listing(list(runs))}, side by side",
        document=document,
        predictions=shared.parts,
        picture=lambda _: None,
        provenance={f"{run}: {name}": digest for run, entry in runs.items() for name, digest in entry["files"].items()},
        split=document["split"],
        titles={name: f"{name}{MARKS.get(str(verdict), UNCHECKED)}" for name, verdict in verdicts.items()},
    )


def write_page(path: Path, document: Mapping[str, Any], shared: Shared) -> None:
    """Render the page and write it atomically; equal inputs give equal text."""
    write_text(path, render_page(compare_inputs(document, shared), SECTIONS, "runs side by side"))
