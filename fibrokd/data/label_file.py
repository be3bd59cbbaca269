"""Reads the lines of a label table, however a table program wrote them. Must not know what columns mean.

Table programs of different countries separate values by comma, semicolon or tab, and not all write UTF-8. A table of
labels is full of names: messages say which line is wrong and never what it says.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from fibrokd.errors import LabelError

SEPARATORS = (",", ";", "\t")
"""What may stand between values; where the first line does not decide, the first of them."""

_SAVE_AS = 'Save the table as "CSV UTF-8" (in a table program: Save as, file type) and give that file as data.labels.'
# Files that are no text, by their first bytes.
_KNOWN_BYTES = {
    b"\xff\xfe": "a UTF-16 text",
    b"\xfe\xff": "a UTF-16 text",
    b"PK\x03\x04": "a workbook or an archive",
    b"\xd0\xcf\x11\xe0": "an old workbook",
}


@dataclass(frozen=True)
class Line:
    """One line with values.

    Args:
        number: Number of the (first) line in the file, the file's first line being 1.
        values: Values as they stand there, quotation marks taken away.
    """

    number: int
    values: tuple[str, ...]


def read_lines(path: Path, known: Collection[str]) -> list[Line]:
    """Read all lines that hold a value; the first of them is the header.

    Args:
        path: Comma-, semicolon- or tab-separated values in UTF-8, with or without a byte order mark.
        known: Lower-case names of columns: the separator is the one by which the header has the most of them.

    Raises:
        LabelError: There is no such file, it is no UTF-8 text, quotation marks do not close, or it is empty.
    """
    text = _text(path)
    lines = list(_lines(text, _separator(text, known), path))
    if not lines:
        raise LabelError(
            f"Expected a table of labels in {path}, found an empty file.",
            "Name the columns in its first line and give one row per file, patient or study below.",
        )
    return lines


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise LabelError(
            f"Expected a table of labels at {path}, found no such file.",
            "Correct data.labels; a relative path is looked up below data.root first, then in the current folder.",
        ) from error
    except OSError as error:
        raise LabelError(
            f"Expected a table of labels at {path}, could not read it ({error.strerror}).", "Correct data.labels."
        ) from error
    kind = next((kind for start, kind in _KNOWN_BYTES.items() if data.startswith(start)), "")
    if kind or b"\x00" in data:
        raise LabelError(f"Expected UTF-8 text in {path}, found {kind or 'bytes that are no text'}.", _SAVE_AS)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise LabelError(f"Expected UTF-8 text in {path}, but line {number} is not UTF-8.", _SAVE_AS) from error


def _separator(text: str, known: Collection[str]) -> str:
    """The separator by which the first line has the most known columns, then the most columns."""
    header = next((line for line in text.splitlines() if line.strip()), "")

    def columns(separator: str) -> tuple[int, int]:
        values = next(csv.reader([header], delimiter=separator), [])
        return len({value.strip().casefold() for value in values} & set(known)), len(values)

    return max(SEPARATORS, key=columns)  # the earliest of equals


def _lines(text: str, separator: str, path: Path) -> Iterator[Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = 1
    try:
        for values in reader:
            if any(value.strip() for value in values):
                yield Line(number, tuple(values))
            number = reader.line_num + 1
    except csv.Error as error:
        raise LabelError(
            f"Expected a table of labels in {path}, could not read the row that begins in line {number}.",
            "Look for a quotation mark there that does not close, or that stands inside a value (write it twice).",
        ) from error
