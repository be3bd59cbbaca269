"""First screen: what was evaluated, whether to believe it, the headline, and what not to conclude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.lookup import Lookup, judgement, own_lookup
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.sections.confusion import matrix_of
from fibrokd.evaluation.wording import (
    Footnotes,
    alarms,
    cell,
    grouping_words,
    listing,
    not_to_conclude,
    verdict_words,
)

ELSEWHERE = "Networks were trained on another collection; images that they had seen before were left out."
LOOKUP_TITLE = "Lookup table: nearest training thumbnail, nothing learned"


def overview(inputs: ReportInputs) -> dict[str, Any]:
    """Return the data of the first screen."""
    level, title, sentence = verdict_words(inputs.stamp)
    footnotes = Footnotes()
    lookup = own_lookup(inputs)
    rows = [_row(inputs, name, metrics, footnotes) for name, metrics in inputs.networks.items()]
    any_network = next(iter(inputs.networks.values()))
    return {
        "images": f"{any_network['images']:,}",
        "clusters": f"{any_network['clusters']:,}",
        "cluster_words": inputs.document["bootstrap"]["clusters"],
        "synthetic": inputs.synthetic,
        "networks": [inputs.title_of(name) for name in inputs.networks],
        "verdict": {"level": level, "title": title, "sentence": sentence},
        "reasons": [str(reason) for reason in inputs.stamp.get("reasons", [])],
        "grouping": ELSEWHERE if inputs.external is not None else grouping_words(inputs.stamp),
        "lookup_line": _lookup_line(inputs, lookup),
        "alarms": alarms(inputs),
        "columns": [METRICS[name].title for name in HEADLINE],
        "rows": rows,
        "lookup": _lookup_row(lookup, footnotes) if lookup else None,
        "notes": footnotes.listed,
        "stages": inputs.scale,
        "matrix": matrix_of(inputs, inputs.parts[-1]),
        "matrix_words": _others(len(inputs.parts)),
        "level": f"{100 * inputs.document['level']:g} %",
        "chance": f"{1 / len(inputs.scale):.2f}",
        "not_to_conclude": not_to_conclude(inputs.stamp, inputs.external is not None),
    }


def _others(networks: int) -> str:
    return f"The last of the {networks} networks; the others stand below." if networks > 1 else ""


def _row(inputs: ReportInputs, name: str, metrics: Mapping[str, Any], footnotes: Footnotes) -> dict[str, Any]:
    return {
        "title": inputs.title_of(name),
        "name": name,
        "parameters": f"{inputs.document['networks'][name]['parameters']:,}",
        "cells": [cell(metrics[metric], footnotes, unit_scale=True) for metric in HEADLINE],
    }


def _lookup_row(lookup: Lookup, footnotes: Footnotes) -> dict[str, Any]:
    scores = [lookup.scores.get(metric) for metric in HEADLINE]
    cells = [cell(score, footnotes, unit_scale=True) if score else None for score in scores]
    return {"title": LOOKUP_TITLE, "cells": cells}


def _lookup_line(inputs: ReportInputs, lookup: Lookup | None) -> dict[str, str]:
    if lookup is None:
        text = "Whether a lookup table does as well was not measured for this kind of split."
        return {"kind": "unknown", "text": text}
    judged = {name: judgement(metrics["accuracy"], lookup) for name, metrics in inputs.networks.items()}
    failing = [inputs.title_of(name) for name, found in judged.items() if found == "does not beat"]
    unsure = [inputs.title_of(name) for name, found in judged.items() if found == "not shown"]
    reached = f"accuracy {lookup.accuracy['value']:.3f}"
    if failing:
        verb = "does" if len(failing) == 1 else "do"
        text = f"{listing(failing)} {verb} not beat a lookup table that learns nothing ({reached})."
        return {"kind": "fails", "text": text}
    if unsure:
        verb = "is" if len(unsure) == 1 else "are"
        text = f"{listing(unsure)} {verb} not shown to beat a lookup table that learns nothing ({reached})."
        return {"kind": "unsure", "text": text}
    return {"kind": "beats", "text": f"Every network beats a lookup table that learns nothing ({reached})."}
