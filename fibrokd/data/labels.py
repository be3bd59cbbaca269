"""Reads and checks a table of labels: which key says which stage. Must not look at image files.

A table of labels is full of names. One without a header, or with a shifted column, has them where other words are
expected: messages give lines and numbers, and quote nothing that could be a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fibrokd.data.prepared import read_table
from fibrokd.data.walking import as_posix
from fibrokd.errors import LabelError, TableError
from fibrokd.stages import StageScale

KEYS = ("path", "PatientID", "StudyUID")
"""Columns that can say which file a row is about; the first one present counts."""

FACTS = ("patient", "study", "site", "scanner")
"""Columns that a table may have besides."""

_QUOTABLE = re.compile(r"[A-Za-z]{0,3} ?\d{1,2}|")  # F5, S 2, 7, or nothing at all: nobody is called so


@dataclass(frozen=True)
class LabelRow:
    """One row.

    Args:
        line: Line of the file, the header being line 1.
        values: Text by column name.
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


def read_labels(path: Path, scale: StageScale) -> LabelTable:
    """Read a CSV with a column ``stage`` and one of :data:`KEYS`.

    Args:
        path: The CSV.
        scale: Stage scale that every stage must be on.

    Raises:
        LabelError: It is missing, no CSV, or has no usable columns.
        TableError: Stages are unknown, or keys are empty or repeated; all such rows are listed.
    """
    try:
        table = read_table(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise LabelError(
            f"Expected a CSV of labels at {path}, could not read one ({type(error).__name__}).", "Correct data.labels."
        ) from error
    key = next((name for name in KEYS if name in table.columns), None)
    if key is None or "stage" not in table.columns:
        known = [name for name in (*KEYS, "stage", *FACTS) if name in table.columns]
        raise LabelError(
            f"Expected columns 'stage' and one of {', '.join(KEYS)} in {path}, found {len(table.columns)} column(s), "
            f"of which known: {', '.join(known) or 'none'}.",
            "Name the columns in the first line.",
        )
    table[key] = table[key].str.strip()
    if key == "path":
        table[key] = table[key].map(as_posix)
    rows = [LabelRow(line, {str(k): str(v) for k, v in row.items()}) for line, row in enumerate(_records(table), 2)]
    _check(rows, key, scale, path.name)
    return LabelTable(path.name, key, {row.values[key]: row for row in rows})


def _records(table: pd.DataFrame) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]


def _check(rows: list[LabelRow], key: str, scale: StageScale, name: str) -> None:
    problems = []
    first_line: dict[str, int] = {}
    for row in rows:
        value, stage = row.values[key], row.values["stage"]
        if scale.try_parse(stage) is None:
            said = f"stage {stage!r}" if _QUOTABLE.fullmatch(stage) else "the stage"
            problems.append(f"line {row.line}: {said} is not one of {', '.join(scale.names)}")
        if not value:
            problems.append(f"line {row.line}: {key} is empty")
        elif value in first_line:
            problems.append(f"line {row.line}: same {key} as line {first_line[value]}")
        first_line.setdefault(value, row.line)
    if problems:
        raise TableError(name, problems, "Correct these rows; every key must occur once.")
