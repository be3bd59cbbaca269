"""Command ``study``: many small trainings that share teachers and books, and the table that compares them.

Cells are trained one after the other; whatever is finished stays, wherever the study is stopped, and a cell that fails
does not keep the others from being trained. Several processes may work on one OUT: a cell that another one holds is
left to it, and one whose teacher or book another one makes comes later. Wiring only: see ``plan`` for what is
compared, ``cell`` for how one is trained, :mod:`fibrokd.evaluation.study.pooled` for the numbers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, BusyError, FibroKDError
from fibrokd.evaluation.study.document import study_document
from fibrokd.evaluation.study.picture import study_picture
from fibrokd.evaluation.study.table import study_markdown
from fibrokd.files import write_json, write_text
from fibrokd.pipeline.study.bench import Bench, SharedBusyError
from fibrokd.pipeline.study.cell import finished, train_cell
from fibrokd.pipeline.study.failures import failed, failures, forget_failure, note_failure, refuse_failures
from fibrokd.pipeline.study.grid import Cell, cells, configuration_digest
from fibrokd.pipeline.study.plan import REFERENCES, StudyConfig, teacher_title
from fibrokd.pipeline.study.results import RESULTS, is_kept, read_trial, take_over
from fibrokd.pipeline.study.teachers import keep_teacher, teacher_identity, teachers_of
from fibrokd.progress import say
from fibrokd.training.produce import refuse_unfit

PICTURE = "accuracy_against_cost.svg"
WAIT_SECONDS = 20.0
"""Before cells are tried again, where all that are left need what another process makes."""


def run(config: StudyConfig, out: Path) -> dict[str, Any]:
    """Train what is missing, then write study.json, study.md and the picture of accuracy against cost.

    Args:
        config: What is compared.
        out: Folder of the study: new, or one to go on with; cells of other configurations are left alone.

    Returns:
        The content of study.json.

    Raises:
        FibroKDError: Cells could not be trained. All others have been, and study.json names both.
    """
    prepared = Prepared.open(config.prepared)
    refuse_unfit(prepared)
    bench = Bench(config, prepared, out)
    plan = list(cells(config))
    if config.resume_from is not None:
        _take_over(config.resume_from, bench, plan)
    try:
        _train(bench, plan)
    except Exception:  # whatever it is: what is finished is reported before it goes on its way
        if any(finished(bench, cell) for cell in plan):
            _report(bench, plan)
        raise
    document = _report(bench, plan)
    refuse_failures(bench, document["failed"], len(plan))
    if not document["cells"]["finished"]:
        raise ArtifactError(
            f"Expected a finished cell in {out}, found none of {len(plan)}.", "Let it run longer: raise `minutes`."
        )
    return document


def _train(bench: Bench, plan: Sequence[Cell]) -> None:
    started = time.monotonic()
    left = deque(cell for cell in plan if not finished(bench, cell))
    say(f"study: {len(plan) - len(left)} of {len(plan)} cells are done")
    spent: list[float] = []
    put_off: deque[Cell] = deque()  # what they need is in the making elsewhere
    while left or put_off:
        minutes = (time.monotonic() - started) / 60
        if bench.config.minutes is not None and minutes >= bench.config.minutes:
            say(f"study: stopped after {minutes:.0f} minutes, as asked")
            return
        if not left:  # one at a time: to see that something is still being made costs reading a teacher
            time.sleep(WAIT_SECONDS)
            left.append(put_off.popleft())
        cell = left.popleft()
        if finished(bench, cell):  # by another process meanwhile
            continue
        if failed(bench, cell) and not bench.config.retry_failed:
            say(f"── {cell.name} failed before; --retry-failed tries it again")
            continue
        begun = time.monotonic()
        try:
            worked = _tried(bench, cell)
        except SharedBusyError:
            put_off.append(cell)
            continue
        if worked:
            spent.append(time.monotonic() - begun)
            remaining = sum(not finished(bench, other) for other in plan)
            say(f"study: {remaining} cells left, about {remaining * sum(spent) / len(spent) / 60:.0f} minutes")


def _tried(bench: Bench, cell: Cell) -> bool:
    """Train a cell, and return whether that worked.

    Raises:
        SharedBusyError: What it needs is being made by another process.
    """
    say(f"── {cell.name}")
    try:
        train_cell(bench, cell)
    except SharedBusyError:
        say("  put off: another process makes what it needs")
        raise
    except BusyError:
        say("  another process trains it")
        return False
    except FibroKDError as error:
        note_failure(bench, cell, error)
        say(f"  failed: {error.problem}")
        return False
    forget_failure(bench, cell)
    return True


def _take_over(folder: Path, bench: Bench, plan: Sequence[Cell]) -> None:
    """Copy results of this very study; others are left where they are."""
    if not folder.is_dir():
        raise ArtifactError(f"Expected a folder of results at {folder}, found none.", "Give `results/` of a study.")
    digest = bench.prepared.record.digest
    taken = sum(take_over(folder, bench.out, cell.name, cell.identity(bench.config, digest)) for cell in plan)
    for name, teacher in teachers_of(plan).items():
        take_over(folder, bench.out, name, teacher_identity(bench, *teacher))
    say(f"study: took over {taken} cells from {folder}")


def _report(bench: Bench, plan: Sequence[Cell]) -> dict[str, Any]:
    """Write what can be said of the cells that are finished."""
    config, out = bench.config, bench.out
    done = [cell for cell in plan if finished(bench, cell)]
    teachers = []
    for name, teacher in teachers_of(done).items():
        keep_teacher(bench, *teacher)  # of cells that were taken over, or trained before teachers were asked
        if is_kept(out, name, teacher_identity(bench, *teacher)):
            teachers.append(read_trial(out / RESULTS, name, teacher_title(teacher[0], teacher[1].seed)))
    trials = [read_trial(out / RESULTS, cell.name, cell.arm) for cell in done]
    document = study_document(trials, config.declarations(), REFERENCES, config.bootstrap, teachers)
    found = failures(bench, plan)
    counts = {"finished": len(done), "planned": len(plan), "failed": len(found)}
    origin = {
        "title": config.title,
        "configuration": configuration_digest(config),
        "prepared": bench.prepared.record.digest,
        "synthetic": bool(bench.prepared.stamp["synthetic"]),
    }
    document = {**document, "cells": counts, "failed": found, **origin}
    if done or found:
        write_json(out / "study.json", document)
        picture = study_picture(document) if done else None
        write_text(out / "study.md", study_markdown(document, PICTURE if picture else None))
        if picture:
            write_text(out / PICTURE, picture)
    say(f"study: {len(done)} of {len(plan)} cells, table in {out / 'study.md'}")
    return document
