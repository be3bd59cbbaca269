"""Many files in parallel, in small pieces on disk: ingest that can be killed and goes on where it stopped.

A shard holds everything that became of some consecutive files and is written by the process that decoded them, so
that no pixels travel between processes and memory stays bounded however many files there are. Which files a shard
holds depends on their order alone, never on the number of workers; a file that takes its worker with it is refused
and the rest of its shard read again.

Shape letters: N frames of the collection, M some of them, S side of the network input, L and C numbers of a
fingerprint and of the margins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int, Int8, UInt8

from fibrokd.data import fingerprint, margins
from fibrokd.data.identities import reconcile
from fibrokd.data.ingest import THUMBNAIL_SIDE, IngestJob, IngestResult, Refusal, ingest, refused
from fibrokd.data.isolation import BLAMES, Watch, WorkerLimits, isolated
from fibrokd.data.manifest import ROW_COLUMNS, number_copies
from fibrokd.errors import InputError
from fibrokd.files import atomic_path
from fibrokd.progress import track

FILES_PER_SHARD = 32
_KINDS = {"pixels": np.uint8, "thumbnails": np.uint8, "fingerprints": np.int8, "margins": np.float32}

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


@dataclass(frozen=True)
class Intake:
    """All frames of a collection as they lie in shards, less those set aside; made by :func:`take_in`.

    Args:
        table: Manifest with patient and study keys, every value as text; one row per frame.
        frames: Position of every row among all frames of the shards, ascending.
        shards: Where the frames lie.
        refusals: Every file and frame that is not in the table.
    """

    table: pd.DataFrame
    frames: Int[np.ndarray, " N"]
    shards: tuple[Shard, ...]
    refusals: tuple[Refusal, ...]

    def without(self, aside: Bool[np.ndarray, " N"], reason: str, detail: str) -> Intake:
        """Set rows aside: they leave the table and are refused for a reason."""
        left = self.table[aside]
        refused = tuple(
            Refusal(path, int(frame), reason, detail) for path, frame in zip(left["path"], left["frame"], strict=True)
        )
        table = self.table[~aside].reset_index(drop=True)
        return Intake(table, self.frames[~aside], self.shards, self.refusals + refused)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What was decided or repaired: (image_id, note), in the order of the rows."""
        names = dict(zip(self.frames.tolist(), self.table["image_id"], strict=True))
        told, start = [], 0
        for shard in self.shards:
            told += [(names[start + row], note) for row, note in shard.notes if start + row in names]
            start += len(shard.rows)
        return told

    def thumbnails(self, rows: Int[np.ndarray, " M"]) -> UInt8[np.ndarray, "M 48 48"]:
        """Read the thumbnails of some rows, given in ascending order."""
        return self._gathered("thumbnails", rows)

    def fingerprints(self, rows: Int[np.ndarray, " M"]) -> Int8[np.ndarray, "M L"]:
        """Read the fingerprints of some rows, given in ascending order."""
        return self._gathered("fingerprints", rows)

    def margins(self, rows: Int[np.ndarray, " M"]) -> Float32[np.ndarray, "M C"]:
        """Read the margin numbers of some rows, given in ascending order."""
        return self._gathered("margins", rows)

    def write_pixels(self, path: Path, side: int) -> None:
        """Write the preprocessed frames of all rows as one array ``uint8`` [N, S, S], shard by shard."""
        with atomic_path(path) as temporary:
            shape = (len(self.frames), side, side)
            stored = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            row = 0
            for shard, inside in self._inside(self.frames):
                stored[row : row + len(inside)] = shard.array("pixels")[inside]
                row += len(inside)
            stored.flush()

    def _gathered(self, name: str, rows: Int[np.ndarray, " M"]) -> np.ndarray:
        gathered = np.empty((len(rows), *_shapes(0)[name]), dtype=_KINDS[name])
        start = 0
        for shard, inside in self._inside(self.frames[rows]):
            gathered[start : start + len(inside)] = shard.array(name)[inside]
            start += len(inside)
        return gathered

    def _inside(self, frames: Int[np.ndarray, " M"]) -> Iterator[tuple[Shard, Int[np.ndarray, " _"]]]:
        """Yield every shard that holds some of the frames, and their positions in it."""
        start = 0
        for shard in self.shards:
            stop = start + len(shard.rows)
            inside = frames[(frames >= start) & (frames < stop)] - start
            if len(inside):
                yield shard, inside
            start = stop


def take_in(shards: Sequence[Shard], refused_before: Sequence[Refusal] = ()) -> Intake:
    """Put shards together.

    Args:
        shards: In the order of the files.
        refused_before: Files refused before they were opened.

    Raises:
        InputError: Not one frame is usable.
    """
    rows = [row for shard in shards for row in shard.rows]
    refusals = (*(refusal for shard in shards for refusal in shard.refusals), *refused_before)
    if not rows:
        raise InputError(
            f"Expected readable images, found none: all {len(refusals)} files were refused, for example because "
            f"{refusals[0].detail}.",
            "Check data.root and the kind of files in it.",
        )
    table = pd.DataFrame(rows, columns=list(ROW_COLUMNS)).astype(str)
    table["image_id"] = number_copies(table)
    table["patient"] = reconcile(list(table["patient"]), list(table.pop("issuer")))
    return Intake(table, np.arange(len(rows)), tuple(shards), refusals)


def ingest_shards(
    jobs: Sequence[IngestJob],
    folder: Path,
    workers: int = 1,
    isolation: WorkerLimits | None = None,
    reader: Reader | None = None,
) -> list[Shard]:
    """Ingest all files; shards that an earlier, interrupted run finished are kept.

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
    todo = [number for number, path in enumerate(paths) if not path.exists()]
    count = min(workers or len(os.sched_getaffinity(0)), max(len(todo), 1))
    work = [_Piece(pieces[number], paths[number], reader or ingest) for number in todo]
    if count == 1 and isolation is None:
        written: Iterator[int] = (write_shard(piece.jobs, piece.path, piece.reader) for piece in work)
    else:
        written = (files for _, files in isolated(_write_watched, work, count, isolation or WorkerLimits()))
    files = sum(len(piece.jobs) for piece in work)
    for _ in track(_each_file(written), "reading images", total=files, unit="file"):
        pass
    return [read_shard(path) for path in paths]


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
        "rows": [frame.row for frame in frames],
        "refusals": [asdict(refusal) for result in results for refusal in result.refusals],
        "notes": [(number, note) for number, frame in enumerate(frames) for note in frame.notes],
    }
    held = {
        "pixels": [frame.pixels for frame in frames],
        "thumbnails": [frame.thumbnail for frame in frames],
        "fingerprints": [frame.fingerprint for frame in frames],
        "margins": [frame.margins for frame in frames],
    }
    shapes = _shapes(jobs[0].preprocess.size)
    stacked = {
        name: np.array(rows, dtype=_KINDS[name]).reshape(len(frames), *shapes[name]) for name, rows in held.items()
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


def _shapes(side: int) -> dict[str, tuple[int, ...]]:
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
