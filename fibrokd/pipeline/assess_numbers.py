"""The torch-free half of ``assess``: everything that is computed from stored answers, and the report of it.

Works on ``predictions.csv`` and ``images.csv`` of its folder, whoever wrote them, and on what was collected of every
network beside its answers, where that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Int, UInt8
from pydantic import Field

from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.evaluation import shortcuts
from fibrokd.evaluation.atlas.collected import Learned, collected, embeddings_file, evidence_file, write_neighbours
from fibrokd.evaluation.conformal.document import write_sets
from fibrokd.evaluation.document import Tied, metrics_document
from fibrokd.evaluation.end_points.table import write_end_points
from fibrokd.evaluation.image_facts import read_image_facts
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions, read_predictions
from fibrokd.evaluation.report import write_report
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.robustness.document import robustness_document
from fibrokd.evaluation.tables import write_confusion
from fibrokd.files import write_json

DISTURBED = "disturbed.csv"
"""Answers to disturbed pictures, as predictions.csv; its splits are keys of disturbances."""

COLLECTED = ("stages", "splits", "neighbours", "robustness")
"""Settings that decide what is collected; the others decide what is computed from it."""

NO_PICTURE = {
    "masked": "Picture withheld: it may carry burned-in text.",
    "all": "No picture stored.",
    "none": "Pictures were not asked for.",
}
"""What the report says where it shows no picture."""


class AssessPlan(Config):
    """What is predicted and shown."""

    title: str = "Liver fibrosis staging"
    """Title of the report."""
    stages: tuple[str, ...] | None = None
    """Compare on the images of these stages only, as students of some stages have to be; networks that tell more
    apart answer with their probabilities renormalised. ``null``: all."""
    splits: tuple[str, ...] = ("val", "calibration", "test")
    """Splits that are predicted; the headline is always ``test``. Thresholds and temperatures are fixed on ``val``,
    stage sets on ``calibration``: without one, the report says what is missing. Splits without images are left out."""
    bootstrap: BootstrapConfig = BootstrapConfig()
    """How intervals are made."""
    subgroups: dict[str, Annotated[tuple[float, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Fact of the images, such as ``steatosis`` → limits between classes of its numbers, ascending. Numbers without
    limits are cut into thirds of the training images. Facts are site, scanner, brightness, contrast and dark share of
    the picture, and what ``data.facts`` of the prepare step kept."""
    pictures: Literal["masked", "all", "none"] = "masked"
    """Pictures of the worst errors in the report. ``masked``: only of synthetic data and of frames whose surroundings
    were cut off, for the others may carry burned-in text; ``all``: whatever was cut off; ``none``: no picture."""
    neighbours: Annotated[int, Field(ge=0, le=20)] = 5
    """Training patients beside each error, those whose pictures the network takes for most alike; 0: none, and
    training images are not asked."""
    robustness: Annotated[int, Field(ge=0)] = 100
    """Test clusters of which one picture is disturbed in every way that keeps the patient (gain, time gain, haze,
    depth, JPEG, shifts), at most; 0: none."""
    latency_repeats: Annotated[int, Field(ge=1)] = 20
    """Single-image forward passes whose median is the latency."""


@dataclass(frozen=True, eq=False)
class Assessed:
    """What is assessed, beside the answers.

    Args:
        plan: What is computed and shown.
        prepared: The images.
        cards: Network → its card.
        provenance: What → digest of every input.
        integrity: Content of integrity.json.
        curves: Network → figures of its epochs.
        tied: Split → level → images with a relative among those learned from.
        copies_in_train: Share of the test images whose very pixels are also in train.
        rounds: What every round of a cross-validation reached, where there were several.
        spent: Network → content of its cost.json, as far as it was counted.
        external: Figures of the networks' own collection beside those of this one, where it is another.
    """

    plan: AssessPlan
    prepared: Prepared
    cards: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, str]
    integrity: Mapping[str, Any]
    curves: Mapping[str, Sequence[Mapping[str, int | float]]] = field(default_factory=dict)
    tied: Tied | None = None
    copies_in_train: int | float | None = None
    rounds: Mapping[str, Any] | None = None
    spent: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    external: Mapping[str, Any] | None = None


