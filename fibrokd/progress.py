"""Progress with rate and ETA for anything that runs longer than about two seconds; silent where nobody watches.

Bars go to standard error, so that ``--json`` output stays clean. On a terminal they are live; in a log file one
line is printed per finished task instead of thousands of redraws.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def say(message: str) -> None:
    """Print one line of narration to standard error."""
    print(message, file=sys.stderr, flush=True)


def track(items: Iterable[T], what: str, total: int, unit: str = "it", summary: bool = True) -> Iterator[T]:
    """Yield ``items`` under a progress bar named ``what``.

    Args:
        items: Anything iterable.
        what: What is being done, as the user would say it.
        total: Number of items expected.
        unit: Name of one item, for the rate.
        summary: Whether to leave a line behind, with count, time and rate, after more than two seconds of work.

    Yields:
        The items, unchanged and in order.
    """
    started = time.perf_counter()
    done = 0
    if sys.stderr.isatty():
        for item in _live(items, what, total, unit):
            yield item
            done += 1
    else:
        for item in items:
            yield item
            done += 1
    seconds = time.perf_counter() - started
    if summary and seconds > 2:
        say(f"  {what}: {done} {unit} in {seconds:.1f} s ({done / seconds:.1f} {unit}/s)")


def _live(items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    # Imported here: rich costs 60 ms, and most processes never draw a bar.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, rate="")
        started = time.perf_counter()
        for count, item in enumerate(items, start=1):
            yield item
            rate = count / max(time.perf_counter() - started, 1e-9)
            bar.update(task, completed=count, rate=f"{rate:.1f} {unit}/s")
