"""Where ``prepare`` keeps what it has decoded until it is finished, and when that still holds.

Owns the name of the folder of the shards: it changes with everything that decides what is in them, and with nothing
else, so that an attempt under another configuration of groups, splits or controls decodes nothing again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from fibrokd.data.ingest import IngestJob
from fibrokd.data.isolation import WorkerLimits
from fibrokd.data.shards import Shard, ingest_shards
from fibrokd.files import digest_bytes, digest_json

SHARDS = ".shards"
"""Folder of the shards below the run folder; holds names of files, and goes when the step has finished."""


def read_shards(
    jobs: Sequence[IngestJob], digests: Mapping[str, str], out: Path, workers: int, isolation: WorkerLimits | None
) -> list[Shard]:
    """Ingest all files, but for shards that an earlier attempt made of the very same files in the very same way.

    Shards of other attempts are removed: one copy of a collection is enough.

    Args:
        jobs: Files in the order of the manifest; one at least.
        digests: sha256 of every file, by path.
        out: Run folder.
        workers: See :func:`fibrokd.data.shards.ingest_shards`.
        isolation: See :func:`fibrokd.data.shards.ingest_shards`.
    """
    folder = out / SHARDS / _name(jobs, digests)
    for other in (out / SHARDS).glob("*"):
        if other != folder:
            shutil.rmtree(other)
    return ingest_shards(jobs, folder, workers, isolation)


def _name(jobs: Sequence[IngestJob], digests: Mapping[str, str]) -> str:
    """Name that hides what it is made of, for it covers names of files, and keys of two secrets must not mix."""
    first = jobs[0]
    decisive = {
        "files": [[asdict(job.source), digests[job.source.path]] for job in jobs],
        "preprocess": first.preprocess.as_json(),
        "limits": first.limits.as_json(),
        "frames": first.frames.as_json(),
        "without_fan": first.without_fan,
        "clear": first.secret is None,
    }
    return digest_bytes(b"shards" + (first.secret or b"") + digest_json(decisive).encode())[:16]
