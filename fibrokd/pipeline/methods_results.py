"""What studies found of every method, for the page of methods: which studies there are, and a table per method.

Reads and formats what study.json says, and computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibrokd.errors import ArtifactError
from fibrokd.evaluation.markdown import table
from fibrokd.evaluation.study.document import FORMAT
from fibrokd.evaluation.study.table import arm_with_notes
from fibrokd.files import read_json

Studies = Mapping[str, Mapping[str, Any]]

_SHOWN = {
    "balanced_accuracy": "balanced accuracy",
    "quadratic_kappa": "quadratic kappa",
    "mean_absolute_stage_error": "stage error",
    "expected_calibration_error": "calibration error",
}

_WORDS = """\
Every study has a configuration of its name under `configs/study/`, and its table and cells in `docs/study/`; the
digests are those of the configuration and of the prepared phantom. Below, figures are means over seeds ± the standard
deviation between them, on test images; differences have the study's intervals over patients (95 % unless its page
says otherwise), uncorrected. Which of them stand when all comparisons are counted, and trainings that differ, is told
by the study's own page, and what became of the papers' claims by [claims.md](claims.md)."""


def read_studies(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the content of every ``STUDY/study.json``, by name.

    Raises:
        ArtifactError: There is no such folder, or a study was written by another version.
    """
    if not folder.is_dir():
        raise ArtifactError(f"Expected a folder with results of studies at {folder}, found none.", "Give docs/study.")
    found = {path.parent.name: read_json(path) for path in sorted(folder.glob("*/study.json"))}
    for name, document in found.items():
        if document.get("format") != FORMAT:
            raise ArtifactError(
                f"Expected {folder / name / 'study.json'} of format {FORMAT}, found {document.get('format')}.",
                f"Write it anew: `fibrokd study CONFIG OUT --minutes 0 --resume-from {folder / name}` trains nothing.",
            )
    return found


def studies_table(studies: Studies) -> list[str]:
    """Return the section about the studies.

    Args:
        studies: Name → content of study.json.
    """
    rows = []
    for name, study in studies.items():
        cells = "{finished} of {planned}".format(**study["cells"])
        digests = [f"`{study[key][:12]}`" for key in ("configuration", "prepared")]
        rows.append([f"[{name}](study/{name}/study.md)", study["title"], cells, *digests])
    heads = ["study", "question", "cells", "configuration", "prepared data"]
    return ["## Studies", "", _WORDS, "", *table(heads, rows)]


def results_table(kind: str, studies: Studies) -> list[str]:
    """Return what the studies found of one method, variants of it included.

    Args:
        kind: The method.
        studies: Name → content of study.json.
    """
    found = [(name, study, row) for name, study in studies.items() for row in study["rows"] if row["method"] == kind]
    if not found:
        return ["* Results: not studied yet"]
    rows = []
    for name, study, row in found:
        figures = [_figure(row["metrics"][metric]) for metric in _SHOWN]
        share = f"{100 * row['fraction']:g} %"
        where = [name, arm_with_notes(row), _student(row, study), share, str(len(row["seeds"]))]
        rows.append([*where, *figures, _less(row, study)])
    heads = ["study", "arm", "student", "patients", "seeds", *_SHOWN.values(), "kappa less that of"]
    return table(heads, rows)


def _student(row: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    most = max(len(other["stages"]) for other in study["rows"])
    return str(row["backbone"]) + (f", {' and '.join(row['stages'])} alone" if len(row["stages"]) < most else "")


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    spread = "" if figure["seed_deviation"] is None else f" ± {figure['seed_deviation']:.3f}"
    return f"{figure['value']:.3f}{spread}"


def _less(row: Mapping[str, Any], study: Mapping[str, Any]) -> str:
    """Differences of kappa from the arms that this one is compared with."""
    place = ("arm", "backbone", "fraction")
    own = [
        entry
        for entry in study["comparisons"]
        if entry["metric"] == "quadratic_kappa"
        and all(entry[key] == row[key] for key in place)
        and entry["low"] is not None
    ]
    told = [f"`{e['reference']}` {e['value']:+.3f} [{e['low']:+.3f}, {e['high']:+.3f}]" for e in own]
    return "; ".join(told) or "–"
