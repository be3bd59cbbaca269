"""Independent pieces of work on all cores of this process. Order and result are those of doing one after the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_threads(function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Return the function of every piece, in order; numpy leaves the interpreter to others while it works.

    Args:
        function: Pure, and mostly numpy.
        pieces: What it is asked for.
    """
    workers = min(len(pieces), _cores())
    if workers < 2:
        return [function(piece) for piece in pieces]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, pieces))


def _cores() -> int:
    """Cores that this process may use; as many threads as a person allows numpy, where that is fewer."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, int(allowed)) if allowed.isdigit() and int(allowed) else cores
