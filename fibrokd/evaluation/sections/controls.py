"""What a lookup table reaches at each level of grouping, and what is left of the networks' own figures there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.lookup import judgement, lookups, own_lookup
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.shortcuts import SHORTCUTS, shortcuts_of
from fibrokd.evaluation.wording import LEVELS, Cell, Footnotes, cell, percent

JUDGEMENTS = {
    "beats": "beats the lookup",
    "not shown": "higher, but not shown to beat the lookup (intervals overlap or are missing)",
    "does not beat": "does not beat the lookup",
}

WITHOUT = {
    "all": "without any relative",
    "subject": "of other subjects",
    "content": "without an identical image",
    "stem": "without an image of the same file name",
}
"""Level → which test images are left at it; the strictest first."""

Levels = Mapping[str, Mapping[str, Any]]


def controls(inputs: ReportInputs) -> dict[str, Any]:
    """Return the lookup per level, the judgement per network, and every network at every level."""
    footnotes = Footnotes()
    own = own_lookup(inputs)
    rows = [
        {
            "level": LEVELS.get(found.level, found.level),
            "own": found.own_level,
            "twins": percent(found.twin_in_train),
            "accuracy": cell(found.accuracy, footnotes, unit_scale=True),
        }
        for found in lookups(inputs)
    ]
    networks = [
        {
            "title": inputs.title_of(name),
            "accuracy": cell(metrics["accuracy"], footnotes, unit_scale=True),
            "judgement": JUDGEMENTS[judgement(metrics["accuracy"], own)] if own else "not comparable",
        }
        for name, metrics in inputs.networks.items()
    ]
    return {
        "copies": percent(inputs.copies_in_train),
        "rows": rows,
        "networks": networks,
        "comparable": own is not None,
        "notes": footnotes.listed,
        "line": inflation_line(inputs),
        "shortcuts": _shortcuts(inputs),
        "inflation": _inflation(inputs),
    }


def _shortcuts(inputs: ReportInputs) -> PageTable | None:
    """What is reached on this very split without opening a picture, and how much better the networks are."""
    found = shortcuts_of(inputs)
    if not found:
        return None
    footnotes = Footnotes()
    rows = []
    for name, entry in found.items():
        less = [
            cell(entry["networks_less_this"][network]["accuracy"], footnotes, signed=True)
            for network in inputs.networks
        ]
        rows.append(Row(SHORTCUTS[name].title, [cell(entry["figures"]["accuracy"], footnotes, unit_scale=True), *less]))
    level = f"{100 * inputs.document['level']:g} %"
    columns = [
        Column("Shortcut"),
        Column("Its accuracy"),
        *(Column(f"{inputs.title_of(name)} less it") for name in inputs.networks),
    ]
    return PageTable(
        "Networks against shortcuts",
        f"Shortcuts that learned from the training images of this very split, with {level} intervals; differences in "
        "accuracy are paired",
        columns,
        rows,
        notes=footnotes.listed,
    )


# --------------------------------------------------------------------------- the gap in words
def inflation_line(inputs: ReportInputs) -> dict[str, str]:
    """Return in words what is left of the networks' accuracy without relatives of what they learned from."""
    found = _levels(inputs)
    if not found:
        text = "How much of these figures rests on relatives of training images was not measured"
        return {"kind": "unknown", "text": f"{text}: prepare the images again to have it measured."}
    levels = next(iter(found.values()))
    related = {level: row["related"]["images"] for level, row in levels.items()}
    among = f"among the {' or '.join(_SOURCES[name] for name in _learned_from(inputs))} images"
    if not any(related.values()):
        unknown = "" if "subject" in levels else " Too few patients are known to check that level."
        text = f"No {inputs.split} image has a relative {among} at any level: nothing to inflate.{unknown}"
        return {"kind": "beats", "text": text}
    if not related["all"]:
        text = f"No {inputs.split} image has a relative {among} by all evidence; {related['stem']:,} have nothing in "
        return {"kind": "unknown", "text": f"{text}common with one but the file name, in another folder."}
    share = related["all"] / (related["all"] + levels["all"]["images"])
    text = f"{percent(share)} of the {inputs.split} images have a relative by all evidence {among}."
    level = next((name for name in WITHOUT if name in levels and _gap(levels, name)["value"] is not None), None)
    if level is None or not related[level]:
        return {"kind": "fails", "text": f"{text} Too few are left to say what the networks reach without them."}
    falls = "; ".join(_falls(inputs.title_of(name), own, level) for name, own in found.items())
    stricter = "" if level == "all" else " At stricter levels too few are left to say."
    gaps = [_gap(own, level) for own in found.values()]
    shown = any(gap["value" if gap["low"] is None else "low"] > 0 for gap in gaps)
    stricter += "" if shown else " No interval of a gap lies above zero."
    text = f"{text} Accuracy on the {levels[level]['images']:,} {WITHOUT[level]} there: {falls}.{stricter}"
    return {"kind": "fails" if shown else "unsure", "text": text}


