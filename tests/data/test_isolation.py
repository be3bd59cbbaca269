"""Isolation: whatever a file does to its worker, it costs one file."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from fibrokd.data.isolation import BLAMES, Watch, WorkerLimits, isolated
from fibrokd.data.reading import REASONS
from fibrokd.errors import ConfigError, FibroKDError, InputError, TableError, UnreadableImageError

QUICK = WorkerLimits(memory_mb=256, seconds_per_file=0.6)


def hang() -> None:
    """Sleep in C, holding the interpreter: no Python signal handler would ever run."""
    ctypes.PyDLL(None).sleep(60)


def outlive_the_timer() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    time.sleep(60)


def eat() -> str:
    try:
        np.ones(600_000_000, np.uint8)
    except MemoryError:
        return "no memory"
    return "eaten"


def talk() -> None:
    os.write(1, b"DOE^JANE")
    os.write(2, b"DOE^JANE")


MISCHIEF: dict[str, Callable[[], object]] = {
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "null": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": hang,
    "stubborn": outlive_the_timer,
    "eat": eat,
    "talk": talk,
    "process": lambda: str(os.getpid()),
}
"""What a file can do to its process."""


def read_all(files: Sequence[str], watch: Watch) -> list[str]:
    answers = []
    for number, what in enumerate(files):
        if number in watch.blamed:
            answers.append(watch.blamed[number])
            continue
        watch.begin(number)
        said = MISCHIEF.get(what, what.upper)()
        answers.append(what.upper() if said is None else str(said))
    watch.begin(None)
    return answers


def fails(files: Sequence[str], watch: Watch) -> list[str]:
    raise InputError(f"Expected {files[0]}", "todo")


def dies_before_any_file(files: Sequence[str], watch: Watch) -> list[str]:
    os._exit(9)


def answers(tasks: list[list[str]], workers: int = 1, limits: WorkerLimits = QUICK) -> list[list[str]]:
    found = dict(isolated(read_all, tasks, workers, limits))
    return [found[number] for number in range(len(tasks))]


def test_every_reason_is_one_that_a_file_can_be_refused_for() -> None:
    assert set(BLAMES) <= set(REASONS)


def test_a_file_that_takes_its_worker_with_it_costs_no_other_file() -> None:
    tasks = [["a", "abort", "b", "hang", "c"], ["eat", "d"], ["null", "killed", "exit"]]
    assert answers(tasks) == [
        ["A", "crashed", "B", "too_slow", "C"],
        ["no memory", "D"],
        ["crashed", "too_much_memory", "crashed"],
    ]


@pytest.mark.slow  # seconds of waiting
def test_two_workers_answer_as_one_does() -> None:
    tasks = [["a", "hang", "b"], ["abort"], ["c", "d"], ["hang", "hang"], ["e"]]
    assert answers(tasks, workers=2) == answers(tasks, workers=1)


@pytest.mark.slow  # waits for the parent's own patience
def test_a_worker_that_ignores_its_timer_is_killed_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibrokd.data.isolation._GRACE_SECONDS", 0.5)
    assert answers([["a", "stubborn", "b"]]) == [["A", "too_slow", "B"]]


def test_an_error_of_the_work_itself_is_raised_where_it_was_asked_for() -> None:
    with pytest.raises(InputError, match="Expected x"):
        list(isolated(fails, [["x"]], 1, QUICK))


def test_workers_that_die_without_a_file_are_reported_and_not_restarted_for_ever() -> None:
    with pytest.raises(ConfigError, match="ended with code 9 although no file was open"):
        list(isolated(dies_before_any_file, [["x"]], 1, QUICK))


def test_nothing_to_do_starts_no_process() -> None:
    assert list(isolated(read_all, [], 2, QUICK)) == []


def test_what_a_decoder_prints_reaches_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    assert answers([["talk"]]) == [["TALK"]]
    assert "DOE" not in "".join(capfd.readouterr())


def test_whoever_stops_listening_leaves_no_process_behind() -> None:
    stream = isolated(read_all, [["a"], ["hang"], ["b"]], 1, WorkerLimits(seconds_per_file=30))
    assert next(stream) == (0, ["A"])
    began = time.monotonic()
    stream.close()
    assert time.monotonic() - began < 5


@pytest.mark.slow  # two interpreters start
def test_a_worker_whose_parent_is_killed_ends_by_itself(tmp_path: Path) -> None:
    code = (
        "from tests.data.test_isolation import read_all\n"
        "from fibrokd.data.isolation import WorkerLimits, isolated\n"
        "if __name__ == '__main__':\n"
        "    stream = isolated(read_all, [['process'], ['hang']], 1, WorkerLimits(seconds_per_file=1.5))\n"
        "    print(next(stream)[1][0], flush=True)\n"
        "    next(stream)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert _is_running(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(worker)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class UnreadError(Exception):
    """Pickles, and cannot be read back."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)
        self.other = other


def raises(files: Sequence[str], watch: Watch) -> list[str]:
    errors: dict[str, Exception] = {
        "unread": UnreadError("DOE^JANE", "x"),
        "unpickled": ValueError("DOE^JANE", lambda: 1),
        "memory": MemoryError("DOE^JANE"),
        "disk": OSError(28, "No space left on device", "DOE^JANE"),
        "table": TableError("labels.csv", ["line 2"], "Correct it."),
        "image": UnreadableImageError("truncated", "Expected more"),
    }
    raise errors[files[0]]


@pytest.mark.parametrize(
    ("what", "kind", "told"),
    [
        ("unread", FibroKDError, r"failed with UnreadError in line \d+ of test_isolation.py"),
        ("unpickled", FibroKDError, "failed with ValueError in line"),
        ("memory", FibroKDError, "failed with MemoryError in line"),
        ("disk", FibroKDError, r"failed with OSError \(No space left on device\)"),
        ("table", FibroKDError, "labels.csv has 1 problem"),
        ("image", UnreadableImageError, "Expected more"),
    ],
)
def test_whatever_the_work_raises_arrives_without_what_it_quotes(what: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        list(isolated(raises, [[what]], 1, QUICK))
    assert "DOE" not in str(caught.value)


def slow_once(files: Sequence[str], watch: Watch) -> list[str]:
    """Take too long over a file at the first try, as on a machine that was stopped meanwhile."""
    watch.begin(0)
    mark = Path(files[0])
    if not mark.exists():
        mark.touch()
        time.sleep(60)
    watch.begin(None)
    return ["read"]


def test_a_file_that_takes_too_long_once_is_not_blamed(tmp_path: Path) -> None:
    assert dict(isolated(slow_once, [[str(tmp_path / "mark")]], 1, QUICK)) == {0: ["read"]}
