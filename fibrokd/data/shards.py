"""Many files in parallel, in small pieces on disk: ingest that can be killed and goes on where it stopped.

A shard holds everything that became of some consecutive files and is written by the process that decoded them, so
that no pixels travel between processes and memory stays bounded however many files there are. Which files a shard
holds depends on their order alone, never on the number of workers; a file that takes its worker with it is refused
and the rest of its shard read again.

What is done with them afterwards is :mod:`fibrokd.data.intake`.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fibrokd.data import fingerprint, margins
from fibrokd.data.ingest import THUMBNAIL_SIDE, IngestedFrame, IngestJob, IngestResult, Refusal, ingest, refused
from fibrokd.data.isolation import BLAMES, Watch, WorkerLimits, isolated
from fibrokd.files import atomic_path, digest_bytes
from fibrokd.progress import track

FILES_PER_SHARD = 32
KINDS = {"pixels": np.uint8, "thumbnails": np.uint8, "fingerprints": np.int8, "margins": np.float32}
"""Arrays of a shard, and what their numbers are."""

Reader = Callable[[IngestJob], IngestResult]
"""Reads one file; a function of a module, for workers find it by name."""


@dataclass(frozen=True)
class _Piece:
    """What becomes one shard."""

    jobs: Sequence[IngestJob]
    path: Path
    reader: Reader


@dataclass(frozen=True)
class Shard:
    """One finished piece.

    Args:
        path: Where it lies.
        rows: Rows of its frames (``manifest.ROW_COLUMNS``), in file order.
        refusals: Files and frames that could not be used.
        notes: What was decided or repaired: (number of the frame within the shard, note).
    """

    path: Path
    rows: tuple[dict[str, Any], ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[tuple[int, str], ...]

    def array(self, name: str) -> np.ndarray:
        """Read one array with a row per frame: ``pixels``, ``thumbnails``, ``fingerprints`` or ``margins``."""
        with np.load(self.path, allow_pickle=False) as stored:
            return np.asarray(stored[name])


def ingest_shards(
    jobs: Sequence[IngestJob],
    folder: Path,
    workers: int = 1,
    isolation: WorkerLimits | None = None,
    reader: Reader | None = None,
) -> list[Shard]:
    """Ingest all files; shards that an earlier, interrupted run finished are kept.

    Not kept are damaged ones, and those in which files took their worker with them: the limits may have been raised.

    Args:
        jobs: Files in the order of the manifest.
        folder: Where shards are kept; must hold nothing but shards of the very same jobs.
        workers: Processes; 0 takes every core this process may use.
        isolation: What a file may cost before its worker is ended. ``None`` with one worker reads in this process,
            which a file may kill: for files made by whoever calls.
        reader: What reads one file; by default :func:`ingest`.

    Returns:
        Shards in the order of the files.

    Raises:
        ConfigError: Workers die although no file is open.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [jobs[start : start + FILES_PER_SHARD] for start in range(0, len(jobs), FILES_PER_SHARD)]
    paths = [folder / f"{number:06d}.npz" for number in range(len(pieces))]
    done = {number: shard for number, path in enumerate(paths) if (shard := _finished(path)) is not None}
    todo = [number for number in range(len(paths)) if number not in done]
    count = min(workers or len(os.sched_getaffinity(0)), max(len(todo), 1))
    work = [_Piece(pieces[number], paths[number], reader or ingest) for number in todo]
    if count == 1 and isolation is None:
        written: Iterator[int] = (write_shard(piece.jobs, piece.path, piece.reader) for piece in work)
    else:
        written = (files for _, files in isolated(_write_watched, work, count, isolation or WorkerLimits()))
    files = sum(len(piece.jobs) for piece in work)
    for _ in track(_each_file(written), "reading images", total=files, unit="files"):
        pass
    return [done.get(number) or read_shard(path) for number, path in enumerate(paths)]


def write_shard(jobs: Sequence[IngestJob], path: Path, reader: Reader | None = None, watch: Watch | None = None) -> int:
    """Ingest some files and write what became of them.

    Args:
        jobs: The files.
        path: Where the shard is to lie.
        reader: What reads one file; by default :func:`ingest`.
        watch: Supervision, in a worker process.

    Returns:
        The number of files.
    """
    results = [_read(number, job, reader or ingest, watch) for number, job in enumerate(jobs)]
    if watch is not None:
        watch.begin(None)
    frames = [frame for result in results for frame in result.frames]
    told = {
        "rows": [_row(frame) for frame in frames],
        "refusals": [asdict(refusal) for result in results for refusal in result.refusals],
        "notes": [(number, note) for number, frame in enumerate(frames) for note in frame.notes],
    }
    held = {
        "pixels": [frame.pixels for frame in frames],
        "thumbnails": [frame.thumbnail for frame in frames],
        "fingerprints": [frame.fingerprint for frame in frames],
        "margins": [frame.margins for frame in frames],
    }
    sides = shapes(jobs[0].preprocess.size)
    stacked = {
        name: np.array(rows, dtype=KINDS[name]).reshape(len(frames), *sides[name]) for name, rows in held.items()
    }
    with atomic_path(path) as temporary:
        stacked["told"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
        np.savez(temporary, allow_pickle=False, **stacked)
    return len(jobs)


def read_shard(path: Path) -> Shard:
    """Read what a shard tells, without its pixels."""
    with np.load(path, allow_pickle=False) as stored:
        told = json.loads(stored["told"].tobytes())
    return Shard(
        path,
        tuple(told["rows"]),
        tuple(Refusal(**refusal) for refusal in told["refusals"]),
        tuple((number, note) for number, note in told["notes"]),
    )


def _finished(path: Path) -> Shard | None:
    """What an earlier run left, unless it is to be made again."""
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
        shard = read_shard(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None  # a full disk or a lost machine: the file is written anew
    blamed = any(refusal.reason in BLAMES for refusal in shard.refusals)
    return shard if whole and not blamed else None


def _row(frame: IngestedFrame) -> dict[str, object]:
    """Row of a frame; where nothing varies in it, its content is told apart by its place.

    Empty pictures of strangers are identical to the last grey level, and would tie their patients.
    """
    if frame.fingerprint.any():
        return frame.row
    place = f"{frame.row['pixel_digest']}#{frame.row['image_id']}"
    return {**frame.row, "pixel_digest": digest_bytes(place.encode())}


def _write_watched(piece: _Piece, watch: Watch) -> int:
    return write_shard(piece.jobs, piece.path, piece.reader, watch)


def _read(number: int, job: IngestJob, reader: Reader, watch: Watch | None) -> IngestResult:
    if watch is None:
        return reader(job)
    reason = watch.blamed.get(number)
    if reason is not None:
        return refused(job.source.path, reason, BLAMES[reason])
    watch.begin(number)
    return reader(job)


def shapes(side: int) -> dict[str, tuple[int, ...]]:
    """Shape of one frame's row in every array of a shard."""
    return {
        "pixels": (side, side),
        "thumbnails": (THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        "fingerprints": (fingerprint.LENGTH,),
        "margins": (margins.COUNT,),
    }


def _each_file(counts: Iterator[int]) -> Iterator[None]:
    for count in counts:
        yield from [None] * count
