"""What work in a run folder cost in time and memory: ``cost.json``, on which no digest depends.

Counts that are the same on every machine (teacher answers, operations, bytes) are in a book's ``ledger.json``. Here is
the rest of what a comparison of distillation costs needs, of writing a book as of learning from it. How many students
share a book is known only to whoever adds them up.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fibrokd.files import read_json, write_json
from fibrokd.training.runtime import accelerator
from fibrokd.training.teachers import LiveTeacher, TeacherSource

COST = "cost.json"

_MEGABYTE = 1024 * 1024


@contextmanager
def measured(folder: Path, device: torch.device, teachers: Sequence[TeacherSource] = ()) -> Iterator[None]:
    """Measure the body, and add it to what earlier attempts in the same folder cost.

    ``cost.json`` then holds: ``attempts`` that ended by themselves or by an error (not those that were killed),
    their ``wall_seconds``; ``peak_memory_mb`` of the process and ``peak_memory_before_mb``, what it was when the work
    began (of several steps in one process, an earlier one may be what made the peak); ``peak_device_memory_mb`` of the
    work alone, on a GPU, else 0; ``teacher_forwards``, images that went through the given teachers, and
    ``teacher_weights_mb`` that they keep in memory. The last two are 0 where a student reads a book.

    Args:
        folder: Run folder.
        device: Where networks are computed.
        teachers: Sources that are used.
    """
    live = [teacher for teacher in teachers if isinstance(teacher, LiveTeacher)]
    answered, memory, started = sum(t.forwards for t in live), _process_peak(), time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        yield
    finally:
        spent = {
            "attempts": 1,
            "wall_seconds": round(time.perf_counter() - started, 3),
            "teacher_forwards": sum(t.forwards for t in live) - answered,
        }
        held = {
            "peak_memory_mb": _process_peak(),
            "peak_memory_before_mb": memory,
            "peak_device_memory_mb": _device_peak(device),
            "teacher_weights_mb": round(sum(_bytes(t.network) for t in live) / _MEGABYTE, 3),
        }
        if accelerator().is_main_process:
            _add(folder / COST, spent, held)


def _add(file: Path, spent: Mapping[str, float | int], held: Mapping[str, float | int]) -> None:
    before: dict[str, Any] = read_json(file) if file.exists() else {}
    total = {name: round(before.get(name, 0) + value, 3) for name, value in spent.items()}
    most = {name: max(before.get(name, 0), value) for name, value in held.items()}
    write_json(file, total | most)


def _process_peak() -> float:
    """Peak memory of this process so far, MB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _device_peak(device: torch.device) -> float:
    return round(torch.cuda.max_memory_allocated(device) / _MEGABYTE, 1) if device.type == "cuda" else 0.0


def _bytes(network: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in [*network.parameters(), *network.buffers()])
