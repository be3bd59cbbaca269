"""The training comparison of ``benchmarks.peers``: material of both sides, the turns, and what they tell.

Owns no command line. Every training and the book run in the two sides' own processes, one at a time.

Shape letters: N pictures, S side.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from benchmarks.peers.accuracy import CHANCE, accuracy, all_same, difference, over_trainings, resampled
from benchmarks.peers.material import NO_MIXUP, pictures, write_material
from benchmarks.peers.pictures import Pictures
from benchmarks.peers.process import Process, open_peer
from benchmarks.peers.teacher import trained_teacher
from fibrokd.progress import say
from fibrokd.training.prediction import predict


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train the teacher, then the students of both sides in turn.

    Args:
        options: See ``benchmarks.peers``.
        folder: Empty; for everything but the teacher where ``options.work`` says where that is kept.
    """
    torch.set_num_threads(options.threads)
    train, test = pictures(options)
    teacher = trained_teacher(train, NO_MIXUP, options, options.work or folder)
    view_seconds = write_material(folder, train, test, teacher, options)
    with ExitStack() as stack:
        here = stack.enter_context(closing(Process(Path(sys.executable), "here", folder, "fibrokd")))
        there = stack.enter_context(closing(open_peer(options.peer, "there", folder))) if options.peer else None
        said = take_turns(here, there, options.students)
    seconds = {"teacher": teacher.seconds, "views": view_seconds, **said.pop("seconds")}
    teacher_logits = predict(teacher.network, test.pixels, teacher.runtime, torch.device("cpu"))
    absent = {} if options.peer else {"peer": "absent: give --peer PYTHON"}
    return {
        **ratios(seconds),
        **absent,
        **scores(said.pop("answers"), teacher_logits, test),
        "seconds": {name: _rounded(value) for name, value in seconds.items()},
        "teacher_reused": teacher.reused,
        **said,
        "train_pictures": len(train.stages),
        "test_pictures": len(test.stages),
    }


def take_turns(here: Process, there: Process | None, students: int) -> dict[str, Any]:
    """Let both sides train student after student, and compare what they worked from."""
    parts = ["book", *(f"{side} {k}" for k in range(students) for side in (("there", "here") if there else ("here",)))]
    answers: dict[str, list[dict[str, Any]]] = {"here": [], "there": []}
    book: dict[str, Any] = {}
    started = time.perf_counter()
    for done, part in enumerate(parts):
        say(f"  part {done + 1} of {len(parts)}: {part}; {time.perf_counter() - started:.0f} s so far")
        if part == "book":
            book = here.ask(part)
            continue
        side, number = part.split()
        process = here if side == "here" or there is None else there
        answers[side].append(process.ask(f"student {number}"))
    found: dict[str, Any] = {"book_difference": here.ask("check"), "book_bytes": book["bytes"]}
    if there is not None:
        found |= beside(answers, book["first_answers"], there.facts["first_answers"])
        found["versions_there"] = there.facts["versions"]
    seconds = {"book": book["seconds"]} | {side: [a["seconds"] for a in said] for side, said in answers.items()}
    memory = {side: process.ask("memory") for side, process in (("here", here), ("there", there)) if process}
    return {
        "seconds": seconds,
        "answers": answers,
        **found,
        "peak_mb": memory,
        "runtime_here": answers["here"][-1]["runtime"],
        "versions_here": here.facts["versions"],
    }


def beside(
    answers: Mapping[str, Sequence[Mapping[str, Any]]], book: Sequence[Sequence[float]], live: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Return what shows that both sides did the same work.

    Args:
        answers: What each side said of its students.
        book: The book's answers to the first batch here.
        live: The teacher's answers to the first batch there.

    Raises:
        SystemExit: A student did not start from the same weights.
    """
    pairs = list(zip(answers["here"], answers["there"], strict=True))
    if any(ours["start"] != theirs["start"] for ours, theirs in pairs):
        raise SystemExit("Expected both sides to start from the same weights, found others: nothing is comparable.")
    return {
        "teacher_difference": relative(book, live),
        "loss_differences": [
            [relative([a], [b]) for a, b in zip(ours["losses"], theirs["losses"], strict=True)]
            for ours, theirs in pairs
        ],
    }


def relative(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """Return the largest difference, relative where the second exceeds 1."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return round(float((np.abs(a - b) / np.maximum(1, np.abs(b))).max()), 6)


def ratios(seconds: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the ratios of wall times, theirs ÷ ours; None where a side or a second student is missing.

    Args:
        seconds: ``book`` and ``views``, and of every student ``here`` and ``there``.
    """
    here, there, book = seconds["here"], seconds["there"], seconds["book"]
    second = mean(here[1:]) if len(here) > 1 else None
    found = {
        "ratio_second": mean(there) / second if there and second else None,
        "ratio_first": there[0] / (book + here[0]) if there else None,
        "ratio_all": sum(there) / (book + sum(here)) if there else None,
        "views_share": seconds["views"] / (second or here[0]),
    }
    return {name: None if value is None else round(value, 3) for name, value in found.items()}


def scores(answers: Mapping[str, Sequence[Mapping[str, Any]]], teacher: np.ndarray, test: Pictures) -> dict[str, Any]:
    """Return balanced accuracies on the test pictures, and the paired difference of both sides' students.

    Args:
        answers: Of every side, ``logits`` of every student, [N, K].
        teacher: Logits of the teacher, [N, K].
        test: The test pictures.
    """
    samples = {
        side: [resampled(f"{side} {k}", student["logits"], test) for k, student in enumerate(students)]
        for side, students in answers.items()
    }
    differences = [difference(*pair) for pair in zip(samples["here"], samples["there"], strict=False)]
    samples["teacher"] = [resampled("teacher", teacher, test)]
    balanced = {side: [accuracy(sample) for sample in of] for side, of in samples.items()}
    return {
        "same_within_interval": all_same(differences),
        "mean_difference": over_trainings([found["value"] for found in differences]) if differences else None,
        "difference": differences,
        "balanced_accuracy": balanced,
        "above_chance": {
            side: [found["low"] is not None and found["low"] > CHANCE for found in of] for side, of in balanced.items()
        },
    }


def _rounded(value: float | Sequence[float]) -> float | list[float]:
    return round(value, 2) if isinstance(value, float) else [round(part, 2) for part in value]
