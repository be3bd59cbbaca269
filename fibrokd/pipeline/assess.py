"""Step ``assess``: first collect what networks answer on held-out patients, then compute numbers and the report.

The first half needs torch; the second works on ``predictions.csv`` alone. One centre view per image: no test-time
augmentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from pydantic import Field
from torch import nn

from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.data.quality import quality
from fibrokd.data.selection import Selection, select
from fibrokd.errors import InputError
from fibrokd.evaluation.conformal.document import write_sets
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.end_points.table import write_end_points
from fibrokd.evaluation.image_facts import ImageFacts, read_image_facts, write_image_facts
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.overlap import relatives
from fibrokd.evaluation.predictions import Predictions, read_predictions, write_predictions
from fibrokd.evaluation.report import write_report
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.tables import share_copied_from_train, write_confusion
from fibrokd.files import read_json, write_json
from fibrokd.methods import open_network
from fibrokd.progress import track
from fibrokd.training.prediction import predict
from fibrokd.training.restriction import answering
from fibrokd.training.runtime import Runtime, median_milliseconds
from fibrokd.training.teachers import check_same_data

DEPLOYED = Runtime("fp32", "nchw")
"""Precision in which networks are assessed: that of the released bundle, whatever they were trained in."""


NO_PICTURE = {
    "masked": "Picture withheld: it may carry burned-in text.",
    "all": "No picture stored.",
    "none": "Pictures were not asked for.",
}
"""What the report says where it shows no picture."""


NetworkName = Annotated[str, Field(pattern=r"^(teacher|student)[a-z0-9_]*$")]
"""Begins with ``teacher`` or ``student``; never collides with the other inputs of the step."""


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
    latency_repeats: Annotated[int, Field(ge=1)] = 20
    """Single-image forward passes whose median is the latency."""


class AssessConfig(AssessPlan):
    """Configuration of the step: what is shown, of which networks, on which data."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    networks: Annotated[dict[NetworkName, Path], Field(min_length=1)]
    """Name → finished teacher or student folder; the order is the order of the tables."""


def run(config: AssessConfig, out: Path) -> Record:
    """Assess networks into ``out``.

    Raises:
        FibroKDError: A network belongs to other data, or ``out`` holds something else.
    """
    prepared = Prepared.open(config.prepared)
    inputs = {"prepared": prepared.record.digest}
    for name, folder in config.networks.items():
        check_same_data(folder, prepared)
        inputs[name] = require(folder, read_record(folder).step).digest
    settings = config.model_dump(mode="json", exclude={"prepared", "networks", "latency_repeats"})
    step = begin(out, "assess", settings, inputs)
    if step.finished:
        return step.record
    part = select(prepared, Selection(stages=config.stages))
    collect(config, part, out)
    outputs = compute(config, part, inputs, out)
    return step.finish(outputs)


def collect(config: AssessConfig, prepared: Prepared, out: Path) -> None:
    """Let every network answer every split once: ``predictions.csv``, and ``timings.json`` beside it.

    Timings differ from run to run; they are kept apart so that no digest depends on them.
    """
    answers: list[Predictions] = []
    splits = [split for split in config.splits if len(prepared.rows(split))]
    if not splits:
        raise InputError(
            f"Expected images in one of the splits {', '.join(config.splits)} of {prepared.folder}, found none.",
            "Name other splits, or give them a share in `splits` of the prepare step.",
        )
    timings: dict[str, Any] = {}
    for name, folder in track(config.networks.items(), "assess", len(config.networks), "networks"):
        network = answering(open_network(folder), read_json(folder / "card.json")["stages"], prepared.scale.names)
        answers += [_answers(name, network, prepared, split) for split in splits]
        timings[name] = {"latency_ms": _latency_ms(network, prepared, config.latency_repeats)}
    write_predictions(out / "predictions.csv", answers)
    write_image_facts(out / "images.csv", image_facts(prepared))
    threads = torch.get_num_threads()
    write_json(out / "timings.json", {"engine": "PyTorch fp32, batch 1", "threads": threads, "networks": timings})


