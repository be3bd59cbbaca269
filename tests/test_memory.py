"""The peak of a process is its own."""

import subprocess
import sys

import numpy as np
import pytest

from fibrokd import memory

TELL = "from fibrokd.memory import peak_mb; print(peak_mb())"


def told_by_a_child() -> float:
    return float(subprocess.run([sys.executable, "-c", TELL], capture_output=True, check=True).stdout)


@pytest.mark.slow
def test_a_peak_counts_what_was_held_and_stays_when_it_is_given_back() -> None:
    before = memory.peak_mb()
    held = np.ones(int(before) * 2**17 + 2**26, np.float64)  # as much again as ever before, and 512 MB
    assert held.sum() > 0
    del held
    assert memory.peak_mb() - before > 400


@pytest.mark.skipif(not memory._STATUS.exists(), reason="only Linux tells it")
def test_a_child_does_not_begin_with_the_peak_of_its_parent() -> None:
    held = np.ones(2**27, np.float64)  # 1 GB
    assert held.sum() > 0
    assert told_by_a_child() < 500
    assert memory.peak_of_children_mb() > 10


def test_without_linux_the_operating_system_is_asked(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    assert memory.peak_mb() == pytest.approx(memory.resource.getrusage(memory.resource.RUSAGE_SELF).ru_maxrss / 1024)


def test_a_process_that_keeps_its_memory_is_given_few_new_pages() -> None:
    """Page faults of allocating, filling and freeing 64 MB twenty times, less those of the first time."""
    script = """
import resource, sys
import numpy as np
from fibrokd.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else True
def once():
    np.empty(2**26, np.uint8).fill(1)
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    once()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {}
    for mode in ("keep", "give"):
        done = subprocess.run([sys.executable, "-c", script, mode], capture_output=True, check=True, text=True)
        kept, count = done.stdout.split()
        if kept == "False":
            pytest.skip("another allocator than glibc's")
        faults[mode] = int(count)
    assert faults["keep"] < 1000
    assert faults["give"] > 20 * faults["keep"]
