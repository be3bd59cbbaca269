"""A table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table, for GitHub's Markdown.

    Args:
        heads: Titles of the columns.
        rows: Cells, as many as there are heads in every row; a ``|`` in one is escaped, a line break becomes a space.

    Raises:
        ValueError: A row has more or fewer cells than there are heads.
    """
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"expected {len(heads)} cells, found {len(row)}: {row}")
        lines.append(_line(row))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