def compute(config: AssessConfig, prepared: Prepared, inputs: Mapping[str, str], out: Path) -> list[str]:
    """Compute everything from ``predictions.csv``: metrics.json, tables beside it, report.html.

    Returns:
        Names of the files that enter the digest.
    """
    predictions = read_predictions(out / "predictions.csv", prepared.scale)
    cards = {name: read_json(folder / "card.json") for name, folder in config.networks.items()}
    costs = {name: {"parameters": card["parameters"]} for name, card in cards.items()}
    integrity = read_json(prepared.folder / "integrity.json")
    tied = relatives(list(prepared.table["image_id"]), list(prepared.table["split"]), prepared.levels)
    known = integrity.get("known_patients")
    facts = read_image_facts(out / "images.csv", config.subgroups)
    document = metrics_document(predictions, costs, prepared.stamp, config.bootstrap, known, tied, facts)
    write_json(out / "metrics.json", document)
    write_end_points(out / "end_points.csv", document)
    write_sets(out / "sets.csv", predictions, config.bootstrap)
    write_confusion(out / "confusion.csv", [part for part in predictions if part.split == "test"])
    report = ReportInputs(
        title=config.title,
        document=document,
        predictions=predictions,
        picture=_pictures(prepared, config.pictures),
        no_picture=NO_PICTURE[config.pictures],
        integrity=integrity,
        curves={name: _curve(folder) for name, folder in config.networks.items()},
        provenance=dict(inputs),
        cards=cards,
        copies_in_train=share_copied_from_train(prepared.table),
    )
    write_report(out / "report.html", report)
    names = ("confusion", "end_points", "images", "predictions", "sets")
    return [*(f"{name}.csv" for name in names), "metrics.json", "report.html"]


def image_facts(prepared: Prepared) -> ImageFacts:
    """Return what is known of every image: patient and study as numbers, site, scanner, further facts, quality."""
    table = prepared.table[["image_id", "split"]].copy()
    for column in ("patient", "study"):
        table[column] = _numbered(prepared.table[column])
    kept = [column for column in ("site", "scanner") if (prepared.table[column] != "").any()]
    measured = pd.DataFrame([quality(pixels) for pixels in prepared.pixels])
    parts = [table, prepared.table[kept], prepared.facts, measured.map("{:g}".format)]
    return ImageFacts(pd.concat([part.reset_index(drop=True) for part in parts], axis=1))


def _numbered(keys: pd.Series[str]) -> list[str]:
    """Numbers in the order of first appearance: keys of patients differ with the secret, and these do not."""
    numbers = pd.factorize(keys.where(keys != ""))[0]
    return ["" if number < 0 else str(number + 1) for number in numbers.tolist()]


def _pictures(prepared: Prepared, wanted: str) -> Callable[[str], UInt8[np.ndarray, "S S"] | None]:
    """Fetch a picture by image id, or ``None`` where it must not be shown."""
    rows = {image_id: row for row, image_id in enumerate(prepared.table["image_id"])}
    shown = np.full(len(prepared), wanted == "all")
    if wanted == "masked":
        shown = (prepared.table["cropped"] == "1").to_numpy() | bool(prepared.stamp["synthetic"])

    def fetch(image_id: str) -> UInt8[np.ndarray, "S S"] | None:
        row = rows[image_id]
        return np.asarray(prepared.pixels[row]) if shown[row] else None

    return fetch


def _answers(name: str, network: nn.Module, prepared: Prepared, split: str) -> Predictions:
    rows = prepared.rows(split)
    logits = predict(network, prepared.pixels[rows], DEPLOYED, torch.device("cpu"))
    table = prepared.table.iloc[rows]
    return Predictions(
        network=name,
        split=split,
        image_ids=tuple(table["image_id"]),
        groups=tuple(table["cluster"]),
        truth=prepared.stages[rows],
        probabilities=torch.from_numpy(logits).double().softmax(1).numpy(),
        scale=prepared.scale,
    )


def _latency_ms(network: nn.Module, prepared: Prepared, repeats: int) -> float:
    size = prepared.preprocess.size
    image = torch.zeros(1, 1, size, size)
    with torch.inference_mode():
        return round(median_milliseconds(lambda: network(image), repeats), 2)


def _curve(folder: Path) -> list[dict[str, int | float]]:
    """What can be drawn of metrics.jsonl: the numbers of every epoch."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if isinstance(value, int | float)} for line in lines]
