"""Many files in parallel, in small pieces on disk: ingest that can be killed and goes on where it stopped.

A shard holds everything that became of some consecutive files and is written by the process that decoded them, so
that no pixels travel between processes and memory stays bounded however many files there are. Which files a shard
holds depends on their order alone, never on the number of workers.

Shape letters: N frames of the collection, M some of them, S side of the network input.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, UInt8

from fibrokd.data.identities import reconcile
from fibrokd.data.ingest import THUMBNAIL_SIDE, IngestJob, Refusal, ingest
from fibrokd.data.manifest import ROW_COLUMNS
from fibrokd.errors import InputError
from fibrokd.files import atomic_path
from fibrokd.progress import track

FILES_PER_SHARD = 32


@dataclass(frozen=True)
class Shard:
    """One finished piece.

    Args:
        path: Where it lies.
        rows: Rows of its frames (``manifest.ROW_COLUMNS``), in file order.
        refusals: Files and frames that could not be used.
        notes: What was decided or repaired: (image_id, note).
    """

    path: Path
    rows: tuple[dict[str, Any], ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[tuple[str, str], ...]

    def pixels(self) -> UInt8[np.ndarray, "M S S"]:
        """Read the preprocessed frames."""
        return self._array("pixels")

    def thumbnails(self) -> UInt8[np.ndarray, "M 48 48"]:
        """Read the thumbnails."""
        return self._array("thumbnails")

    def _array(self, name: str) -> UInt8[np.ndarray, "M _ _"]:
        with np.load(self.path, allow_pickle=False) as stored:
            return np.asarray(stored[name], dtype=np.uint8)


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

    def thumbnails(self, rows: Int[np.ndarray, " M"]) -> UInt8[np.ndarray, "M 48 48"]:
        """Read the thumbnails of some rows, given in ascending order."""
        return np.concatenate([shard.thumbnails()[inside] for shard, inside in self._inside(self.frames[rows])])

    def write_pixels(self, path: Path, side: int) -> None:
        """Write the preprocessed frames of all rows as one array ``uint8`` [N, S, S], shard by shard."""
        with atomic_path(path) as temporary:
            shape = (len(self.frames), side, side)
            stored = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            row = 0
            for shard, inside in self._inside(self.frames):
                stored[row : row + len(inside)] = shard.pixels()[inside]
                row += len(inside)
            stored.flush()

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
    table["patient"] = reconcile(list(table["patient"]), list(table.pop("issuer")))
    return Intake(table, np.arange(len(rows)), tuple(shards), refusals)


def ingest_shards(jobs: Sequence[IngestJob], folder: Path, workers: int = 1) -> list[Shard]:
    """Ingest all files; shards that an earlier, interrupted run finished are kept.

    Args:
        jobs: Files in the order of the manifest.
        folder: Where shards are kept; must hold nothing but shards of the very same jobs.
        workers: Processes; 0 takes every core this process may use.

    Returns:
        Shards in the order of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces = [jobs[start : start + FILES_PER_SHARD] for start in range(0, len(jobs), FILES_PER_SHARD)]
    paths = [folder / f"{number:06d}.npz" for number in range(len(pieces))]
    todo = [number for number, path in enumerate(paths) if not path.exists()]
    count = min(workers or len(os.sched_getaffinity(0)), max(len(todo), 1))
    work = [(pieces[number], paths[number]) for number in todo]
    files = sum(len(piece) for piece, _ in work)
    for _ in track(_each_file(_written(work, count)), "reading images", total=files, unit="file"):
        pass
    return [read_shard(path) for path in paths]


def write_shard(jobs: Sequence[IngestJob], path: Path) -> int:
    """Ingest some files and write what became of them; returns the number of files."""
    results = [ingest(job) for job in jobs]
    frames = [frame for result in results for frame in result.frames]
    side = jobs[0].preprocess.size
    told = {
        "rows": [frame.row for frame in frames],
        "refusals": [asdict(refusal) for result in results for refusal in result.refusals],
        "notes": [(frame.row["image_id"], note) for frame in frames for note in frame.notes],
    }
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            pixels=_stack([frame.pixels for frame in frames], side),
            thumbnails=_stack([frame.thumbnail for frame in frames], THUMBNAIL_SIDE),
            told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8),
        )
    return len(jobs)


def read_shard(path: Path) -> Shard:
    """Read what a shard tells, without its pixels."""
    with np.load(path, allow_pickle=False) as stored:
        told = json.loads(stored["told"].tobytes())
    return Shard(
        path,
        tuple(told["rows"]),
        tuple(Refusal(**refusal) for refusal in told["refusals"]),
        tuple((image, note) for image, note in told["notes"]),
    )


def _written(work: Sequence[tuple[Sequence[IngestJob], Path]], workers: int) -> Iterator[int]:
    if workers <= 1:
        yield from (write_shard(jobs, path) for jobs, path in work)
        return
    # Spawned and not forked: a forked child inherits locks of whatever threads the caller runs.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_write_pair, work)


def _write_pair(pair: tuple[Sequence[IngestJob], Path]) -> int:
    return write_shard(*pair)


def _each_file(counts: Iterator[int]) -> Iterator[None]:
    for count in counts:
        yield from [None] * count


def _stack(images: Sequence[UInt8[np.ndarray, "S S"]], side: int) -> UInt8[np.ndarray, "M S S"]:
    return np.stack(images) if images else np.empty((0, side, side), dtype=np.uint8)
