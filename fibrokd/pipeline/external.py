"""Step ``external``: the networks of a run on another collection. Nothing is trained or fixed anew.

Overlap is looked for first, and images that networks have seen before are left out. Thresholds, temperatures and
stage sets are those that the run fixed on its own validation and calibration images.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, InputError
from fibrokd.evaluation.external import REASONS, external_document
from fibrokd.evaluation.image_facts import ImageFacts, write_image_facts
from fibrokd.evaluation.predictions import Predictions, read_predictions, write_predictions
from fibrokd.files import read_json, write_json, write_text
from fibrokd.integrity.shared_images import Shared, shared_images
from fibrokd.pipeline.assess_numbers import Assessed, AssessPlan, write_numbers
from fibrokd.pipeline.collect import answers_of, open_assessed
from fibrokd.pipeline.image_facts import image_facts
from fibrokd.pipeline.resplit import of_any_split
from fibrokd.progress import say, track

FIXED = ("val", "calibration")
"""Splits of the run on which something was fixed."""

_OTHER = "other:"
"""Before the clusters and patients of the other collection: names of two collections must not meet."""


def run(run_folder: Path, prepared: Path, out: Path, plan: AssessPlan) -> Record:
    """Assess the networks of a run on another collection into ``out``.

    Args:
        run_folder: The OUT of ``fibrokd run``.
        prepared: Folder that ``fibrokd prepare`` wrote of the other collection, with the same preprocessing.
        out: Folder to write.
        plan: What is computed and shown.

    Raises:
        ArtifactError: The run is not finished, or ``out`` holds something else.
        InputError: The collections do not fit together, or networks have seen every image.
    """
    if not (run_folder / "prepared").is_dir():
        raise ArtifactError(
            f"Expected the folder of a run at {run_folder}, found none.", "Give the OUT of `fibrokd run`."
        )
    own, other = Prepared.open(run_folder / "prepared"), Prepared.open(prepared)
    assessed = require(run_folder / "assess", "assess")
    _check(own, other)
    networks = {name: run_folder / name for name in read_json(run_folder / "assess" / "metrics.json")["networks"]}
    inputs = {"prepared": other.record.digest, "assess": assessed.digest}
    inputs |= {name: require(folder, read_record(folder).step).digest for name, folder in networks.items()}
    step = begin(out, "external", plan.model_dump(mode="json", exclude={"latency_repeats", "splits"}), inputs)
    if step.finished:
        return step.record
    learned = np.flatnonzero(own.table["split"].isin(["train", *FIXED]).to_numpy())
    shared = shared_images(own, learned, other)
    _write_shared(out / "overlap.csv", shared)
    rows = _asked(other, shared)
    stored = read_predictions(run_folder / "assess" / "predictions.csv", own.scale)
    answers = [part for part in stored if part.split in FIXED]
    for name, folder in track(networks.items(), "external", len(networks), "networks"):
        found = answers_of(name, open_assessed(folder, other), other, rows, "test")
        answers.append(_apart(found))
    write_predictions(out / "predictions.csv", answers)
    write_image_facts(out / "images.csv", _facts(own, other, rows))
    tested = [part for part in answers if part.split == "test"]
    counts = Counter(item.reason for item in shared)
    document = external_document([p for p in stored if p.split == "test"], tested, counts, plan.bootstrap)
    write_json(out / "external.json", document)
    told = Assessed(
        plan=plan,
        prepared=other,
        cards={name: read_json(folder / "card.json") for name, folder in networks.items()},
        provenance=inputs,
        integrity=of_any_split(read_json(other.folder / "integrity.json")),
        external=document,
    )
    outputs = write_numbers(told, out)
    say(f"  {len(rows)} images, {len(shared)} left out as seen before: {out / 'report.html'}")
    return step.finish([*outputs, "external.json", "overlap.csv"])


def _check(own: Prepared, other: Prepared) -> None:
    if own.record.digest == other.record.digest:
        raise InputError(
            "Expected another collection than the one the run was trained on, found the same.",
            "Its test images are assessed by `fibrokd assess`.",
        )
    if own.scale != other.scale:
        raise InputError(
            f"Expected stages {', '.join(own.scale.names)} as in the run, found {', '.join(other.scale.names)}.",
            "Prepare the other collection with the run's `data.stages`; stages of two scales cannot be compared.",
        )
    if own.preprocess != other.preprocess:
        raise InputError(
            f"Expected images preprocessed as in the run ({own.preprocess.as_json()}), found "
            f"{other.preprocess.as_json()}.",
            "Prepare the other collection with the run's `preprocess`.",
        )


def _asked(other: Prepared, shared: list[Shared]) -> np.ndarray:
    seen = {item.image_id for item in shared}
    rows = np.flatnonzero((other.stages >= 0) & ~other.table["image_id"].isin(seen).to_numpy())
    if not len(rows):
        raise InputError(
            f"Expected images in {other.folder} that the networks have not seen, found none among {len(other)}.",
            "overlap.csv says which images they were trained on; bring another collection.",
        )
    return rows


def _apart(part: Predictions) -> Predictions:
    return part.renamed([f"{_OTHER}{name}" for name in part.groups])


def _facts(own: Prepared, other: Prepared, rows: np.ndarray) -> ImageFacts:
    """Facts of the run's own images but those of test, and of the other collection's as test images."""
    here, there = image_facts(own).table, image_facts(other).table.iloc[rows].assign(split="test")
    for column in ("patient", "study"):
        there[column] = there[column].where(there[column] == "", _OTHER + there[column])
    table = pd.concat([here[here["split"].isin(["train", *FIXED])], there])
    return ImageFacts(table.fillna("").reset_index(drop=True))


def _write_shared(path: Path, shared: list[Shared]) -> None:
    rows = [(item.image_id, item.reason, REASONS[item.reason], item.seen) for item in shared]
    table = pd.DataFrame(rows, columns=["image_id", "reason", "meaning", "seen"])
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
