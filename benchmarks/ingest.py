"""Throughput of reading a collection, beside the bare minimum: Pillow decode and SHA-256 of the same files.

    python -m benchmarks.ingest FOLDER [--files 640]

All ways read the same files on one core, piece by piece in turns. The last line is JSON; ``ratio`` is fibrokd's images
per second and core (decode, digests, fan, crop, resize, thumbnail, fingerprint, margins, shard on disk) divided by
those of the bare minimum. ``isolation_cost`` is the share of time that reading in a supervised worker process adds,
after the worker has started; starting it takes ``start_seconds``, once per worker.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fibrokd.data.ingest import IngestJob
from fibrokd.data.isolation import Watch, WorkerLimits, isolated
from fibrokd.data.limits import ReadLimits
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.shards import FILES_PER_SHARD, read_shard, write_shard
from fibrokd.data.sources import DataConfig, SourceFile, find_files
from fibrokd.data.walking import locate
from fibrokd.errors import InputError


def bare_minimum(paths: list[Path]) -> None:
    """Decode every file to grey levels with Pillow, and digest its bytes."""
    for path in paths:
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        with Image.open(io.BytesIO(data)) as image:
            image.convert("L").load()


@dataclass(frozen=True)
class Piece:
    """Files of one shard, and where it is to lie."""

    jobs: list[IngestJob]
    path: Path


def write_timed(piece: Piece, watch: Watch) -> float:
    """Write a shard under supervision; returns the CPU seconds it took."""
    began = time.process_time()
    write_shard(piece.jobs, piece.path, watch=watch)
    return time.process_time() - began


def jobs_of(root: Path, files: Sequence[SourceFile], crop: str) -> list[IngestJob]:
    """Return what ``prepare`` does with these files; without a fan too, so that every way does all of its work."""
    spec = PreprocessSpec.model_validate({"crop": crop})
    return [IngestJob(root, file, spec, ReadLimits(), without_fan="keep") for file in files]


def check_frames(path: Path, files: int) -> None:
    """Refuse to time refusals, which cost next to nothing.

    Raises:
        InputError: A file of a shard gave no frame.
    """
    refused = [refusal for refusal in read_shard(path).refusals if refusal.frame is None]
    if refused or not read_shard(path).rows:
        raise InputError(
            f"Expected a frame of each of {files} files, found {len(refused)} refused, for example as "
            f"{refused[0].reason if refused else 'no_frames'}.",
            "Measure on a folder of pictures that can be read.",
        )


def measure(root: Path, files: Sequence[SourceFile], folder: Path) -> tuple[dict[str, float], float]:
    """Return CPU seconds per way of reading, and the wall seconds in which a worker starts and reads one file."""
    pieces = [files[start : start + FILES_PER_SHARD] for start in range(0, len(files), FILES_PER_SHARD)]
    tasks = [Piece(jobs_of(root, piece, "fan"), folder / "isolated.npz") for piece in (files[:1], *pieces)]
    watched = isolated(write_timed, tasks, 1, WorkerLimits())
    began = time.perf_counter()
    next(watched)
    started = time.perf_counter() - began
    seconds: dict[str, float] = dict.fromkeys(("bare", "fan", "full", "isolated"), 0.0)
    for piece in pieces:
        before = time.process_time()
        bare_minimum([locate(root, file.path) for file in piece])
        seconds["bare"] += time.process_time() - before
        for crop in ("fan", "full"):
            before = time.process_time()
            write_shard(jobs_of(root, piece, crop), folder / f"{crop}.npz")
            seconds[crop] += time.process_time() - before
            check_frames(folder / f"{crop}.npz", len(piece))
        before = time.process_time()
        seconds["isolated"] += next(watched)[1] + time.process_time() - before  # the supervisor's own work counts
    watched.close()
    return seconds, started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="collection in stage folders")
    parser.add_argument("--files", type=int, default=640, help="files to read, spread over the collection")
    options = parser.parse_args()
    found = find_files(DataConfig(root=options.folder)).files
    files = found[:: max(1, len(found) // options.files)][: options.files]
    with tempfile.TemporaryDirectory() as folder:
        seconds, started = measure(options.folder, files, Path(folder))
    rates = {name: len(files) / spent for name, spent in seconds.items()}
    print(
        json.dumps(
            {
                "ratio": round(rates["fan"] / rates["bare"], 3),
                "ratio_without_crop": round(rates["full"] / rates["bare"], 3),
                "isolation_cost": round(seconds["isolated"] / seconds["fan"] - 1, 3),
                "start_seconds": round(started, 2),
                "images_per_second_and_core": {name: round(rate, 1) for name, rate in rates.items()},
                "files": len(files),
            }
        )
    )


if __name__ == "__main__":
    main()
