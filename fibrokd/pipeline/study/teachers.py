"""What the teachers of a study answer on the test images themselves: without it, "no gain" cannot be read. Wiring only.

Kept beside the results of cells, as ``teacher_NAME-fF.json`` and ``.csv.gz``, and taken over like them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fibrokd.artifacts import RECORD, Record, read_record
from fibrokd.data.selection import Selection
from fibrokd.files import digest_json, read_json
from fibrokd.methods import open_network
from fibrokd.pipeline.study.bench import Bench
from fibrokd.pipeline.study.grid import Cell, teacher_selection
from fibrokd.pipeline.study.plan import teacher_title
from fibrokd.pipeline.study.results import answers_on_test, is_kept, keep, latency_ms, machine_of, measured_cost

Wanted = dict[str, tuple[str, Selection]]


def teachers_of(cells: Iterable[Cell]) -> Wanted:
    """Return the teachers of some cells, by the name of their results."""
    found = [(name, teacher_selection(cell.plan.selection)) for cell in cells for name in cell.teachers]
    return {result_name(name, selection): (name, selection) for name, selection in found}


def result_name(name: str, selection: Selection) -> str:
    """Return the name of a teacher's results."""
    return f"teacher_{teacher_title(name, selection.seed)}-f{selection.fraction:g}"


def teacher_identity(bench: Bench, name: str, selection: Selection) -> str:
    """Digest of everything that decides a teacher, as far as configuration and data do."""
    return digest_json(
        {
            "plan": bench.config.teachers[name].as_json(),
            "views": bench.config.teacher_views.as_json(),
            **bench.config.label_noise.used,
            "selection": teacher_selection(selection).as_json(),
            "prepared": bench.prepared.record.digest,
        }
    )


def keep_teacher(bench: Bench, name: str, selection: Selection) -> None:
    """Write what a trained teacher answers, unless that was done, or the teacher is not there."""
    kept, identity = result_name(name, selection), teacher_identity(bench, name, selection)
    if is_kept(bench.out, kept, identity):
        return
    folder = bench.teacher_folder(name, selection)
    if not (folder / RECORD).exists():
        return
    record = read_record(folder)
    if not record.finished:
        return
    network = open_network(folder)
    card = read_json(folder / "card.json")
    plan = bench.config.teachers[name]
    facts = {
        "identity": identity,
        "cell": {
            "arm": name,
            "backbone": plan.backbone,
            "fraction": selection.fraction,
            "seed": plan.train.seed,
        },
        "inputs": dict(record.inputs),
        "digest": record.digest,
        "validation": card["validation"],
        "phases": card["phases"],
        "parameters": card["parameters"],
        "deployed_bytes": 4 * card["parameters"],
        "latency_ms": latency_ms(network, bench.prepared.preprocess.size),
        "training_images": card["training_images"],
        "cost": {"online_teacher_forwards": 0, "book_teacher_forwards": 0, **_cost(measured_cost(folder), record)},
        "machine": machine_of(record),
    }
    keep(bench.out, kept, answers_on_test(network, bench.prepared, kept), facts)


def _cost(own: dict[str, Any], record: Record) -> dict[str, Any]:
    """What training it cost over all attempts; where that was not measured, the record's figures of the last one."""
    if own:
        own.pop("teacher_forwards", None)
        return {"train_seconds": round(own.pop("wall_seconds"), 1), **own}
    facts = record.facts
    return {
        "train_seconds": round(facts["wall_seconds"], 1),
        "peak_memory_mb": facts.get("peak_memory_mb"),
        "last_attempt_alone": bool(facts.get("resumed", False)),
    }
