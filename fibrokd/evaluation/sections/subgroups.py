"""Subgroups of the test images: who is staged worse than the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.subgroups.document import SCORES
from fibrokd.evaluation.wording import Cell, Footnotes, bounded, cell, p_value

WORSE, BETTER, SAME, UNKNOWN = "worse", "better", "not told apart", "no interval"
TITLES = {
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "mean_absolute_stage_error": "Mean absolute stage error",
}
_SHOWN = SCORES[0]
_CUTS = {
    "train": "cut into thirds of the training images",
    "all": "cut into thirds of all images",
    "given": "cut as configured",
}


def subgroups(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return one table per fact of the images; ``None`` where nothing is known of them."""
    known = {name: metrics["subgroups"] for name, metrics in inputs.networks.items() if "subgroups" in metrics}
    if not known:
        return None
    facts = list(dict.fromkeys(fact for entry in known.values() for fact in entry))
    parted = [fact for fact in facts if any("groups" in entry.get(fact, {}) for entry in known.values())]
    refused = {fact: entry[fact]["refused"] for entry in known.values() for fact in facts if "refused" in entry[fact]}
    alpha = round(1 - inputs.document["level"], 10)
    return {
        "tables": [_table(inputs, known, fact, alpha) for fact in parted],
        "refused": [f"{_title(fact)}: {why}" for fact, why in refused.items()],
        "worst": [line for fact in parted for line in _worst(inputs, known, fact)],
        "findings": [line for fact in parted for line in _findings(inputs, known, fact, alpha)],
        "compared": sum(
            "p_holm" in group["gap"][_SHOWN]
            for entry in known.values()
            for fact in parted
            for group in entry[fact].get("groups", {}).values()
        ),
        "alpha": f"{alpha:g}",
    }


def _title(fact: str) -> str:
    words = fact.replace("_", " ")
    return words[:1].upper() + words[1:]


def _table(inputs: ReportInputs, known: Mapping[str, Mapping[str, Any]], fact: str, alpha: float) -> PageTable:
    footnotes = Footnotes()
    entries = {name: entry[fact] for name, entry in known.items() if "groups" in entry[fact]}
    rows = []
    for group, counted in next(iter(entries.values()))["groups"].items():
        cells = [shown for entry in entries.values() for shown in _cells(entry["groups"][group], footnotes, alpha)]
        images = f"{counted['images']} images, {counted['clusters']} clusters"
        absent = f"; no {', '.join(counted['absent_stages'])}" if counted["absent_stages"] else ""
        rows.append(Row(group, cells, aside=images + absent))
    columns = [Column(_title(fact))]
    for name in entries:
        title = inputs.title_of(name)
        columns += [Column(title), Column(f"{title}: minus others", short="Minus others")]
    level = f"{100 * inputs.document['level']:g} %"
    cut = next(iter(entries.values())).get("cut_on")
    by = "" if cut is None else f", {_CUTS[cut]}"
    what = f"{TITLES[_SHOWN].lower()}, and how far it is from that of the others, with {level} intervals"
    caption = f"{_title(fact)}{by}: {what}"
    return PageTable(f"Subgroups by {fact.replace('_', ' ')}", caption, columns, rows, notes=footnotes.listed)


def _cells(group: Mapping[str, Any], footnotes: Footnotes, alpha: float) -> Iterator[Cell]:
    yield cell(group[_SHOWN], footnotes, unit_scale=True)
    gap = group["gap"][_SHOWN]
    told = p_value(gap["p_holm"]) if "p_holm" in gap else ""
    yield replace(cell(gap, footnotes, signed=True), verdict=in_words(gap, alpha), aside=told)


def in_words(gap: Mapping[str, Any], alpha: float) -> str:
    """Return whether a subgroup is told from the others by its corrected p-value, and on which side.

    Args:
        gap: Its balanced accuracy minus that of the others.
        alpha: Level of the test.
    """
    if "p_holm" not in gap:
        return "" if gap["value"] is None else UNKNOWN
    if gap["p_holm"] >= alpha:
        return SAME
    return BETTER if gap["value"] > 0 else WORSE


def _worst(inputs: ReportInputs, known: Mapping[str, Mapping[str, Any]], fact: str) -> Iterator[str]:
    """In words, the lowest figure of a fact's comparable subgroups."""
    for name, entry in known.items():
        if "worst" in entry[fact]:
            worst = entry[fact]["worst"]
            figure = bounded(entry[fact]["groups"][worst["group"]][_SHOWN])
            yield f"{inputs.title_of(name)}, {_title(fact).lower()}: {worst['group']} {figure}, of {worst['of']}"


def _findings(inputs: ReportInputs, known: Mapping[str, Mapping[str, Any]], fact: str, alpha: float) -> Iterator[str]:
    """In words, who is staged worse than the others."""
    for name, entry in known.items():
        for group, figures in entry[fact].get("groups", {}).items():
            score = _comparable(figures["gap"])
            gap = figures["gap"][score]
            if in_words(gap, alpha) == WORSE:
                points = f"{-100 * gap['value']:.1f} points ({-100 * gap['high']:.1f} to {-100 * gap['low']:.1f})"
                what = "" if score == _SHOWN else f" in {TITLES[score].lower()}, with other stages than they hold"
                yield f"{inputs.title_of(name)}, {_title(fact).lower()} {group}: {points} below the others{what}."


def _comparable(gaps: Mapping[str, Mapping[str, Any]]) -> str:
    """The first figure that is tested; accuracy stands in where stages differ, as they do where a fact tells them."""
    return next((score for score in (_SHOWN, "accuracy") if "p_holm" in gaps[score]), _SHOWN)
