"""What one recipe reaches under every kind of split, and how far that is from the honest one.

At every level networks were trained anew, and other images are test images: gaps are not paired. They hold the chance
in which patients were tested, not that of training anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fibrokd.evaluation.intervals import Bootstrap, Interval, as_json, metric_interval, unpaired_difference
from fibrokd.evaluation.markdown import table
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.wording import bounded

HONEST = "all"
"""Level that others are compared with: whatever any evidence ties is kept together."""

SCORES = ("accuracy", "balanced_accuracy")
"""Metrics that are told of every level."""

FORMAT = 1
_POINTS = 100
_HEAD = (
    "Balanced accuracy of networks that were trained anew under every split, with intervals over clusters, and the gap "
    "to `{honest}` in points. Test images differ from level to level, and gaps do not count the chance of training "
    "anew. The lookup is cross-validated over the whole collection."
)


def inflation_document(
    samples: Mapping[str, Mapping[str, Bootstrap]], sources: Mapping[str, str], lookups: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what every network reaches at every level, and the gap to the honest one in points.

    Args:
        samples: Trained level → network → its test answers and their resamples, of another seed for every level.
        sources: Level → the trained level that has the very same split: itself, or an earlier one.
        lookups: Level → what the lookup of thumbnails reaches, cross-validated over the collection.
    """
    levels: dict[str, Any] = {}
    for level, source in sources.items():
        honest = {} if source == sources.get(HONEST) else samples.get(sources.get(HONEST, ""), {})
        levels[level] = {
            **({"same_split_as": source} if source != level else {}),
            "networks": {name: _network(own, honest.get(name)) for name, own in samples[source].items()},
            "lookup": {score: lookups[level][score] for score in SCORES if score in lookups.get(level, {})},
        }
    return {"format": FORMAT, "honest": HONEST, "levels": levels}


def _network(own: Bootstrap, honest: Bootstrap | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"images": len(own.predictions), "clusters": own.clusters}
    entry |= {score: as_json(metric_interval(METRICS[score], own)) for score in SCORES}
    return (
        entry if honest is None else entry | {"gap_points": {name: as_json(_gap(name, own, honest)) for name in SCORES}}
    )


def _gap(score: str, own: Bootstrap, honest: Bootstrap) -> Interval:
    found = unpaired_difference(METRICS[score], own, honest)
    value, low, high = (None if number is None else _POINTS * number for number in (found.value, found.low, found.high))
    return replace(found, value=value, low=low, high=high)


def inflation_markdown(document: Mapping[str, Any], stamp: Mapping[str, Any]) -> str:
    """Return the table as Markdown; equal documents give equal text."""
    levels = document["levels"]
    networks = list(dict.fromkeys(name for level in levels.values() for name in level["networks"]))
    head = ["images kept together by", "lookup, nothing learned", *networks]
    rows = [
        (_named(level, found), _lookup(found["lookup"]), *(_told(found["networks"].get(name)) for name in networks))
        for level, found in levels.items()
    ]
    words = _HEAD.format(honest=document["honest"])
    words += " Simulated images (phantom), not patients." if stamp.get("synthetic") else ""
    return "\n".join(["# What leakage adds", "", words, "", *table(head, rows), ""])


def _named(level: str, found: Mapping[str, Any]) -> str:
    return f"{level} (the split of {found['same_split_as']})" if "same_split_as" in found else level


def _lookup(found: Mapping[str, Any]) -> str:
    figure = found.get("balanced_accuracy")
    return "–" if figure is None or figure["value"] is None else bounded(figure)


def _told(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "–"
    if entry["balanced_accuracy"]["value"] is None:
        return "not estimable"
    told = bounded(entry["balanced_accuracy"])
    gap = entry.get("gap_points", {}).get("balanced_accuracy")
    if gap is None or gap["value"] is None:
        return told
    bounds = "no interval" if gap["low"] is None else f"{gap['low']:+.1f} to {gap['high']:+.1f}"
    return f"{told}; {gap['value']:+.1f} ({bounds})"
