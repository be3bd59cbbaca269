"""Trains one cell of a study: its teachers and books, shared with other cells, its student, and its test answers.

Wiring only. What stays of a cell is ``results/NAME.json`` and ``results/NAME.csv.gz``: small enough to be committed.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fibrokd.artifacts import read_record
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.errors import BusyError
from fibrokd.evaluation.predictions import Predictions, write_answers
from fibrokd.files import digest_json, read_json, write_json
from fibrokd.methods import METHODS, open_network
from fibrokd.pipeline import distill, teach, write_book
from fibrokd.pipeline.study_plan import Cell, StudyConfig
from fibrokd.progress import say
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime, median_milliseconds
from fibrokd.training.signals import LOGITS

RESULTS = "results"
_WAIT_SECONDS = 5.0
_LATENCY_REPEATS = 10
DEPLOYED = Runtime("fp32", "nchw")


@dataclass(frozen=True)
class Bench:
    """Where cells are trained.

    Args:
        config: The study.
        prepared: Its data.
        out: Folder of the study.
    """

    config: StudyConfig
    prepared: Prepared
    out: Path

    @property
    def shared(self) -> Path:
        """Folder of teachers and books."""
        return self.config.shared or self.out

    def teacher(self, name: str, selection: Selection) -> Path:
        """Train a teacher on a share of the patients, unless that was done; waits for another process that does."""
        part = Selection(fraction=selection.fraction, seed=selection.seed)
        folder = self.shared / "teachers" / f"{name}-f{selection.fraction:g}"
        plan = self.config.teachers[name].model_copy(update={"selection": part})
        views = self.config.views.model_copy(update={"seed": self.config.views.seed + 1, "joint": None})
        settings = {field: getattr(plan, field) for field in type(plan).model_fields}
        _patiently(lambda: teach.run(teach.TeachConfig(**settings, prepared=self.prepared.folder, views=views), folder))
        return folder

    def book(self, name: str, cell: Cell) -> Path:
        """Write the book of a teacher for the views and the selection of a cell, unless that was done."""
        teacher = self.teacher(name, cell.plan.selection)
        form = self.config.book
        more = sorted(METHODS[cell.plan.method.kind].needs - {LOGITS})
        if more:  # a book for methods that read more than logits; others share one without
            form = form.model_copy(update={"stores": tuple(more)})
        key = digest_json(
            {"views": cell.views.as_json(), "selection": cell.plan.selection.as_json(), "book": form.as_json()}
        )
        folder = self.shared / "books" / f"{name}-{key[:12]}"
        config = write_book.WriteBookConfig(
            prepared=self.prepared.folder,
            teacher=teacher,
            book=form,
            views=cell.views,
            selection=cell.plan.selection,
            minimum_balanced_accuracy=self.config.minimum_balanced_accuracy,
        )
        _patiently(lambda: write_book.run(config, folder))
        return folder

    def source(self, name: str, cell: Cell) -> Path:
        """Make what a cell learns from: a teacher that answers online, or its book."""
        return self.teacher(name, cell.plan.selection) if cell.online else self.book(name, cell)


def result_paths(out: Path, cell: Cell) -> tuple[Path, Path]:
    """Return where the figures and the test answers of a cell lie."""
    return out / RESULTS / f"{cell.name}.json", out / RESULTS / f"{cell.name}.csv.gz"


def finished(bench: Bench, cell: Cell) -> bool:
    """Return whether this very cell has been trained; a result of another configuration is not it."""
    facts, answers = result_paths(bench.out, cell)
    if not facts.exists() or not answers.exists():
        return False
    identity = cell.identity(bench.config, bench.prepared.record.digest)
    return bool(read_json(facts)["identity"] == identity)


def train_cell(bench: Bench, cell: Cell) -> None:
    """Train a cell and write what stays of it.

    Raises:
        BusyError: Another process trains it.
    """
    sources = [bench.source(name, cell) for name in cell.teachers]
    folder = bench.out / "cells" / cell.name
    settings: dict[str, Any] = {field: getattr(cell.plan, field) for field in type(cell.plan).model_fields}
    if sources:
        settings["teacher" if cell.online else "book"] = tuple(sources) if len(sources) > 1 else sources[0]
    config = distill.DistillConfig(
        **settings,
        prepared=bench.prepared.folder,
        views=cell.views,
        minimum_balanced_accuracy=bench.config.minimum_balanced_accuracy,
        teacher_noise=cell.teacher_noise,
    )
    started = time.perf_counter()
    record = distill.run(config, folder)
    seconds = time.perf_counter() - started
    network = open_network(folder)
    card = read_json(folder / "card.json")
    found = card.get("method_facts", {})
    part = select(bench.prepared, cell.plan.selection)
    facts_path, answers_path = result_paths(bench.out, cell)
    facts_path.parent.mkdir(parents=True, exist_ok=True)
    write_answers(answers_path, _answers(network, part, cell.name))
    facts = {
        "identity": cell.identity(bench.config, bench.prepared.record.digest),
        "cell": {"arm": cell.arm, "backbone": cell.backbone, "fraction": cell.fraction, "seed": cell.seed},
        "method": cell.plan.method.as_json(),
        "scale": {"names": list(part.scale.names), "cutoffs": list(part.scale.cutoffs)},
        "inputs": dict(record.inputs),
        "digest": record.digest,
        "validation": card["validation"],
        "phases": card["phases"],
        "parameters": card["parameters"],
        "deployed_bytes": found.get("deployed_bytes", 4 * card["parameters"]),
        "latency_ms": _latency_ms(network, bench.prepared.preprocess.size),
        "training_images": card["training_images"],
        "cost": {"train_seconds": round(seconds, 1), **_teacher_cost(sources)},
        "method_facts": found,
        "machine": {"threads": torch.get_num_threads(), "versions": record.facts.get("versions", {})},
    }
    write_json(facts_path, facts)
    if not bench.config.keep_weights:
        shutil.rmtree(folder)


def _answers(network: torch.nn.Module, prepared: Prepared, name: str) -> Predictions:
    rows = prepared.rows("test")
    logits = predict(network, np.asarray(prepared.pixels[rows]), DEPLOYED, torch.device("cpu"))
    table = prepared.table.iloc[rows]
    return Predictions(
        network=name,
        split="test",
        image_ids=tuple(table["image_id"]),
        groups=tuple(table["cluster"]),
        truth=prepared.stages[rows],
        probabilities=torch.from_numpy(logits).double().softmax(1).numpy(),
        scale=prepared.scale,
    )


def _latency_ms(network: torch.nn.Module, size: int) -> float:
    image = torch.zeros(1, 1, size, size)
    with torch.inference_mode():
        return round(median_milliseconds(lambda: network(image), _LATENCY_REPEATS), 2)


def _teacher_cost(sources: list[Path]) -> dict[str, Any]:
    """What the teachers cost, once for all cells that share them."""
    ledgers = [read_json(folder / "ledger.json") for folder in sources if (folder / "ledger.json").exists()]
    return {
        "book_teacher_forwards": sum(ledger["teacher_forwards"] for ledger in ledgers),
        "shared": [read_record(folder).digest for folder in sources],
    }


def _patiently(call: Any) -> None:
    """Call, and call again while another process holds the folder: what is shared is made once."""
    told = False
    while True:
        try:
            call()
            return
        except BusyError:
            if not told:
                say("  waiting for another process that makes what this cell needs")
                told = True
            time.sleep(_WAIT_SECONDS)
