"""How much memory this process has held at most.

Knows nothing of steps or records; that is :mod:`fibrokd.artifacts`.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

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
