"""Checks a table of labels: which key says which stage. Must not look at image files.

A table of labels is full of names. One without a header, or with a shifted column, has them where other words are
expected: messages give lines and numbers, and quote nothing that could be a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fibrokd.data.label_file import Line, read_lines
from fibrokd.data.walking import as_posix
from fibrokd.errors import LabelError, TableError
from fibrokd.stages import StageScale

KEYS = ("path", "PatientID", "StudyUID")
"""Columns that can say which file a row is about; the first one present counts, for every row."""

FACTS = ("patient", "study", "site", "scanner")
"""Columns that a table may have besides."""

_COLUMNS = {name.casefold(): name for name in (*KEYS, "stage", *FACTS)}
_QUOTABLE = re.compile(r"[A-Za-z]{0,3} ?\d{1,2}")  # F5, S 2, 7: nobody is called so


@dataclass(frozen=True)
class LabelRow:
    """One row.

    Args:
        line: Line of the file, the header being line 1.
        values: Text by column name; only of columns that are known.
    """

    line: int
    values: Mapping[str, str]


@dataclass(frozen=True)
class LabelTable:
    """A checked table of labels.

    Args:
        name: File name, for messages.
        key: One of :data:`KEYS`.
        rows: Rows by the value of their key, in file order.
    """

    name: str
    key: str
    rows: Mapping[str, LabelRow]


def read_labels(path: Path, scale: StageScale, facts: Sequence[str] = ()) -> LabelTable:
    """Read a CSV with a column ``stage`` and one of :data:`KEYS`; upper and lower case of columns do not differ.

    Rows without any value are passed over.

    Args:
        path: The CSV, see :func:`label_file.read_lines`.
        scale: Stage scale that every stage must be on.
        facts: Further columns that are kept.

    Returns:
        The table; it may have no rows.

    Raises:
        LabelError: It is missing, no CSV, or has no usable columns.
        TableError: Stages are unknown, keys are empty or repeated, or rows have more values than there are columns;
            all such rows are listed.
    """
    wanted = _COLUMNS | {name.casefold(): name for name in facts}
    header, *lines = read_lines(path, wanted.keys())
    columns = _columns(header, path, wanted)
    _require(facts, columns, path)
    key = next(name for name in KEYS if name in columns)
    rows = [_row(line, columns, key, wanted) for line in lines]
    checks = _Checks(key, scale)
    for line, row in zip(lines, rows, strict=True):
        checks.look_at(row, [value for value in line.values[len(columns) :] if value.strip()])
    checks.finish(path.name, [name for name in KEYS if name in columns])
    return LabelTable(path.name, key, {row.values[key]: row for row in rows})


def _require(facts: Sequence[str], columns: Sequence[str], path: Path) -> None:
    missing = [name for name in facts if name not in columns]
    if missing:
        raise LabelError(
            f"Expected the columns {', '.join(facts)} that data.facts asks for in {path} (in any case), found no "
            f"{', '.join(missing)} among its {len(columns)} column(s).",
            "Correct data.facts, or name these columns so in the first line.",
        )


def _columns(header: Line, path: Path, wanted: Mapping[str, str]) -> list[str]:
    """Names of the columns, the known ones spelled as they are here."""
    names = [value.strip() for value in header.values]
    columns = [wanted.get(name.casefold(), name) for name in names]
    known = Counter(name for name in columns if name in wanted.values())
    if "stage" not in known or not known.keys() & set(KEYS):
        raise LabelError(
            f"Expected columns 'stage' and one of {', '.join(KEYS)} in {path} (in any case), found {len(columns)} "
            f"column(s), of which known: {', '.join(known) or 'none'}.",
            "Name these columns so in the first line; the others may be called anything.",
        )
    twice = [name for name, count in known.items() if count > 1]
    if twice:
        raise LabelError(
            f"Expected every column once in {path}, found {', '.join(twice)} several times (upper and lower case do "
            "not differ).",
            "Rename or remove all but one.",
        )
    return columns


def _row(line: Line, columns: Sequence[str], key: str, wanted: Mapping[str, str]) -> LabelRow:
    given = dict(zip(columns, line.values, strict=False))  # values may be missing at the end
    values = {name: given.get(name, "") for name in columns if name in wanted.values()}
    values[key] = as_posix(values[key].strip()) if key == "path" else values[key].strip()
    return LabelRow(line.number, values)


class _Checks:
    """Problems of the rows looked at so far, and what helps against each kind."""

    def __init__(self, key: str, scale: StageScale) -> None:
        self._key = key
        self._scale = scale
        self._first: dict[str, LabelRow] = {}
        self._problems: list[str] = []
        self._kinds: set[str] = set()

    def look_at(self, row: LabelRow, beyond: Sequence[str]) -> None:
        """Check one row; ``beyond`` are its values that stand under no column."""
        value, stage = row.values[self._key], row.values["stage"].strip()
        if self._scale.try_parse(stage) is None:
            said = f"stage {stage!r}" if _QUOTABLE.fullmatch(stage) else "the stage" if stage else "an empty stage"
            self._add("stage", row, f"{said} is not one of {', '.join(self._scale.names)}")
        if not value:
            self._add("empty", row, f"{self._key} is empty")
        elif value in self._first:
            self._add("repeated", row, f"same {self._key} as line {self._repeated(row)}")
        if beyond:
            self._add("beyond", row, f"{len(beyond)} value(s) more than there are columns")
        self._first.setdefault(value, row)

    def finish(self, name: str, keys: Sequence[str]) -> None:
        """Raise :class:`TableError` where there are problems; ``keys`` are those that the table has."""
        ways = {
            "stage": "a row whose stage is unknown or not on the scale has to be left out (its files are then set "
            "aside and listed in unmatched.csv)",
            "empty": f"fill in {self._key}"
            + (f", or take this column out to go by {keys[1]}: it counts before it" if len(keys) > 1 else ""),
            "repeated": "keep one row of each key, the one that is right",
            "beyond": "put values that hold the separator between quotation marks",
        }
        if self._problems:
            todo = "; ".join(way for kind, way in ways.items() if kind in self._kinds)
            raise TableError(name, self._problems, f"Correct these rows: {todo}.")

    def _repeated(self, row: LabelRow) -> str:
        first = self._first[row.values[self._key]]
        stages = [self._scale.try_parse(each.values["stage"]) for each in (first, row)]
        if None in stages:
            return f"{first.line}"
        return f"{first.line}, {'with the same' if stages[0] == stages[1] else 'but another'} stage"

    def _add(self, kind: str, row: LabelRow, problem: str) -> None:
        self._kinds.add(kind)
        self._problems.append(f"line {row.line}: {problem}")
