"""First screen: what was evaluated, whether to believe it, the headline, and what not to conclude."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.lookup import Lookup, judgement, own_lookup
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.sections.confusion import matrix_of
from fibrokd.evaluation.shortcuts import SHORTCUTS, judged, shortcuts_of
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
        "lookup_line": _first_line(inputs, lookup),
        "alarms": alarms(inputs),
        "columns": [METRICS[name].title for name in HEADLINE],
        "rows": rows,
        "controls": _control_rows(inputs, lookup, footnotes),
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


def _control_rows(inputs: ReportInputs, lookup: Lookup | None, footnotes: Footnotes) -> list[dict[str, Any]]:
    """What is reached without looking at a liver, in the columns of the networks."""
    measured = {LOOKUP_TITLE: lookup.scores} if lookup else {}
    measured |= {SHORTCUTS[name].title: found["figures"] for name, found in shortcuts_of(inputs).items()}
    rows = []
    for title, scores in measured.items():
        cells = [cell(scores[name], footnotes, unit_scale=True) if name in scores else None for name in HEADLINE]
        rows.append({"title": title, "cells": cells})
    return rows


def _first_line(inputs: ReportInputs, lookup: Lookup | None) -> dict[str, str]:
    """Say which networks do not beat, or are not shown to beat, what knows nothing of livers."""
    against: dict[str, dict[str, str]] = {}
    if lookup is not None:
        words = f"a lookup table that learns nothing (accuracy {lookup.accuracy['value']:.3f})"
        against[words] = {name: judgement(found["accuracy"], lookup) for name, found in inputs.networks.items()}
    for name, found in shortcuts_of(inputs).items():
        words = f"{SHORTCUTS[name].words} (accuracy {found['figures']['accuracy']['value']:.3f})"
        differences = found["networks_less_this"]
        against[words] = {network: judged(differences[network]["accuracy"]) for network in inputs.networks}
    unknown = "Whether a lookup table does as well was not measured for this kind of split."
    if not against:
        return {"kind": "unknown", "text": unknown}
    for kind, verdict, verbs in (
        ("fails", "does not beat", ("does not beat", "do not beat")),
        ("unsure", "not shown", ("is not shown to beat", "are not shown to beat")),
    ):
        told = []
        for words, judgements in against.items():
            names = [inputs.title_of(name) for name, found in judgements.items() if found == verdict]
            told += [f"{listing(names)} {verbs[len(names) > 1]} {words}"] if names else []
        if told:
            return {"kind": kind, "text": f"{'; '.join(told)}."}
    rest = "" if lookup else f" {unknown}"
    return {"kind": "beats", "text": f"Every network beats {listing(list(against))}.{rest}"}
