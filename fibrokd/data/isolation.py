"""Worker processes that a file may kill, hang or exhaust at no other cost than its own line of quarantine.csv.

Decoders are C code that is fed with strangers' files: an error there ends the process, and no exception can be
caught. So files are read in processes of their own. The kernel ends one that takes too long (an interval timer whose
signal no one handles reaches C code too, and works when the parent is gone) and refuses it memory beyond its share;
whoever waits at the other end of the pipe sees it close and has the rest done by a fresh process. The file that was
open is blamed when it happens again: once may be the doing of a busy, stopped or exhausted machine. Must not know what
a file is, or what is done with it.

The clean process that forks the workers imports the caller's main module, as the workers of multiprocessing do: a
script that calls :func:`isolated` without ``if __name__ == "__main__"`` is executed again there.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

from fibrokd.config import Config
from fibrokd.errors import ConfigError, FibroKDError

BLAMES = {
    "too_slow": "reading it took longer than a worker may",
    "too_much_memory": "reading it took more memory than a worker may",
    "crashed": "reading it ended the worker process",
}
"""Why a file is given up that took its worker with it."""

_GRACE_SECONDS = 5.0  # a worker that outlives its own timer by this much is killed from outside
_TRIES = 2  # a worker's death may be the machine's doing, that by the timer as well: only its repetition is the file's
_MEGABYTE = 10**6


class WorkerLimits(Config):
    """What reading one file may cost before its worker is ended. No part of a run's identity."""

    memory_mb: Annotated[int, Field(ge=64)] = 2048
    """Address space that one file may take on top of what its worker holds anyway, megabytes (10⁶ bytes)."""

    seconds_per_file: Annotated[float, Field(gt=0)] = 60.0
    """Wall time that one file may take; a file that takes longer is tried once more."""


class Watch:
    """A worker's side of the supervision: says which file is open, and arms the limits for it.

    Args:
        pipe: To the supervisor.
        limits: What one file may cost.
        blamed: Files of this task to leave out, and why: earlier workers died of them.
    """

    def __init__(self, pipe: Connection, limits: WorkerLimits, blamed: Mapping[int, str]) -> None:
        self._pipe, self._limits, self.blamed = pipe, limits, blamed

    def begin(self, file: int | None) -> None:
        """Start the clock for one file of the task, or stop it (``None``) for work that is no file's doing."""
        signal.setitimer(signal.ITIMER_REAL, 0 if file is None else self._limits.seconds_per_file)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        # Relative to what is held now: a decoder that leaks must not make a later file pay for it.
        soft = hard if file is None else _address_space() + self._limits.memory_mb * _MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
        self._pipe.send(("begin", file))


Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Task, Watch], Result]
"""Does one task, calling ``watch.begin(number)`` before each of its files and ``watch.begin(None)`` after the last.
A function of a module, for it is found by name in the worker; done again from the start where a worker died."""


def isolated(
    work: Callable[[Task, Watch], Result], tasks: Sequence[Task], workers: int, limits: WorkerLimits
) -> Generator[tuple[int, Result], None, None]:
    """Do tasks in worker processes that may die.

    Args:
        work: See :data:`Work`.
        tasks: What is to be done; each holds some files. Sent to the workers, so they pickle.
        workers: Processes at a time, at least 1.
        limits: What one file may cost.

    Yields:
        (number of the task, result), each once, as they end.

    Raises:
        ConfigError: Workers die although no file is open.
        FibroKDError: ``work`` raised it; or something else, of which the message names type and place alone, for
            what it says may quote a file.
    """
    if tasks:
        supervisor = _Supervisor(work, tasks, limits)
        try:
            yield from supervisor.run(max(1, min(workers, len(tasks))))
        finally:
            supervisor.close()


# --------------------------------------------------------------------------- the supervisor
@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    task: int | None = None
    file: int | None = None
    since: float = 0.0
    overdue: bool = False


