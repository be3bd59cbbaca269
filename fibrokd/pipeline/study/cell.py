"""Trains one cell of a study: its teachers and books, shared with other cells, its student, and its test answers.

Wiring only: see ``bench`` for what is shared and ``results`` for what stays.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fibrokd.artifacts import read_record
from fibrokd.data.selection import select
from fibrokd.files import read_json
from fibrokd.methods import open_network
from fibrokd.pipeline import distill
from fibrokd.pipeline.study.bench import Bench
from fibrokd.pipeline.study.grid import Cell
from fibrokd.pipeline.study.results import answers_on_test, is_kept, keep, latency_ms, machine_of, measured_cost
from fibrokd.pipeline.study.teachers import keep_teacher

LEDGER = "ledger.json"


def finished(bench: Bench, cell: Cell) -> bool:
    """Return whether this very cell has been trained; a result of another configuration is not it."""
    return is_kept(bench.out, cell.name, cell.identity(bench.config, bench.prepared.record.digest))


def train_cell(bench: Bench, cell: Cell) -> None:
    """Train a cell and write what stays of it.

    Raises:
        BusyError: Another process trains it.
    """
    sources = []
    for name in cell.teachers:
        sources.append(bench.source(name, cell))
        keep_teacher(bench, name, cell.plan.selection)
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
        label_noise=bench.config.label_noise,
    )
    started = time.perf_counter()
    record = distill.run(config, folder)
    seconds = time.perf_counter() - started
    network = open_network(folder)
    card = read_json(folder / "card.json")
    found = card.get("method_facts", {})
    facts = {
        "identity": cell.identity(bench.config, bench.prepared.record.digest),
        "cell": {"arm": cell.arm, "backbone": cell.backbone, "fraction": cell.fraction, "seed": cell.seed},
        "method": cell.plan.method.as_json(),
        "inputs": dict(record.inputs),
        "digest": record.digest,
        "validation": card["validation"],
        "phases": card["phases"],
        "history": _history(folder),
        "parameters": card["parameters"],
        "deployed_bytes": found.get("deployed_bytes", 4 * card["parameters"]),
        "latency_ms": latency_ms(network, bench.prepared.preprocess.size),
        "training_images": card["training_images"],
        "cost": _cost(folder, sources, seconds),
        "method_facts": found,
        "machine": {"threads": torch.get_num_threads(), **machine_of(record)},
    }
    part = select(bench.prepared, cell.plan.selection)
    keep(bench.out, cell.name, answers_on_test(network, part, cell.name), facts)
    if not bench.config.keep_weights:
        shutil.rmtree(folder)


def _history(folder: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl holds of every epoch that was validated: how widths, coefficients and gradients went."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        {name: _rounded(value) for name, value in line.items() if isinstance(value, str | int | float | dict)}
        for line in lines
        if "val_macro_f1" in line
    ]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _cost(folder: Path, sources: Sequence[Path], seconds: float) -> dict[str, Any]:
    """What the cell cost over all attempts, and what it shares with others.

    ``online_teacher_forwards`` are those of teachers that were given to it, ``own_teacher_forwards`` those of teachers
    that it trained itself, ``phases`` what went into each of its networks; ``book_teacher_forwards`` were paid once for
    all readers of its books, whose own cost stands beside. What the run folder did not count is absent.
    """
    own = measured_cost(folder)
    books = [
        {"digest": read_record(source).digest, "ledger": read_json(source / LEDGER), "cost": measured_cost(source)}
        for source in sources
        if (source / LEDGER).exists()
    ]
    return {
        "train_seconds": round(own.pop("wall_seconds", seconds), 1),
        "online_teacher_forwards": own.pop("teacher_forwards", None),
        "book_teacher_forwards": sum(book["ledger"]["teacher_forwards"] for book in books),
        **own,
        "books": books,
        "shared": [read_record(source).digest for source in sources],
    }
