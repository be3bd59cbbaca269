"""Cells of a study that failed: ``results/NAME.failed.json``, so that they are named, and not tried again unasked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fibrokd.errors import FibroKDError, TrainingError
from fibrokd.files import read_json, write_json
from fibrokd.pipeline.study.bench import Bench
from fibrokd.pipeline.study.cell import finished
from fibrokd.pipeline.study.grid import Cell
from fibrokd.pipeline.study.results import RESULTS


def failure_path(out: Path, cell: Cell) -> Path:
    """Return where it is written why a cell failed."""
    return out / RESULTS / f"{cell.name}.failed.json"


def note_failure(bench: Bench, cell: Cell, error: FibroKDError) -> None:
    """Write down that a cell failed, and why."""
    identity = cell.identity(bench.config, bench.prepared.record.digest)
    facts = {"identity": identity, "cell": cell.name, "error": type(error).__name__, "message": str(error)}
    write_json(failure_path(bench.out, cell), facts)


def forget_failure(bench: Bench, cell: Cell) -> None:
    """Forget that a cell failed: it has been trained."""
    failure_path(bench.out, cell).unlink(missing_ok=True)


def failed(bench: Bench, cell: Cell) -> bool:
    """Return whether this very cell has failed before; a failure of another configuration is not its own."""
    path = failure_path(bench.out, cell)
    return path.exists() and bool(
        read_json(path)["identity"] == cell.identity(bench.config, bench.prepared.record.digest)
    )


def failures(bench: Bench, plan: Iterable[Cell]) -> list[dict[str, Any]]:
    """Return cell, error and message of all cells that failed and have not been trained since."""
    found = [cell for cell in plan if failed(bench, cell) and not finished(bench, cell)]
    facts = [read_json(failure_path(bench.out, cell)) for cell in found]
    return [{key: entry[key] for key in ("cell", "error", "message")} for entry in facts]


def refuse_failures(bench: Bench, found: list[dict[str, Any]], planned: int) -> None:
    """Say that cells failed, after everything else has been done.

    Raises:
        TrainingError: Some did.
    """
    if found:
        names = ", ".join(entry["cell"] for entry in found[:5]) + (" and others" if len(found) > 5 else "")
        raise TrainingError(
            f"Expected {planned} cells to train, {len(found)} of them failed ({names}); why is in "
            f"{bench.out / RESULTS}, in the files *.failed.json.",
            "Correct what they name, and run the study again with --retry-failed.",
        )
