"""Damaged files by the thousand through the isolated reader: no crash, no hang, no file lost from the accounts.

    python -m benchmarks.fuzz_readers [--files 2400] [--seed 0] [--workers 1]

Every kind of file that can be written here is damaged in one or two ways: bits flipped, ends and middles cut, pieces of
another file spliced in, header fields and lengths replaced by lies. The last line is JSON; ``ratio`` is files
accounted for (frames or a refusal) divided by files.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz_material import damaged, whole_files
from fibrokd.data.ingest import IngestJob, IngestResult, ingest
from fibrokd.data.isolation import BLAMES, WorkerLimits
from fibrokd.data.limits import ReadLimits
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.shards import ingest_shards
from fibrokd.data.sources import SourceFile

HANG_SECONDS = 10.0
_TIMES = "times.txt"


@dataclass(frozen=True)
class Account:
    """What became of the files.

    Args:
        frames: Files that could be read.
        refusals: Reason → files.
        slowest_seconds: Longest time that one file took, of those that ended by themselves.
        slowest: Its name.
        deadly: Files that took their worker with them.
    """

    frames: int
    refusals: Counter[str]
    slowest_seconds: float
    slowest: str
    deadly: tuple[str, ...]

    @property
    def accounted(self) -> int:
        """Files that are frames or a refusal."""
        return self.frames + sum(self.refusals.values())


def timed(job: IngestJob) -> IngestResult:
    """Read one file as ``prepare`` does, and note how long it took."""
    began = time.perf_counter()
    result = ingest(job)
    with (job.root / _TIMES).open("a") as stream:
        stream.write(f"{time.perf_counter() - began:.4f} {job.source.path}\n")
    return result


def account(files: Mapping[str, bytes], folder: Path, workers: int = 1) -> Account:
    """Read files in isolation and count what became of them.

    Args:
        files: Content by name.
        folder: Empty folder for files and shards.
        workers: Processes.
    """
    root = folder / "files"
    root.mkdir()
    for name, data in files.items():
        (root / name).write_bytes(data)
    spec = PreprocessSpec(size=64)
    # Frames without a fan are kept: all that comes after the fan must bear damaged pictures, too.
    jobs = [IngestJob(root, SourceFile(n, "F2"), spec, ReadLimits(), without_fan="keep") for n in sorted(files)]
    limits = WorkerLimits(memory_mb=1024, seconds_per_file=HANG_SECONDS)
    shards = ingest_shards(jobs, folder / "shards", workers, limits, timed)
    read = {str(row["path"]) for shard in shards for row in shard.rows}
    refusals = {refusal.path: refusal.reason for shard in shards for refusal in shard.refusals}
    lines = (line.split() for line in (root / _TIMES).read_text().splitlines())
    slowest = max(((float(seconds), name) for seconds, name in lines), default=(0.0, ""))
    reasons = Counter(reason for path, reason in refusals.items() if path not in read)
    deadly = tuple(path for path, reason in refusals.items() if reason in BLAMES and reason != "too_much_memory")
    return Account(len(read), reasons, *slowest, deadly)


def main() -> None:
    """Damage, read, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2400, help="damaged files to read")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    parser.add_argument("--workers", type=int, default=1, help="processes that read")
    parser.add_argument("--keep", type=Path, help="folder for the files that crash or hang")
    options = parser.parse_args()
    whole = whole_files()
    files = damaged(whole, options.files, options.seed)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = account(files, Path(folder), options.workers)
    if not found.frames:
        raise SystemExit("Not one file was read: nothing behind the decoders was tried.")
    print(f"{len(whole)} kinds of files: {', '.join(sorted(whole))}")
    for reason, count in [("read", found.frames), *found.refusals.most_common()]:
        print(f"{count:6d} {reason}")
    for name in found.deadly if options.keep else ():
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / name).write_bytes(files[name])
    print(
        json.dumps(
            {
                "ratio": found.accounted / len(files),
                "files": len(files),
                "accounted": found.accounted,
                "read": found.frames,
                "crashed_or_hung": len(found.deadly),
                "slowest_seconds": round(found.slowest_seconds, 3),
                "slowest": found.slowest,
                "seconds": round(time.perf_counter() - began, 1),
                "seed": options.seed,
            }
        )
    )


if __name__ == "__main__":
    main()
