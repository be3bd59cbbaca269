"""A report on networks that were never trained, for tests of its words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np

from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report import SECTIONS, ReportInputs, render_page
from fibrokd.evaluation.robustness.disturbances import SCANNER
from fibrokd.evaluation.robustness.document import robustness_document
from fibrokd.evaluation.rounds import APART, rounds_document
from fibrokd.evaluation.shortcuts import shortcuts_document
from fibrokd.stages import StageScale
from tests.evaluation.made_up import made_up_collected, made_up_facts, made_up_predictions

FEW = BootstrapConfig(resamples=200)
SKILLS = {"teacher": 2.0, "student_plain": 0.8, "student_kd": 1.3}
FIT = {"verdict": "fit", "grouping": "all", "reasons": [], "accepted_unfit": False, "synthetic": True}
UNFIT = {
    "verdict": "unfit",
    "grouping": "stem",
    "reasons": ["95.5 % of the test images have a twin in train <b>."],
    "accepted_unfit": True,
    "synthetic": False,
}

TREE = {
    "paths": [[0, 0], [0, 0], [0, 1], [1, 2], [1, 3]],
    "sharing": [
        [1.0, 1.0, 0.5, 0.0, 0.0],
        [1.0, 1.0, 0.5, 0.0, 0.0],
        [0.5, 0.5, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 1.0, 0.5],
        [0.0, 0.0, 0.0, 0.5, 1.0],
    ],
    "sharing_of_adjacent_stages": 0.5,
    "sharing_of_distant_stages": 1 / 12,
    "gate_entropy": [0.31, 0.72],
    "experts_left": 6,
    "weights_by_bits": {"2": 1_400_000, "8": 90_000},
}


def estimate(value: float, half: float = 0.01) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half}


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Remember what a pure function answered; forty reports of nearly the same numbers are made here."""
    known: dict[str, Any] = {}

    def answer(*arguments: Any) -> Any:
        key = repr(arguments)
        if key not in known:
            known[key] = function(*arguments)
        return known[key]

    return answer


def _elsewhere(part: Predictions, split: str) -> Predictions:
    """The same answers, to other images of other patients."""
    ids = tuple(f"{split[0]}{image_id}" for image_id in part.image_ids)  # "v" and "c": of pictures only tests ask
    return replace(part, split=split, image_ids=ids, groups=tuple(split + group for group in part.groups))


@once
def report_answers(scale: StageScale | None) -> list[Predictions]:
    sizes = {"scale": scale} if scale else {}
    return [
        part if split == "test" else _elsewhere(part, split)
        for name, skill in SKILLS.items()
        for split, seed in (("val", 4), ("calibration", 5), ("test", 3))
        for part in [made_up_predictions(name, 50, 2, skill, seed=seed, **sizes)]
    ]


@once
def _numbers(scale: StageScale | None, tied: Any) -> dict[str, Any]:
    """metrics.json without its stamp; with facts of the images where nothing is said of inflation."""
    costs = {name: {"parameters": 1_522_981} for name in SKILLS}
    parts = report_answers(scale)
    own = [part for part in parts if part.network == "teacher"]
    scanner = ["sonova" if int(group[-3:]) % 4 else "handix" for part in own for group in part.groups]
    facts = made_up_facts(own, scanner=scanner) if tied is None else None
    return metrics_document(parts, costs, {}, FEW, tied=tied, facts=facts)


def _document(scale: StageScale | None, stamp: dict[str, Any], tied: Any) -> dict[str, Any]:
    return {**_numbers(scale, tied), "stamp": stamp}


@once
def _robustness(scale: StageScale | None) -> dict[str, Any]:
    parts = [part for part in report_answers(scale) if part.split == "test"]
    ways = ("haze", "rendered", f"{SCANNER}handix")
    return robustness_document(parts, [replace(part, split=way) for way in ways for part in parts], FEW)


@once
def _shortcuts(scale: StageScale | None) -> dict[str, Any]:
    parts = [part for part in report_answers(scale) if part.split == "test"]
    return shortcuts_document(parts, [made_up_shortcut(parts[0])], FEW)


def made_up_shortcut(part: Predictions, right: float = 0.0, name: str = "metadata") -> Predictions:
    """Answers of a shortcut that knows the stage of a share of the clusters, and else always says the first."""
    names = sorted(set(part.groups))
    known = set(names[: round(right * len(names))])
    stages = [int(stage) if group in known else 0 for stage, group in zip(part.truth, part.groups, strict=True)]
    return replace(part, network=name, probabilities=np.eye(len(part.scale))[stages])


def report_inputs(stamp: dict[str, Any] = FIT, lookup: float = 0.3, **options: Any) -> ReportInputs:
    scale = options.pop("scale", None)
    level = {"accuracy": estimate(lookup), "balanced_accuracy": estimate(0.123), "twin_in_train": 0.25}
    defaults: dict[str, Any] = {
        "title": "A made-up cohort",
        "document": _document(scale, stamp, options.pop("tied", None)),
        "predictions": report_answers(scale),
        "robustness": _robustness(scale),
        "shortcuts": _shortcuts(scale),
        "collected": made_up_collected([part for part in report_answers(scale) if part.split == "test"]),
        "picture": lambda image_id: np.full((64, 64), int(image_id, 16) % 256, dtype=np.uint8),
        "integrity": {
            "files": 1234,
            "controls": {"thumbnail_1nn": {stamp.get("grouping", "all"): level, "random": level}},
        },
        "curves": {"teacher": [{"epoch": e, "train_loss": 2 / e, "val_macro_f1": 0.1 * e} for e in range(1, 6)]},
        "provenance": {"prepared": "ab" * 32},
        "rounds": {
            "by": "fold",
            "left_out": {"0": 3},
            "networks": rounds_document({"0": _document(scale, stamp, None)}),
            "agreement": {"teacher": {"note": APART, "pairs": []}},
        },
        "cards": {
            "teacher": {"backbone": "resnet50", "training": {"epochs": 5}},
            "student_kd": {"stages": ["F0", "F1", "F2", "F3", "F4"], "method_facts": TREE},
        },
    }
    return ReportInputs(**(defaults | options))


def show(inputs: ReportInputs, *sections: str) -> str:
    """Return the report with only some of its sections behind the first: the whole takes a second."""
    chosen = [section for section in SECTIONS if section.id in {"overview", *sections}]
    return render_page(inputs, chosen, "assessment report")


class Page(HTMLParser):
    """Collects what accessibility and self-containedness are judged by."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.hidden = 0
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.words.append(data)

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]