@dataclass
class _Supervisor(Generic[Task, Result]):
    work: Callable[[Task, Watch], Result]
    tasks: Sequence[Task]
    limits: WorkerLimits
    workers: list[_Worker] = field(default_factory=list)
    blamed: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    deaths: Counter[tuple[int, int | None]] = field(default_factory=Counter)

    def run(self, count: int) -> Iterator[tuple[int, Result]]:
        queue = deque(range(len(self.tasks)))
        left = len(queue)
        while left:
            self._hand_out(queue, count)
            for worker in self._ready():
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    queue.extendleft(self._bury(worker))
                    continue
                if kind == "begin":
                    worker.file, worker.since = value, time.monotonic()
                elif kind == "failed":
                    raise value
                elif worker.task is not None:
                    number, worker.task, worker.file = worker.task, None, None
                    left -= 1
                    yield number, value

    def close(self) -> None:
        for worker in self.workers:
            worker.pipe.close()  # an idle worker ends when its pipe does
            if worker.task is not None:
                worker.process.kill()
        for worker in self.workers:
            worker.process.join()

    def _hand_out(self, queue: deque[int], count: int) -> None:
        while queue:
            worker = next((worker for worker in self.workers if worker.task is None), None)
            if worker is None:
                if len(self.workers) >= count:
                    return
                worker = self._hire()
            number = queue.popleft()
            worker.task, worker.file = number, None
            try:
                worker.pipe.send((self.tasks[number], dict(self.blamed.get(number, {}))))
            except OSError:
                queue.extendleft(self._bury(worker))

    def _hire(self) -> _Worker:
        # Not forked from here: a child would inherit locks of whatever threads the caller runs. The clean process that
        # forks them instead has imported what they need: a successor costs milliseconds, and not seconds.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", self.work.__module__])
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.work, self.limits), daemon=True)
        process.start()
        theirs.close()
        self.workers.append(_Worker(process, ours))
        return self.workers[-1]

    def _ready(self) -> list[_Worker]:
        """Wait until a worker says something, dies, or is overdue."""
        patience = self.limits.seconds_per_file + _GRACE_SECONDS
        opened = [worker.since for worker in self.workers if worker.file is not None and not worker.overdue]
        timeout = max(0.0, min(opened) + patience - time.monotonic()) if opened else None
        spoke = wait([worker.pipe for worker in self.workers], timeout)
        for worker in self.workers:
            if worker.file is not None and time.monotonic() - worker.since > patience and worker.pipe not in spoke:
                worker.overdue = True
                worker.process.kill()
        return [worker for worker in self.workers if worker.pipe in spoke]

    def _bury(self, worker: _Worker) -> tuple[int, ...]:
        """Find out what a worker died of; returns the task that is to be done again, if it had one."""
        worker.pipe.close()
        worker.process.join()
        self.workers.remove(worker)
        number, file = worker.task, worker.file
        if number is None:
            return ()
        reason = "too_slow" if worker.overdue else _cause(worker.process.exitcode)
        self.deaths[number, file] += 1
        if self.deaths[number, file] >= _TRIES:
            if file is None:
                raise _no_worker(worker.process.exitcode)
            self.blamed[number][file] = reason
        return (number,)


def _cause(exitcode: int | None) -> str:
    if exitcode == -signal.SIGALRM:
        return "too_slow"
    # Nobody here sends SIGKILL to a worker in time: the system does, when memory runs out.
    return "too_much_memory" if exitcode == -signal.SIGKILL else "crashed"


def _no_worker(exitcode: int | None) -> ConfigError:
    return ConfigError(
        f"Expected a process that reads images, it ended with code {exitcode} although no file was open.",
        "Give it more memory, or use fewer workers.",
    )


# --------------------------------------------------------------------------- the worker
def _serve(pipe: Connection, work: Callable[[Any, Watch], Any], limits: WorkerLimits) -> None:
    """Do tasks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told as well, and ends its workers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a patient's picture
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # C libraries print what they dislike, header values included
        os.dup2(nowhere, stream)
    try:
        while True:
            task, blamed = pipe.recv()
            watch = Watch(pipe, limits, blamed)
            try:
                answer = ("done", work(task, watch))
            except Exception as error:  # raised again in the parent
                answer = ("failed", _told(error))
            watch.begin(None)
            pipe.send(answer)
    except (EOFError, OSError):  # the parent is gone, or needs no more
        return


def _told(error: Exception) -> FibroKDError:
    """What the parent is to raise: an error that says what to do as it is; of others type and place, never their text.

    Other errors need not survive the way: many cannot be pickled, and some that can cannot be read back.
    """
    if isinstance(error, FibroKDError):
        kind = type(error)
        revives = kind.__init__ is FibroKDError.__init__ or kind.__reduce__ is not FibroKDError.__reduce__
        return error if revives else FibroKDError(error.problem, error.todo)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    why = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return FibroKDError(
        f"Expected a worker to do its task, it failed with {type(error).__name__}{why} in line {frame.lineno} of "
        f"{Path(frame.filename).name}.",
        "Free space, memory or permissions where the message speaks of them; else this is a fault of the program.",
    )


def _address_space() -> int:
    """Bytes of address space this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
