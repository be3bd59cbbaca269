"""The documents as HTML: self-contained pages without scripts, which load nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fibrokd.evaluation.evidence.banner import RESEARCH, Banner
from fibrokd.evaluation.evidence.cards import Card
from fibrokd.evaluation.evidence.items import STATUS_WORDS, Answer, Checklist, Source
from fibrokd.evaluation.evidence.links import link
from fibrokd.evaluation.report import TEMPLATES

STYLES = ("report.css", "evidence.css")


def checklist_html(checklist: Checklist, answers: Sequence[Answer], top: Banner, run: str) -> str:
    """Return a checklist with its answers; arguments as in the Markdown."""
    given = iter(answers)
    groups = [(heading, [(item, next(given)) for item in items]) for heading, items in checklist.groups.items()]
    counts = [
        (status, sum(answer.status is status for answer in answers), words) for status, words in STATUS_WORDS.items()
    ]
    return _render(
        "evidence_checklist.html",
        f"{checklist.title}: filled from a run",
        top,
        run,
        checklist=checklist,
        groups=groups,
        counts=counts,
    )


def card_html(card: Card, top: Banner, run: str) -> str:
    """Return a model card or a data card."""
    return _render("evidence_card.html", card.title, top, run, card=card)


def index_html(title: str, top: Banner, rows: Sequence[tuple[str, str, str]]) -> str:
    """Return the page that leads to the documents; rows as in the Markdown."""
    return _render("evidence_index.html", f"Evidence: {title}", top, "", rows=rows)


def _render(template: str, title: str, top: Banner, run: str, **data: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLES)
    environment.filters["is_figure"] = lambda part: isinstance(part, Source)
    environment.globals["anchors"] = _anchors
    environment.globals["link"] = lambda target: link(target, run)
    return environment.get_template(template).render(
        title=title,
        style=Markup(style),  # noqa: S704  # files of this package
        top=top,
        research=RESEARCH,
        **data,
    )


def _anchors(sources: Sequence[Source], part: str) -> dict[str, str]:
    """Place of a source → the anchor of its row."""
    return {source.place: f"{part}-figure-{number}" for number, source in enumerate(sources, start=1)}
