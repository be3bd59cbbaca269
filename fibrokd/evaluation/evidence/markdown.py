"""The documents as Markdown: headings, text, and under each part where its figures stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fibrokd.evaluation.evidence.banner import RESEARCH, Banner
from fibrokd.evaluation.evidence.cards import Card, Section
from fibrokd.evaluation.evidence.items import STATUS_WORDS, Answer, Checklist, Source, Status, Words
from fibrokd.evaluation.evidence.links import link
from fibrokd.evaluation.markdown import table

_SIGNS = re.compile(r"([\\`*_\[\]<>])")


def checklist_markdown(checklist: Checklist, answers: Sequence[Answer], top: Banner, run: str) -> str:
    """Return a checklist with its answers.

    Args:
        checklist: The checklist.
        answers: One answer for each item, in order.
        top: The top of the document.
        run: The way to the run folder, see :func:`fibrokd.evaluation.evidence.links.link`.
    """
    rows = [
        [str(status), f"{sum(answer.status is status for answer in answers)}", words]
        for status, words in STATUS_WORDS.items()
    ]
    lines = [*_top(f"{checklist.title}: filled from a run", top), checklist.reference + ".", "", checklist.note, ""]
    lines += [*table(["Status", "Items", "Meaning"], rows), ""]
    given = iter(answers)
    for heading, items in checklist.groups.items():
        lines += [f"## {heading}", ""]
        for item in items:
            lines += _answer(f"### {item.number}. {item.topic}", next(given), run)
    return "\n".join(lines)


def card_markdown(card: Card, top: Banner, run: str) -> str:
    """Return a model card or a data card."""
    lines = [*_top(card.title, top), card.reference + ".", ""]
    for section in card.sections:
        lines += [f'<a id="{section.id}"></a>', "", f"## {section.title}", "", *_section(section, run)]
    return "\n".join(lines)


def index_markdown(title: str, top: Banner, rows: Iterable[tuple[str, str, str]]) -> str:
    """Return the page that leads to the documents.

    Args:
        title: Title of the run.
        top: The top of the document.
        rows: (name of the files without ending, title, what is in it).
    """
    cells = [[f"[{_text(name)}]({file}.md)", f"[{file}.html]({file}.html)", what] for file, name, what in rows]
    return "\n".join([*_top(f"Evidence: {title}", top), *table(["Document", "Page", "What is in it"], cells), ""])


def _top(title: str, top: Banner) -> list[str]:
    lines = [f"# {_text(title)}", ""]
    lines += [f"> **{top.simulated}**", ">"] if top.simulated else []
    lines += [f"> **Verdict on the data: {top.title}.** {top.sentence} {top.accepted}".rstrip(), ">"]
    lines += [f"> - {_text(reason)}" for reason in top.reasons]
    return [*lines, *([">"] if top.reasons else []), f"> {RESEARCH}", ""]


def _answer(heading: str, answer: Answer, run: str) -> list[str]:
    lines = [heading, "", f"**{_marked(answer.status)}**", ""]
    lines += [" ".join(map(_words, answer.said)), ""] if answer.said else []
    lines += [f"**The authors write:** {answer.todo}", ""] if answer.todo else []
    return [*lines, *_see(answer.see, run), *_stand(answer.sources, run)]


def _marked(status: Status) -> str:
    return str(status).capitalize()


def _section(section: Section, run: str) -> list[str]:
    lines = []
    for words in section.said:
        lines += [_words(words), ""] if words else []
    for entry in section.tables:
        lines += [
            f"*{_text(entry.caption)}*",
            "",
            *table(entry.heads, ([_words(cell) for cell in row] for row in entry.rows)),
            "",
        ]
    lines += [*(f"- {_words(words)}" for words in section.points), ""] if section.points else []
    return [*lines, *_see(section.see, run), *_stand(section.sources, run)]


def _see(targets: Sequence[str], run: str) -> list[str]:
    found = ", ".join(f"[{_text(target)}]({link(target, run)})" for target in targets)
    return [f"See {found}.", ""] if found else []


def _stand(sources: Sequence[Source], run: str) -> list[str]:
    """Where the figures stand, folded away: an auditor opens it."""
    if not sources:
        return []
    rows = [[_text(s.shown), f"[{s.file}]({link(s.file, run)})", f"`{_code(s.pointer)}`", s.how] for s in sources]
    heads = ["Figure", "File", "Pointer", "Read as"]
    return [
        "<details>",
        f"<summary>Where the figures stand ({len(sources)})</summary>",
        "",
        *table(heads, rows),
        "",
        "</details>",
        "",
    ]


def _words(words: Words) -> str:
    return "".join(_text(part.shown if isinstance(part, Source) else part) for part in words)


def _text(text: str) -> str:
    """Take their meaning from signs that Markdown would read: names and cards are other people's words."""
    return _SIGNS.sub(r"\\\1", text)


def _code(text: str) -> str:
    return text.replace("`", "'")
