"""What the documents are made of: sources, answers, items, checklists, and the tables of cards.

A figure enters a text only as a :class:`Source`, which knows the file and the place it was read from. Nobody types a
number; whoever audits a document follows the pointer and finds the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal

from fibrokd.evaluation.wording import bounded, percent

if TYPE_CHECKING:
    from fibrokd.evaluation.evidence.artefacts import Artefacts


class Status(StrEnum):
    """How far the artefacts of a run answer an item."""

    FILLED = "filled"
    PARTLY = "partly"
    AUTHORS = "for the authors"
    NOT_APPLICABLE = "not applicable"


STATUS_WORDS = {
    Status.FILLED: "The artefacts of the run hold what the item asks for.",
    Status.PARTLY: "The artefacts hold a part; what is missing is named.",
    Status.AUTHORS: "Software cannot know it; what the authors must write is named.",
    Status.NOT_APPLICABLE: "It does not apply to this run; the reason is given.",
}

How = Literal["value", "interval", "percent", "sum", "count", "keys", "rows"]
"""How a source is read: the value itself, a value with its bounds, a share as percent, the sum over an object, the
number of entries of a list, the names in an object, or the number of table rows that the pointer selects."""


@dataclass(frozen=True, eq=False)
class Source:
    """A figure, and where it stands.

    Args:
        file: Path relative to the run folder.
        pointer: JSON pointer (RFC 6901) into that file; of a table ``?column=value&…``.
        how: How it is read.
        value: What was read there, as JSON data.
    """

    file: str
    pointer: str
    how: How
    value: Any

    @property
    def shown(self) -> str:
        """The figure as it is spelled in a text."""
        return spelled(self.value, self.how)

    @property
    def place(self) -> str:
        """What tells it from other sources."""
        return f"{self.file} {self.pointer} {self.how}"


def spelled(value: Any, how: How = "value") -> str:
    """Spell a value for people; the same everywhere, so that an auditor can compare text and file."""
    if how == "interval":
        return "not estimable" if value["value"] is None else bounded(value)
    if how == "percent":
        return percent(value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {spelled(item)}" for name, item in _leaves(value)) or "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(spelled, value)) or "none"
    return str(value)


def _leaves(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, item in data.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


Words = tuple[str | Source, ...]
"""A sentence: plain text, and the figures in it."""


def say(template: str, **figures: Source | str) -> Words:
    """Return a sentence with its figures, ``say("{n} images", n=…)``.

    The template holds no number of its own. A plain string is a name (of a network, a stage, a scanner) that stands in
    the pointer of a figure beside it.
    """
    parts: list[str | Source] = []
    for text, name, _, _ in Formatter().parse(template):
        parts += [text] if text else []
        parts += [figures[name]] if name else []
    return tuple(parts)


def plain(words: Words) -> str:
    """Return a sentence as plain text."""
    return "".join(part.shown if isinstance(part, Source) else part for part in words)


def sources_of(sentences: Iterable[Words]) -> tuple[Source, ...]:
    """Return the sources of sentences, each place once, in order."""
    found = {part.place: part for words in sentences for part in words if isinstance(part, Source)}
    return tuple(found.values())


@dataclass(frozen=True)
class Answer:
    """What the run says to an item.

    Args:
        status: How far it answers.
        said: Sentences with their figures.
        todo: What the authors must write, where anything is left to them.
        see: Places for people to look at, relative to the run folder: pages with an anchor, tables.
    """

    status: Status
    said: tuple[Words, ...] = ()
    todo: str = ""
    see: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All sentences as plain text."""
        return " ".join(map(plain, self.said))

    @property
    def sources(self) -> tuple[Source, ...]:
        """All figures."""
        return sources_of(self.said)


def filled(*said: Words, see: Sequence[str] = ()) -> Answer:
    """The artefacts hold what is asked for."""
    return Answer(Status.FILLED, said, see=tuple(see))


def partly(*said: Words, todo: str, see: Sequence[str] = ()) -> Answer:
    """The artefacts hold a part."""
    return Answer(Status.PARTLY, said, todo, tuple(see))


def for_authors(todo: str, *said: Words, see: Sequence[str] = ()) -> Answer:
    """Software cannot know it; ``said`` is what may help."""
    return Answer(Status.AUTHORS, said, todo, tuple(see))


def not_applicable(*said: Words) -> Answer:
    """The item does not apply, for the reason that is said."""
    return Answer(Status.NOT_APPLICABLE, said)


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Args:
        number: As in the publication.
        topic: What it is about, in our own words.
        answer: What a run says to it.
    """

    number: str
    topic: str
    answer: Callable[[Artefacts], Answer]


@dataclass(frozen=True)
class Checklist:
    """A reporting checklist.

    Args:
        id: Name of its files.
        title: Its name.
        reference: Its publication.
        note: What a reader must know about numbering and wording.
        groups: Heading → items, in the order of the publication.
    """

    id: str
    title: str
    reference: str
    note: str
    groups: Mapping[str, tuple[Item, ...]]

    @property
    def items(self) -> tuple[Item, ...]:
        """All items in order."""
        return tuple(item for group in self.groups.values() for item in group)
