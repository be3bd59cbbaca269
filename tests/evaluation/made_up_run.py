"""A made-up folder of a finished run: real records and metrics over made-up answers; nothing is rendered or trained."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from fibrokd.artifacts import Record, begin
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.files import write_json, write_text
from fibrokd.stages import METAVIR
from tests.evaluation.made_up import made_up_facts, made_up_predictions

SPLITS = {"train": 100, "val": 60, "calibration": 40, "test": 60}
"""Patients of each split."""
SKILLS = {"teacher": 2.0, "student_kd": 1.3}
CARD = {
    "provenance": "Outpatients of <one> clinic | 2021 [sic].",
    "licence": "Agreement on data transfer.",
    "ethics": "Approved; consent was waived.",
    "devices": "LOGIQ E9 with a convex probe.",
    "reference_standard": "Liver biopsy, METAVIR.",
    "inclusion": "Adults with a biopsy.",
    "known_defects": "unknown",
    "contact": "The data office.",
}
REASONS = {
    "fit": [],
    "caution": [
        {"code": "few_groups", "severity": "caution", "number": 8, "text": "Few groups.", "todo": "Bring more."}
    ],
    "unfit": [
        {"code": "leak", "severity": "unfit", "number": 0.95, "text": "95.5 % have a twin.", "todo": "Split anew."}
    ],
}
SCANNERS = ("LOGIQ E9", "{odd} scanner", "Aplio")


def write_run(
    folder: Path,
    synthetic: bool = True,
    verdict: str = "fit",
    card: bool = True,
    book: bool = True,
    bundle: bool = True,
    patients: dict[str, int] | None = None,
) -> Path:
    """Write the folder.

    Args:
        folder: A new folder.
        synthetic: Whether the images are simulated.
        verdict: ``fit``, ``caution`` or ``unfit``.
        card: Whether the collection has a card, and scanners, near-duplicates and controls were looked at.
        book: Whether a book was written.
        bundle: Whether a bundle was released.
        patients: Patients of each split; by default :data:`SPLITS`.
    """
    counts = patients or SPLITS
    stamp = {
        "verdict": verdict,
        "grouping": "all",
        "reasons": [reason["text"] for reason in REASONS[verdict]],
        "accepted_unfit": verdict == "unfit",
        "synthetic": synthetic,
    }
    prepared = _prepared(folder / "prepared", stamp, CARD if card else None, counts)
    networks = {name: _network(folder / name, name, prepared) for name in SKILLS}
    if book:
        _book(folder / "book", {"prepared": prepared.digest, "teacher": networks["teacher"].digest})
    inputs = {"prepared": prepared.digest, **{name: record.digest for name, record in networks.items()}}
    assess = _assess(folder / "assess", inputs, stamp, counts)
    if bundle:
        student = {"student": networks["student_kd"].digest, "prepared": prepared.digest, "assess": assess.digest}
        _bundle(folder / "bundle", student, stamp)
    return folder


def _prepared(folder: Path, stamp: dict[str, Any], card: dict[str, str] | None, counts: dict[str, int]) -> Record:
    config = {
        "preprocess": {"size": 32, "crop": "fan", "min_confidence": 0.9},
        "limits": {"min_side_px": 32, "max_side_px": 8192, "max_colour_share": 0.25},
        "frames": {"positions": [0.2, 0.5, 0.8], "reach": 8},
        "splits": {"seed": 7, "shares": {"train": 0.4, "val": 0.2, "calibration": 0.2, "test": 0.2}},
    }
    run = begin(folder, "prepare", config, {"files": "0" * 64})
    rows = [(split, number) for split, patients in counts.items() for number in range(patients)]
    ids = [f"{place:016x}" for place in range(len(rows))]
    stages = [METAVIR.names[number % len(METAVIR)] for _, number in rows]
    scanners = [SCANNERS[place % len(SCANNERS)] for place in range(len(rows))]
    manifest = pd.DataFrame({"image_id": ids, "stage": stages, "site": "", "scanner": scanners, "format": "PNG"})
    manifest.to_csv(folder / "manifest.csv", index=False)
    pd.DataFrame({"image_id": ids, "split": [split for split, _ in rows], "fold": 0}).to_csv(
        folder / "splits.csv", index=False
    )
    pd.DataFrame({"image_id": ids, "patient": [f"SECRET{n}" for n in range(len(ids))]}).to_csv(
        folder / "identities.csv"
    )
    tables = {
        split: {name: stages_of(patients, k) for k, name in enumerate(METAVIR.names)}
        for split, patients in counts.items()
    }
    write_json(folder / "integrity.json", _integrity(stamp, card, tables, len(rows)))
    write_json(
        folder / "dataset.json", {"stages": {"names": list(METAVIR.names), "cutoffs": [2, 3, 4]}, "stamp": stamp}
    )
    write_text(
        folder / "integrity.html",
        "".join(f'<p id="{name}">' for name in ("card", "controls", "found", "split", "stages", "reasons")),
    )
    return run.finish(["manifest.csv", "splits.csv", "integrity.json", "dataset.json", "integrity.html"])


def stages_of(patients: int, k: int) -> int:
    """How many of so many patients have stage k, when stages come in turn."""
    return len(range(k, patients, len(METAVIR)))


def _integrity(
    stamp: dict[str, Any], card: dict[str, str] | None, tables: dict[str, Any], images: int
) -> dict[str, Any]:
    stages = {name: sum(table[name] for table in tables.values()) for name in METAVIR.names}
    score = {
        "accuracy": {"value": 0.31, "low": 0.2, "high": 0.4},
        "balanced_accuracy": {"value": 0.3, "low": 0.2, "high": 0.4},
    }
    found = {
        "verdict": stamp["verdict"],
        "reasons": REASONS[stamp["verdict"]],
        "files": images + 3,
        "images": images,
        "quarantined": 3,
        "quarantine_reasons": {"truncated": 2, "not_an_image": 1},
        "refused_pictures": {},
        "unmatched_rows": 1,
        "crop": "fan",
        "uncropped": 4,
        "wrong_extension": 0,
        "distinct_images": images,
        "most_copies": 1,
        "pictures_across_stages": 0,
        "grouping": "all",
        "groups": {"count": images, "clusters": images, "largest": 1, "mixed_stage": [], "per_stage": stages},
        "near": {"links": 5, "images": 9, "copies": 1, "across_stages": 0, "across_patients": 2},
        "known_patients": 0.975,
        "stages": stages,
        "splits": tables,
        "worst_deviation": {"splits": 0.012, "folds": 0.0},
        "leak": {"twins": 0.0, "relatives": 0.0},
        "controls": {
            "thumbnail_1nn": {"all": score, "random": score},
            "thumbnail_1nn_split": score,
            "label_order": {"z": -0.07},
        },
        "scanner": {"scanners": 3, "groups": images, "cramers_v": {"value": 0.05, "low": 0.0, "high": 0.2}, "p": 0.4},
        "honest_split": {"text": "All pictures of a patient on one side."},
        "card": card,
        "synthetic": stamp["synthetic"],
        "accepted_unfit": stamp["accepted_unfit"],
    }
    return found if card else found | {"scanner": {}, "near": None, "controls": {}}


def _network(folder: Path, name: str, prepared: Record) -> Record:
    train = {"epochs": 6, "batch_size": 8, "learning_rate": 0.001, "weight_decay": 0.05, "keep": "best", "seed": 3}
    method = {} if name == "teacher" else {"method": {"kind": "kd", "alpha": 0.6}}
    config = {"train": train, "supervised": {"label_smoothing": 0.1, "class_weights": "balanced"}, **method}
    run = begin(folder, "teach" if name == "teacher" else "distill", config, {"prepared": prepared.digest})
    card = {
        "backbone": "tiny",
        "parameters": 373_173,
        "weight_bytes": 1_501_012,
        "role": name.partition("_")[0],
        "stages": list(METAVIR.names),
        "preprocess": {"size": 32, "crop": "fan", "min_confidence": 0.9},
        "epochs": 6,
        "best_epoch": 5,
        "training_images": 100,
        "seed": 3,
        "pretrained": False,
    }
    write_json(folder / "card.json", card | method)
    return run.finish(["card.json"])


def _book(folder: Path, inputs: dict[str, str]) -> Record:
    run = begin(folder, "write-book", {}, inputs)
    write_json(
        folder / "ledger.json", {"teacher_forwards": 600, "teacher_macs_per_image": 4_098_528, "bytes_on_disk": 12_000}
    )
    write_json(folder / "book.json", {"mode": "pool"})
    return run.finish(["ledger.json", "book.json"])


def _assess(folder: Path, inputs: dict[str, str], stamp: dict[str, Any], counts: dict[str, int]) -> Record:
    splits = [split for split in counts if split != "train"]
    run = begin(folder, "assess", {"title": "A made-up run", "splits": splits}, inputs)
    write_json(folder / "metrics.json", json.loads(_metrics(json.dumps(stamp), tuple(counts.items()))))
    for name in ("predictions.csv", "confusion.csv", "timings.json"):
        write_text(folder / name, "\n")
    anchors = ("overview", "controls", "differences", "confusion", "stages", "metrics", "end_points")
    anchors += ("calibration", "stage_sets", "subgroups", "errors", "learning")
    write_text(folder / "report.html", "".join(f'<section id="{name}">' for name in anchors))
    return run.finish(["metrics.json", "predictions.csv", "confusion.csv", "report.html"])


@cache
def _metrics(stamp: str, counts: tuple[tuple[str, int], ...]) -> str:
    """metrics.json of made-up answers; many tests ask for the same one."""
    parts = [(split, patients) for split, patients in counts if split != "train"]
    answers = [_answers(name, split, patients, skill) for name, skill in SKILLS.items() for split, patients in parts]
    costs = {name: {"parameters": 373_173} for name in SKILLS}
    own = [part for part in answers if part.network == answers[0].network]
    facts = made_up_facts(
        own, scanner=["sonova" if int(group[-2:]) % 3 else "handix" for part in own for group in part.groups]
    )
    config = BootstrapConfig(resamples=100)
    return json.dumps(metrics_document(answers, costs, json.loads(stamp), config, 0.975, facts=facts))


def _answers(name: str, split: str, patients: int, skill: float) -> Any:
    found = made_up_predictions(name, patients=patients, frames=1, skill=skill, seed=len(split))
    ids, groups = ((f"{split}{name}" for name in names) for names in (found.image_ids, found.groups))
    return replace(found, split=split, image_ids=tuple(ids), groups=tuple(groups))


def _bundle(folder: Path, inputs: dict[str, str], stamp: dict[str, Any]) -> Record:
    run = begin(folder, "release", {"name": "made-up"}, inputs)
    use = "Research on ultrasound images; not a medical device."
    preprocess = {"size": 32, "crop": "fan", "min_confidence": 0.9}
    card = {
        "name": "made-up",
        "tolerance": 1e-4,
        "preprocess": preprocess,
        "stamp": stamp,
        "card": {"intended_use": use},
    }
    write_json(folder / "bundle.json", card)
    write_text(folder / "network.onnx", "not a network")
    parity = {"largest_difference": 1.05e-9, "images": 60}
    return run.finish(["bundle.json", "network.onnx"], parity=parity, bundle="b" * 64)
