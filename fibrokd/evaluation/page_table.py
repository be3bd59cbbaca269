"""Tables of the report as data: what a template draws, and nothing about how.

To show one, return a :class:`PageTable` and call the macro ``page_table`` of ``templates/_macros.html``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fibrokd.evaluation.wording import Cell


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        title: Its heading.
        number: It holds plain numbers, which are aligned to the right.
        short: What stands beside its cells on a phone; by default the heading.
    """

    title: str
    number: bool = False
    short: str = ""


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        head: What it is about.
        cells: One per column after the first.
        aside: What stands smaller behind its head.
        tag: Why the row is marked; empty: it is not.
    """

    head: str
    cells: Sequence[Cell | str]
    aside: str = ""
    tag: str = ""


@dataclass(frozen=True)
class PageTable:
    """One table.

    Args:
        label: What it is called where it is not seen.
        caption: What stands above it.
        columns: Its columns; the first is that of the heads of rows.
        rows: Its rows.
        named: The caption is a name, and set as one.
        notes: (mark, note) below it.
    """

    label: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    named: bool = False
    notes: Sequence[tuple[str, str]] = ()