_SOURCES = {"train": "training", "val": "validation"}


def _levels(inputs: ReportInputs) -> dict[str, Levels]:
    """Network → level → figures, of the networks that have them."""
    measured = {name: metrics.get("inflation") for name, metrics in inputs.networks.items()}
    return {name: found["levels"] for name, found in measured.items() if found}


def _learned_from(inputs: ReportInputs) -> list[str]:
    return next(list(m["inflation"]["learned_from"]) for m in inputs.networks.values() if "inflation" in m)


def _gap(levels: Levels, level: str) -> Mapping[str, Any]:
    gap: Mapping[str, Any] = levels[level]["gap_points"]["accuracy"]
    return gap


def _falls(title: str, levels: Levels, level: str) -> str:
    left, gap = levels[level]["accuracy"]["value"], _gap(levels, level)
    return f"{title} {left:.3f} instead of {left + gap['value'] / 100:.3f}, {_points(gap)}"


def _points(gap: Mapping[str, Any]) -> str:
    """Spell a gap in points with its interval."""
    if gap["value"] is None:
        return "gap not estimable"
    value, low, high = (None if gap[key] is None else f"{gap[key]:+.1f}" for key in ("value", "low", "high"))
    bounds = "no interval" if low is None else f"{low} to {high}"
    return f"gap {value} points ({bounds})".replace("-", "−")


# --------------------------------------------------------------------------- the tables
def _inflation(inputs: ReportInputs) -> dict[str, Any] | None:
    found = _levels(inputs)
    if not found:
        return None
    footnotes = Footnotes()
    lookup = {each.level: cell(each.accuracy, footnotes, unit_scale=True) for each in lookups(inputs)}
    levels = next(iter(found.values()))
    return {
        "split": inputs.split,
        "level": f"{100 * inputs.document['level']:g} %",
        "networks": [inputs.title_of(name) for name in found],
        "rows": [
            {
                "level": LEVELS.get(level, level),
                "own": level == inputs.stamp.get("grouping"),
                "left": _count(row),
                "lookup": lookup.get(level),
                "cells": [_both(own[level], "accuracy", footnotes) for own in found.values()],
            }
            for level, row in levels.items()
        ],
        "related": [
            {
                "network": inputs.title_of(name),
                "level": LEVELS.get(level, level),
                "left": _both(row, "balanced_accuracy", footnotes),
                "count": _count(row["related"]),
                "accuracy": cell(row["related"]["accuracy"], footnotes, unit_scale=True),
                "balanced": cell(row["related"]["balanced_accuracy"], footnotes, unit_scale=True),
            }
            for name, own in found.items()
            for level, row in own.items()
            if row["related"]["images"]
        ],
        "notes": footnotes.listed,
    }


def _count(portion: Mapping[str, Any]) -> str:
    if not portion["images"]:
        return "none"
    return f"{portion['images']:,} in {portion['clusters']:,} cluster{'s' if portion['clusters'] != 1 else ''}"


def _both(row: Mapping[str, Any], metric: str, footnotes: Footnotes) -> tuple[Cell, str]:
    """Return the figure on the images left, and the gap in words."""
    gap = row["gap_points"][metric]
    words = "" if gap["value"] is None else _points(gap)
    if not row["related"]["images"]:
        words = "all images: no gap"
    return cell(row[metric], footnotes, unit_scale=True), words
