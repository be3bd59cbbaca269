"""What work in a run folder cost in time and memory: ``cost.json``, on which no digest depends.

Counts that are the same on every machine (teacher answers, operations, bytes) are in a book's ``ledger.json``. Here is
the rest of what a comparison of distillation costs needs, of writing a book as of learning from it. How many students
share a book is known only to whoever adds them up.

What was not counted is absent, and never 0: files of earlier versions lack keys, and get none of them when their work
is taken up again. Passes over validation images belong to no count, those of given teachers before they are used
included. Of several processes the first one's work is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fibrokd.files import read_json, write_json
from fibrokd.memory import peak_mb
from fibrokd.training.runtime import accelerator
from fibrokd.training.teachers import LiveTeacher, TeacherSource

COST = "cost.json"
BEGUN = "attempts_begun"
PHASES = "phases"

_SPENT = ("attempts", "wall_seconds", "cpu_seconds", "teacher_forwards", "own_teacher_forwards")
_MEGABYTE = 1024 * 1024


@contextmanager
def measured(folder: Path, device: torch.device, teachers: Sequence[TeacherSource] = ()) -> Iterator[None]:
    """Measure the body, and add it to what earlier attempts in the same folder cost.

    ``cost.json`` then holds: ``attempts`` that ended by themselves or by an error, and ``attempts_begun``, of which the
    others were killed: what these spent is lost, so that every sum is then a lower bound; their ``wall_seconds``, and
    ``cpu_seconds`` of all threads of the process, which other work on the machine lengthens much less;
    ``peak_memory_mb`` of the process and ``peak_memory_before_mb``, what it was when the work began (of several steps
    in one process, an earlier one may be what made the peak); ``peak_device_memory_mb`` of the work alone, on a GPU,
    else 0; ``teacher_forwards``, images that went through the given teachers, and ``teacher_weights_mb`` that they keep
    in memory, both 0 where a student reads a book; ``own_teacher_forwards``, images that went through teachers made on
    the way (an earlier self, assistants); and ``phases``, see :func:`measured_phase`.

    Args:
        folder: Run folder.
        device: Where networks are computed.
        teachers: Sources that were given.
    """
    live = [teacher for teacher in teachers if isinstance(teacher, LiveTeacher)]
    if accelerator().is_main_process:
        _begin(folder / COST)
    answered, everywhere = sum(t.forwards for t in live), LiveTeacher.everywhere
    memory, started, busy = round(peak_mb(), 1), time.perf_counter(), time.process_time()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        yield
    finally:
        given = sum(t.forwards for t in live) - answered
        spent = {
            "attempts": 1,
            "wall_seconds": round(time.perf_counter() - started, 3),
            "cpu_seconds": round(time.process_time() - busy, 3),
            "teacher_forwards": given,
            "own_teacher_forwards": LiveTeacher.everywhere - everywhere - given,
        }
        held = {
            # The system counts in batches, so that a peak that it tells may be a little below the one that it told.
            "peak_memory_mb": max(memory, round(peak_mb(), 1)),
            "peak_memory_before_mb": memory,
            "peak_device_memory_mb": _device_peak(device),
            "teacher_weights_mb": round(sum(_bytes(t.network) for t in live) / _MEGABYTE, 3),
        }
        if accelerator().is_main_process:
            _add(folder / COST, spent, held)


@dataclass
class Trained:
    """What a phase came to.

    Args:
        images: Images that its network was trained on, all epochs together, those of earlier attempts included.
    """

    images: int = 0


@contextmanager
def measured_phase(folder: Path, name: str, network: int) -> Iterator[Trained]:
    """Measure a phase of a plan; the body says how many images were trained on.

    The entry of ``phases`` in ``cost.json`` holds its ``name``, the number of its ``network`` within the plan (the last
    phase's is the student; those of other numbers were trained on the way), ``images_trained``, each counted once per
    epoch however often a loss asks for it, and ``seconds``. Nothing is written where nobody measures the plan, or
    where an earlier version began it.

    Args:
        folder: Run folder.
        name: Name of the phase.
        network: Number of the network that is trained.
    """
    trained, started = Trained(), time.perf_counter()
    try:
        yield trained
    finally:
        cost = read_json(folder / COST) if (folder / COST).exists() else {}
        if PHASES in cost and accelerator().is_main_process:
            entries = {entry["name"]: entry for entry in cost[PHASES]}
            before = entries.get(name, {"images_trained": 0, "seconds": 0})
            entries[name] = {
                "name": name,
                "network": network,
                "images_trained": max(before["images_trained"], trained.images),
                "seconds": round(before["seconds"] + time.perf_counter() - started, 3),
            }
            write_json(folder / COST, {**cost, PHASES: list(entries.values())})


def _begin(file: Path) -> None:
    """Count the attempt before it can be killed. A folder at work without the file holds what a killed one left."""
    if file.exists():
        cost: dict[str, Any] = read_json(file)
        cost |= {BEGUN: cost[BEGUN] + 1} if BEGUN in cost else {}
    else:
        left = any(path.is_dir() for path in file.parent.iterdir())
        cost = {**dict.fromkeys(_SPENT, 0), BEGUN: 1 + left, PHASES: []}
    write_json(file, cost)


def _add(file: Path, spent: Mapping[str, float | int], held: Mapping[str, float | int]) -> None:
    before: dict[str, Any] = read_json(file)
    total = {name: round(before[name] + value, 3) for name, value in spent.items() if name in before}
    most = {name: max(before.get(name, 0), value) for name, value in held.items()}
    write_json(file, before | total | most)


def _device_peak(device: torch.device) -> float:
    return round(torch.cuda.max_memory_allocated(device) / _MEGABYTE, 1) if device.type == "cuda" else 0.0


def _bytes(network: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in [*network.parameters(), *network.buffers()])