def write_numbers(assessed: Assessed, out: Path) -> list[str]:
    """Write metrics.json, the tables beside it, and report.html.

    Returns:
        Names of the files that enter the digest.

    Raises:
        ArtifactError: predictions.csv or images.csv is not there.
        TableError: One of them cannot be used.
    """
    plan, prepared = assessed.plan, assessed.prepared
    predictions = read_predictions(out / "predictions.csv", prepared.scale)
    facts = read_image_facts(out / "images.csv", plan.subgroups)
    costs = {name: {"parameters": card["parameters"]} for name, card in assessed.cards.items()}
    known = assessed.integrity.get("known_patients")
    document = metrics_document(predictions, costs, prepared.stamp, plan.bootstrap, known, assessed.tied, facts)
    write_json(out / "metrics.json", document)
    write_end_points(out / "end_points.csv", document)
    write_sets(out / "sets.csv", predictions, plan.bootstrap)
    tested = [part for part in predictions if part.split == "test"]
    write_confusion(out / "confusion.csv", tested)
    found = collected(out, tested, _learned(prepared), plan.neighbours)
    write_neighbours(out / "neighbours.csv", found, prepared.scale.names)
    moved = _robustness(predictions, out, plan.bootstrap)
    without_looking = _shortcuts(tested, out, plan.bootstrap)
    report = ReportInputs(
        title=plan.title,
        document=document,
        predictions=predictions,
        picture=pictures(prepared, plan.pictures),
        no_picture=NO_PICTURE[plan.pictures],
        integrity=assessed.integrity,
        curves=assessed.curves,
        provenance=dict(assessed.provenance),
        cards=assessed.cards,
        copies_in_train=assessed.copies_in_train,
        rounds=assessed.rounds,
        external=assessed.external,
        collected=found,
        robustness=moved,
        shortcuts=without_looking,
        spent=assessed.spent,
    )
    write_report(out / "report.html", report)
    names = ("confusion", "end_points", "images", "neighbours", "predictions", "sets")
    arrays = [name for network in found for name in (embeddings_file(network), evidence_file(network))]
    stored = [name for name in arrays if (out / name).exists()]
    stored += [DISTURBED, "robustness.json"] if moved is not None else []
    stored += [shortcuts.FILE, shortcuts.DOCUMENT] if without_looking is not None else []
    return [*(f"{name}.csv" for name in names), *stored, "metrics.json", "report.html"]


def _robustness(predictions: Sequence[Predictions], out: Path, config: BootstrapConfig) -> dict[str, Any] | None:
    if not (out / DISTURBED).exists():
        return None
    tested = [part for part in predictions if part.split == "test"]
    others = [part for part in predictions if part.split != "test"]
    disturbed = read_predictions(out / DISTURBED, tested[0].scale)
    document = robustness_document(tested, disturbed, config, others)
    write_json(out / "robustness.json", document)
    return document


def _shortcuts(tested: Sequence[Predictions], out: Path, config: BootstrapConfig) -> dict[str, Any] | None:
    if not (out / shortcuts.FILE).exists():
        return None
    document = shortcuts.shortcuts_document(tested, read_predictions(out / shortcuts.FILE, tested[0].scale), config)
    write_json(out / shortcuts.DOCUMENT, document)
    return document


def learned_rows(prepared: Prepared) -> Int[np.ndarray, " N"]:
    """Return the rows of the training images; another collection may have none."""
    return np.flatnonzero((prepared.table["split"] == "train").to_numpy())


def _learned(prepared: Prepared) -> Learned:
    rows = learned_rows(prepared)
    table = prepared.table.iloc[rows]
    return Learned(tuple(table["image_id"]), tuple(table["cluster"]), prepared.stages[rows])


def pictures(prepared: Prepared, wanted: str) -> Callable[[str], UInt8[np.ndarray, "S S"] | None]:
    """Return what fetches a picture by image id, or ``None`` where it must not be shown."""
    rows = {image_id: row for row, image_id in enumerate(prepared.table["image_id"])}
    shown = np.full(len(prepared), wanted == "all")
    if wanted == "masked":
        shown = (prepared.table["cropped"] == "1").to_numpy() | bool(prepared.stamp["synthetic"])

    def fetch(image_id: str) -> UInt8[np.ndarray, "S S"] | None:
        row = rows[image_id]
        return np.asarray(prepared.pixels[row]) if shown[row] else None

    return fetch
