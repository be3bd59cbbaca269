"""Files: sha256 digests, atomic writes, JSON. A reader sees either the old file or the whole new one.

Knows nothing of steps or records; that is :mod:`fibrokd.artifacts`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fibrokd.errors import ArtifactError

TEMPORARY = ".tmp-"
"""How the names of half-written files begin."""


def digest_bytes(data: bytes) -> str:
    """Return the sha256 of ``data`` as 64 hex characters."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, read in pieces.

    Raises:
        ArtifactError: The file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(
            f"Expected a file at {path}, found none ({error.strerror}).", "Correct the path."
        ) from error


def digest_json(data: Any) -> str:
    """Return the sha256 of JSON data in canonical form (sorted keys, no white space, no NaN)."""
    return digest_bytes(json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it replaces ``path``, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{TEMPORARY}{path.name}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees either the old file or the whole new one."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, readable for people (two spaces, keys in the order given)."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"Expected {path}, found nothing.", "Run the step that writes it first.") from error
    except ValueError as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}).", "Run the step that writes it again.") from error
