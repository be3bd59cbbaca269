"""Command ``study``: many small trainings that share teachers and books, and the table that compares them.

Cells are trained one after the other; whatever is finished stays, wherever the study is stopped. Several processes may
work on one OUT: a cell that another one holds is left to it. Wiring only: see ``study_plan`` for what is compared,
``study_cell`` for how one is trained, :mod:`fibrokd.evaluation.study` for the numbers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, BusyError
from fibrokd.evaluation.figures import scatter_svg
from fibrokd.evaluation.predictions import read_answers
from fibrokd.evaluation.study import Trial
from fibrokd.evaluation.study_table import study_document, study_markdown
from fibrokd.files import atomic_path, read_json, write_json, write_text
from fibrokd.pipeline.study_cell import RESULTS, Bench, finished, result_paths, train_cell
from fibrokd.pipeline.study_plan import REFERENCES, Cell, StudyConfig, cells
from fibrokd.progress import say
from fibrokd.stages import StageScale
from fibrokd.training.produce import refuse_unfit


def run(config: StudyConfig, out: Path) -> dict[str, Any]:
    """Train what is missing, then write study.json, study.md and the picture of accuracy against cost.

    Args:
        config: What is compared.
        out: Folder of the study: new, or one to go on with; cells of other configurations are left alone.

    Returns:
        The content of study.json.

    Raises:
        FibroKDError: A cell cannot be trained; everything finished so far is kept.
    """
    prepared = Prepared.open(config.prepared)
    refuse_unfit(prepared)
    bench = Bench(config, prepared, out)
    plan = list(cells(config))
    if config.resume_from is not None:
        _take_over(config.resume_from, bench, plan)
    _train(bench, plan)
    done = [cell for cell in plan if finished(bench, cell)]
    if not done:
        raise ArtifactError(
            f"Expected a finished cell in {out}, found none of {len(plan)}.", "Let it run longer: raise `minutes`."
        )
    trials = [_trial(out, cell) for cell in done]
    notes = {name: arm.note for name, arm in config.arms.items()}
    document = study_document(trials, notes, REFERENCES, config.bootstrap)
    document = {**document, "cells": {"finished": len(done), "planned": len(plan)}, "prepared": prepared.record.digest}
    write_json(out / "study.json", document)
    write_text(out / "study.md", study_markdown(document))
    write_text(out / "accuracy_against_cost.svg", _picture(document))
    say(f"study: {len(done)} of {len(plan)} cells, table in {out / 'study.md'}")
    return document


def _train(bench: Bench, plan: Sequence[Cell]) -> None:
    started = time.monotonic()
    left = [cell for cell in plan if not finished(bench, cell)]
    say(f"study: {len(plan) - len(left)} of {len(plan)} cells are done")
    spent: list[float] = []
    for cell in left:
        minutes = (time.monotonic() - started) / 60
        if bench.config.minutes is not None and minutes > bench.config.minutes:
            say(f"study: stopped after {minutes:.0f} minutes, as asked")
            return
        if finished(bench, cell):  # by another process meanwhile
            continue
        begun = time.monotonic()
        say(f"── {cell.name}")
        try:
            train_cell(bench, cell)
        except BusyError:
            say("  another process trains it")
            continue
        spent.append(time.monotonic() - begun)
        remaining = sum(not finished(bench, other) for other in plan)
        say(f"study: {remaining} cells left, about {remaining * sum(spent) / len(spent) / 60:.0f} minutes")


def _take_over(folder: Path, bench: Bench, plan: Iterable[Cell]) -> None:
    """Copy results of this very study; others are left where they are."""
    if not folder.is_dir():
        raise ArtifactError(f"Expected a folder of results at {folder}, found none.", "Give `results/` of a study.")
    taken = 0
    for cell in plan:
        sources = [folder / path.name for path in result_paths(bench.out, cell)]
        if finished(bench, cell) or not all(path.is_file() for path in sources):
            continue
        if read_json(sources[0])["identity"] != cell.identity(bench.config, bench.prepared.record.digest):
            continue
        (bench.out / RESULTS).mkdir(parents=True, exist_ok=True)
        for source, target in zip(reversed(sources), reversed(result_paths(bench.out, cell)), strict=True):
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
        taken += 1
    say(f"study: took over {taken} cells from {folder}")


def _trial(out: Path, cell: Cell) -> Trial:
    facts_path, answers_path = result_paths(out, cell)
    facts = read_json(facts_path)
    scale = StageScale(tuple(facts["scale"]["names"]), tuple(facts["scale"]["cutoffs"]))
    answers = read_answers(answers_path, scale, cell.name)
    return Trial(cell.arm, cell.backbone, cell.fraction, cell.seed, answers, facts)


def _picture(document: dict[str, Any]) -> str:
    """Balanced accuracy against training time, one point per row of the table."""
    points = {
        f"{row['arm']} {row['backbone']} {100 * row['fraction']:g} %": (
            row["cost"]["train_seconds"],
            row["metrics"]["balanced_accuracy"]["value"],
            row["metrics"]["balanced_accuracy"]["low"],
            row["metrics"]["balanced_accuracy"]["high"],
        )
        for row in document["rows"]
    }
    return scatter_svg(points, "Training time of one student, seconds", "Balanced accuracy")
