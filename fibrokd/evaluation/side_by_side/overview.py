"""First screen of compare.html: what is compared on which images, what is to be believed of it, and the headline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fibrokd.evaluation.conformal.stage_sets import CALIBRATED_ON
from fibrokd.evaluation.fixed_beforehand import FIXED_ON
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.page_table import Column, PageTable, Row
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.sections.differences import differences
from fibrokd.evaluation.side_by_side.trainings import PREPARED
from fibrokd.evaluation.wording import Footnotes, cell, grouping_words, listing, not_to_conclude, verdict_words

GRAVEST = ("unfit", "", "caution", "fit")
"""Verdicts on data, the gravest first; an empty one was never given."""

STAMPED = {"verdict": "verdict", "grouping": "kind of split", "synthetic": "simulated or real images"}
"""Entries of the integrity stamp in which data may differ, and what they are called."""


def overview(inputs: ReportInputs) -> dict[str, Any]:
    """Return the data of the first screen."""
    document = inputs.document
    some = next(iter(inputs.networks.values()))
    runs = document["runs"]
    return {
        "runs": len(runs),
        "networks": len(inputs.networks),
        "images": f"{document['images']:,}",
        "split": inputs.split,
        "clusters": f"{some['clusters']:,}",
        "cluster_words": document["bootstrap"]["clusters"],
        "synthetic": all(run["stamp"].get("synthetic", False) for run in runs.values()),
        "statuses": _statuses(runs),
        "alarms": list(_alarms(inputs)),
        "headline": _headline(inputs),
        "differences": differences(inputs),
        "not_to_conclude": _limits(runs),
    }


def _statuses(runs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One per kind of data, the gravest first: runs on equally judged data are told together."""
    together: dict[str, list[str]] = {}
    for name, run in runs.items():
        told = (verdict_words(run["stamp"]), run["stamp"].get("reasons"), _grouping(run), _simulated(run))
        together.setdefault(repr(told), []).append(name)
    found = []
    for names in together.values():
        run = runs[names[0]]
        level, title, sentence = verdict_words(run["stamp"])
        found.append(
            {
                "level": level,
                "title": title,
                "sentence": sentence,
                "runs": listing(names),
                "grouping": _grouping(run),
                "synthetic": _simulated(run),
                "reasons": [str(reason) for reason in run["stamp"].get("reasons", [])],
            }
        )
    return sorted(found, key=lambda status: GRAVEST.index(status["level"] if status["level"] in GRAVEST else ""))


def _grouping(run: Mapping[str, Any]) -> str:
    if run["step"] == "external":
        return "Networks were trained on another collection; images that they had seen before were left out."
    return grouping_words(run["stamp"])


def _simulated(run: Mapping[str, Any]) -> bool:
    return bool(run["stamp"].get("synthetic", False))


def _alarms(inputs: ReportInputs) -> Iterator[str]:
    runs: Mapping[str, Any] = inputs.document["runs"]
    differing = [
        words for key, words in STAMPED.items() if len({repr(run["stamp"].get(key)) for run in runs.values()}) > 1
    ]
    if differing:
        yield f"The runs stand on data that differ in {listing(differing)}: their figures do not mean the same."
    if len({run["inputs"].get(PREPARED) for run in runs.values()}) > 1:
        yield (
            "The runs were prepared differently, so their networks may have learned from other images: a difference is "
            "one of data and of networks together."
        )
    left_out = [
        f"{run['left_out']:,} of the {run['images']:,} of {name}" for name, run in runs.items() if run["left_out"]
    ]
    if left_out:
        yield (
            f"Some {inputs.split} images are left out, because not every run asked them: {listing(left_out)}. Figures "
            "of these runs differ here from those of their reports."
        )
    yield from _same(runs, inputs)
    if inputs.split in (FIXED_ON, CALIBRATED_ON):
        yield f"Choices, such as the epoch, were made on {inputs.split} images: networks look too good on them."
    if not inputs.document["repetitions"]:
        yield (
            "Every network was trained once, as far as is known. Trained anew it would give other figures; intervals "
            "and p-values do not contain that. Compare several seeds before speaking of methods."
        )


def _same(runs: Mapping[str, Any], inputs: ReportInputs) -> Iterator[str]:
    by_digest: dict[str, list[str]] = {}
    for name, entry in inputs.document["networks"].items():
        digest = runs[entry["run"]]["inputs"].get(entry["network"])
        if digest:
            by_digest.setdefault(digest, []).append(name)
    for names in by_digest.values():
        if len(names) > 1:
            yield f"{listing(names)} are one and the same network: pairs name it {names[0]}."


def _headline(inputs: ReportInputs) -> PageTable:
    footnotes = Footnotes()
    rows = [
        Row(
            inputs.title_of(name),
            [cell(metrics[metric], footnotes, unit_scale=True) for metric in HEADLINE],
            aside=f"{inputs.document['networks'][name]['parameters']:,} parameters",
        )
        for name, metrics in inputs.networks.items()
    ]
    columns = [Column("Run / network"), *(Column(METRICS[name].title) for name in HEADLINE)]
    chance = f"{1 / len(inputs.scale):.2f}"
    level = f"{100 * inputs.document['level']:g} %"
    caption = (
        f"All networks on the same images, with {level} intervals over clusters. Balanced accuracy by chance: {chance}."
    )
    return PageTable("Headline numbers", caption, columns, rows, notes=footnotes.listed)


def _limits(runs: Mapping[str, Any]) -> list[str]:
    """What must not be concluded of any of the data, the gravest first."""
    found = [not_to_conclude(run["stamp"], run["step"] == "external") for run in runs.values()]
    longest = max(found, key=len)
    return list(dict.fromkeys([*longest, *(line for lines in found for line in lines)]))
