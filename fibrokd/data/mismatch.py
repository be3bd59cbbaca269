"""Says why no row of a label table is about any file. Looks at keys only, and shows counts and lengths of them.

What a key says is never shown, for it may be a person's.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fibrokd.data.identities import normalise
from fibrokd.data.labels import LabelTable

_ABSOLUTE = re.compile(r"[/~]|[A-Za-z]:")
_SHORTENED = re.compile(r"\d([.,]\d+)?[eE]\+\d+")  # 1.23457E+11

_Near = tuple[Callable[[str], str], str, str]
# What two keys have in common, what to say of them, and what helps.
_NEAR_PATHS: tuple[_Near, ...] = (
    (
        str.casefold,
        "equal a file's but for upper and lower case",
        "Write paths as the files are called, upper and lower case included.",
    ),
    (
        lambda path: posixpath.splitext(path)[0].casefold(),
        "equal a file's but for what follows the last dot",
        "Write file names with their extensions, as the files have them.",
    ),
    (
        lambda path: posixpath.basename(path).casefold(),
        "equal a file's in the last part, but not in the folders before it",
        "Write paths relative to data.root, folders included, or set data.root to the folder they start from.",
    ),
)
_NEAR_IDENTIFIERS: tuple[_Near, ...] = (
    (
        lambda value: value.lstrip("0"),
        "equal a file's but for leading zeros, which a table program may have dropped",
        "Give the column the format 'text' in the table program before the numbers are entered or imported.",
    ),
    (
        normalise,
        "equal a file's but for upper and lower case, spaces, leading zeros or '.0'",
        "Write identifiers as the files have them; give the column the format 'text' in the table program.",
    ),
)


@dataclass(frozen=True)
class Mismatch:
    """Why nothing matched.

    Args:
        seen: What was found instead, without a full stop.
        todo: What to do about it, in sentences.
    """

    seen: str
    todo: str


def explain_mismatch(labels: LabelTable, found: Sequence[str]) -> Mismatch:
    """Return what distinguishes the keys of a label table from those of the files, where none are equal.

    Args:
        labels: The table.
        found: Key of every file (its path, or the identifier in its header), "" where it has none.
    """
    stated = list(labels.rows)
    if not stated:
        return Mismatch(
            "the label table has no rows below its header", "Give one row per file, patient or study below it."
        )
    if not found:
        return Mismatch("there are no files", "Correct data.root.")
    return _paths(stated, set(found)) if labels.key == "path" else _identifiers(labels.key, stated, found)


def _paths(stated: Sequence[str], found: Collection[str]) -> Mismatch:
    absolute = sum(_ABSOLUTE.match(path) is not None for path in stated)
    if absolute:
        return Mismatch(
            f"{absolute} of {len(stated)} paths in the label table begin at a root or a drive",
            "Write paths relative to data.root, without it.",
        )
    depths = f"the table's paths have {_range(stated, _folders)} folder(s), the files' {_range(found, _folders)}"
    return _near(_NEAR_PATHS, stated, found, f"paths in the label table ({depths})") or Mismatch(
        f"none of {len(stated)} paths in the label table is that of one of {len(found)} files; {depths}",
        "Write paths relative to data.root, as the files are called.",
    )


def _identifiers(key: str, stated: Sequence[str], found: Sequence[str]) -> Mismatch:
    known = {value for value in found if value}
    if not known:
        return Mismatch(
            f"none of {len(found)} files carries a {key}: they are no DICOM files, or it was removed",
            "Say which file a row is about in a column 'path' instead.",
        )
    shortened = sum(_SHORTENED.fullmatch(value) is not None for value in stated)
    if shortened:
        return Mismatch(
            f"{shortened} of {len(stated)} values of {key} are numbers that a table program shortened (…E+…)",
            "Give the column the format 'text' in the table program before the numbers are entered or imported.",
        )
    values = f"{len(stated)} values of {key} in the label table"
    lengths = f"the table's have {_range(stated, len)} characters, the files' {_range(known, len)}"
    return _near(_NEAR_IDENTIFIERS, stated, known, f"values of {key} in the label table ({lengths})") or Mismatch(
        f"none of {values} is one of the {len(known)} that files carry; {lengths}",
        f"Write {key} as the files' headers have it, or say which file a row is about in a column 'path' instead.",
    )


def _near(ways: Sequence[_Near], stated: Sequence[str], found: Collection[str], what: str) -> Mismatch | None:
    for common, said, todo in ways:
        reduced = {common(value) for value in found}
        count = sum(common(value) in reduced for value in stated)
        if count:
            return Mismatch(f"{count} of {len(stated)} {what} {said}", todo)
    return None


def _folders(path: str) -> int:
    return path.count("/")


def _range(values: Collection[str], measure: Callable[[str], int]) -> str:
    numbers = [measure(value) for value in values]
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low}–{high}"
