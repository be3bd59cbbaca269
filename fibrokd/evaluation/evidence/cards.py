"""What cards are made of: sections with paragraphs, tables and lists, whose figures are sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fibrokd.evaluation.evidence.items import Source, Words, sources_of


@dataclass(frozen=True)
class Table:
    """A table of a card: the first cell of a row is its head."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Words, ...], ...]


@dataclass(frozen=True)
class Section:
    """One part of a card.

    Args:
        id: Anchor.
        title: Its heading.
        said: Paragraphs.
        tables: Tables below them.
        points: A list below those.
        see: Places for people to look at, relative to the run folder.
    """

    id: str
    title: str
    said: tuple[Words, ...] = ()
    tables: tuple[Table, ...] = ()
    points: tuple[Words, ...] = ()
    see: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """All figures."""
        cells = (cell for table in self.tables for row in table.rows for cell in row)
        return sources_of((*self.said, *cells, *self.points))


@dataclass(frozen=True)
class Card:
    """A model card or a data card."""

    id: str
    title: str
    reference: str
    sections: tuple[Section, ...]


def facts(caption: str, rows: Sequence[tuple[str, Source]]) -> Table:
    """Return a table of two columns."""
    return Table(caption, ("What", "Value"), tuple(((name,), (value,)) for name, value in rows))
