"""Memory of this process: how much it has held at most, and keeping what it frees.

Knows nothing of steps or records; that is :mod:`fibrokd.artifacts`.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from functools import lru_cache
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h
_NEVER = -1
_STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """Return the largest resident memory of this process so far, MiB.

    Linux tells it of the process itself. ``getrusage``, which is asked elsewhere, may tell the peak of the one that
    started it, where that was larger.
    """
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peaks[0] / 1024 if peaks else _units(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak_of_children_mb() -> float:
    """Return the largest resident memory of any child process that has ended, MiB; 0 without one."""
    return _units(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _units(told: int) -> float:
    return told / 1024**2 if sys.platform == "darwin" else told / 1024


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Let this process keep freed memory for its next request instead of giving it back to the system.

    A training step asks for the same hundreds of megabytes again and again. By default glibc maps large blocks anew
    each time, and the system clears every page of them first: up to an eighth of a step on a processor
    (``benchmarks/allocation.py``). Results do not change; what the main thread has held stays resident until the
    process ends (threads of their own still give large blocks back).

    Returns:
        Whether the allocator is one that can be told so (glibc).
    """
    with contextlib.suppress(OSError, AttributeError):
        tell = ctypes.CDLL(None).mallopt
        return bool(tell(_M_MMAP_MAX, 0)) and bool(tell(_M_TRIM_THRESHOLD, _NEVER))
    return False
