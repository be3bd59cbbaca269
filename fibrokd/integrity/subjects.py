"""Subjects from outside: a table that says whose picture a file is, where names and headers do not.

Owns how such a table is matched to files: by relative path, or by the MD5 of the file's bytes, which recognises a
published download whatever its folders are called now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from fibrokd.config import Config
from fibrokd.data.prepared import read_table
from fibrokd.data.sources import SourceFile
from fibrokd.data.walking import StatedPaths, locate
from fibrokd.errors import LabelError
from fibrokd.progress import track


class SubjectsConfig(Config):
    """Where the subjects are written down."""

    table: Path
    """CSV with a column ``subject`` and ``path`` (relative to the data root) or ``published_md5``."""

    match: Literal["path", "md5"] = "path"
    """``md5`` compares the bytes with the column ``published_md5``."""


def with_subjects(
    files: Sequence[SourceFile], root: Path, config: SubjectsConfig | None
) -> tuple[tuple[SourceFile, ...], int]:
    """Return the files with the subject as patient key wherever the table names one, and how many were matched.

    Args:
        files: Files of the collection.
        root: Data root.
        config: Table and way of matching; ``None`` changes nothing.

    Raises:
        LabelError: The table is missing, lacks its columns, or matches not one file.
    """
    if config is None:
        return tuple(files), 0
    subjects = _read(config)
    if config.match == "path":
        stated = StatedPaths(subjects)
        keys = [stated.find(file.path) for file in files]
    else:
        keys = [_md5(locate(root, file.path)) for file in track(files, "recognising files", len(files), "files")]
    matched = sum(key in subjects for key in keys)
    if not matched:
        raise LabelError(
            f"Expected {config.table.name} to know files of the collection by {config.match}, "
            f"found none of {len(files)}.",
            "Set subjects.match to path or md5, whichever the table and the files have in common.",
        )
    named = (
        replace(file, patient=subjects[key]) if key in subjects else file for file, key in zip(files, keys, strict=True)
    )
    return tuple(named), matched


def _read(config: SubjectsConfig) -> dict[str, str]:
    column = "path" if config.match == "path" else "published_md5"
    try:
        table = read_table(config.table)
    except (OSError, ValueError) as error:
        raise LabelError(
            f"Expected a CSV of subjects at {config.table}, could not read one ({type(error).__name__}).",
            "Correct subjects.table.",
        ) from error
    missing = [name for name in (column, "subject") if name not in table.columns]
    if missing:
        raise LabelError(
            f"Expected columns {column!r} and 'subject' in {config.table.name}, found no {' and no '.join(missing)}.",
            "Correct the table, or set subjects.match.",
        )
    return {key: subject for key, subject in zip(table[column], table["subject"], strict=True) if key and subject}


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError:
        return ""  # reading it for its pixels will quarantine it with the reason
