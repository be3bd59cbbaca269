"""All documents of a run: name of the file → its text; and evidence.json, the same for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fibrokd.evaluation.evidence.artefacts import Artefacts
from fibrokd.evaluation.evidence.banner import Banner, banner
from fibrokd.evaluation.evidence.cards import Card
from fibrokd.evaluation.evidence.claim import CLAIM
from fibrokd.evaluation.evidence.data_card import data_card
from fibrokd.evaluation.evidence.html import card_html, checklist_html, index_html
from fibrokd.evaluation.evidence.items import Answer, Checklist, Source, Status
from fibrokd.evaluation.evidence.markdown import card_markdown, checklist_markdown, index_markdown
from fibrokd.evaluation.evidence.model_card import model_card
from fibrokd.evaluation.evidence.stard import STARD
from fibrokd.evaluation.evidence.tripod import TRIPOD

FORMAT = 1
CHECKLISTS = (CLAIM, TRIPOD, STARD)
"""The checklists, in the order of the index. To add one: its table in a module of its own, and its place here."""


def documents(run: Artefacts, way: str) -> dict[str, str]:
    """Return name → text of every document; equal artefacts give equal texts.

    Args:
        run: What the run left behind.
        way: From the documents to the run folder, POSIX, ending in ``/``.
    """
    top = banner(run)
    cards = (model_card(run), data_card(run))
    answered = [(checklist, [item.answer(run) for item in checklist.items]) for checklist in CHECKLISTS]
    texts: dict[str, str] = {}
    for card in cards:
        texts[f"{card.id}.md"] = card_markdown(card, top, way)
        texts[f"{card.id}.html"] = card_html(card, top, way)
    for checklist, answers in answered:
        texts[f"{checklist.id}.md"] = checklist_markdown(checklist, answers, top, way)
        texts[f"{checklist.id}.html"] = checklist_html(checklist, answers, top, way)
    rows = [(card.id, card.title, "Figures with their bounds, and where each stands.") for card in cards]
    rows += [(checklist.id, checklist.title, _tally(answers)) for checklist, answers in answered]
    texts["README.md"] = index_markdown(run.title, top, rows)
    texts["index.html"] = index_html(run.title, top, rows)
    data = _data(top, cards, answered, way)
    texts["evidence.json"] = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return texts


def _tally(answers: Sequence[Answer]) -> str:
    counted = (f"{sum(answer.status is status for answer in answers)} {status}" for status in Status)
    return f"{len(answers)} items: {', '.join(counted)}."


def _data(
    top: Banner, cards: Sequence[Card], answered: Sequence[tuple[Checklist, list[Answer]]], way: str
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "run": way,
        "verdict": top.level,
        "simulated": bool(top.simulated),
        "checklists": {
            checklist.id: {
                "title": checklist.title,
                "reference": checklist.reference,
                "note": checklist.note,
                "counts": {str(status): sum(answer.status is status for answer in answers) for status in Status},
                "items": {
                    item.number: {
                        "topic": item.topic,
                        "status": str(answer.status),
                        "text": answer.text,
                        "for_the_authors": answer.todo,
                        "see": list(answer.see),
                        "sources": _sources(answer.sources),
                    }
                    for item, answer in zip(checklist.items, answers, strict=True)
                },
            }
            for checklist, answers in answered
        },
        "cards": {
            card.id: {
                "title": card.title,
                "sections": {
                    section.id: {"title": section.title, "sources": _sources(section.sources)}
                    for section in card.sections
                },
            }
            for card in cards
        },
    }


def _sources(sources: Sequence[Source]) -> list[dict[str, Any]]:
    return [
        {"file": s.file, "pointer": s.pointer, "read_as": s.how, "value": s.value, "shown": s.shown} for s in sources
    ]
