"""Step ``assess``: first collect what networks answer on held-out patients, then compute numbers and the report.

The first half needs torch (:mod:`fibrokd.pipeline.collect`); the second works on what was stored, and can be run again
on it without torch (``answers``). One centre view per image: no test-time augmentation.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.errors import ArtifactError
from fibrokd.evaluation.image_facts import ImageFacts
from fibrokd.evaluation.overlap import relatives
from fibrokd.evaluation.tables import share_copied_from_train
from fibrokd.files import digest_json, read_json
from fibrokd.pipeline.assess_numbers import COLLECTED, Assessed, AssessPlan, write_numbers
from fibrokd.pipeline.image_facts import image_facts
from fibrokd.training.same_data import check_same_data

NetworkName = Annotated[str, Field(pattern=r"^(teacher|student)[a-z0-9_]*$")]
"""Begins with ``teacher`` or ``student``; never collides with the other inputs of the step."""


class AssessConfig(AssessPlan):
    """Configuration of the step: what is shown, of which networks, on which data."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    networks: Annotated[dict[NetworkName, Path], Field(min_length=1)]
    """Name → finished teacher or student folder; the order is the order of the tables."""
    phantom: Path | None = None
    """Folder of the cohort that the images were rendered in, if they were: its patients are then rendered on other
    scanners and with other settings as well."""
    answers: Path | None = None
    """Folder that ``assess`` wrote of these very networks and images: what was collected there is taken over, and
    numbers and report are computed anew, with another bootstrap, say. No network is asked, and torch is not needed. No
    part of the identity."""


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
    if config.phantom is not None:
        inputs["phantom"] = require(config.phantom, "phantom").digest
    part = select(prepared, Selection(stages=config.stages))
    facts = ImageFacts(image_facts(part).table, config.subgroups)
    # Keys of patients and studies are under no digest, and differ with the secret; who is who is in this one.
    inputs["images"] = digest_json(facts.table.to_dict("list"))
    step = begin(out, "assess", _settings(config), inputs)
    if step.finished:
        return step.record
    if config.answers is not None:
        _take_over(config, config.answers, inputs, out)
    else:
        from fibrokd.pipeline.collect import collect

        collect(config, part, facts, out)
    outputs = compute(config, part, inputs, out)
    return step.finish(outputs)


def _settings(config: AssessConfig) -> dict[str, Any]:
    left_out = {"prepared", "networks", "phantom", "answers", "latency_repeats"}
    return config.model_dump(mode="json", exclude=left_out)


def _take_over(config: AssessConfig, folder: Path, inputs: Mapping[str, str], out: Path) -> None:
    """Copy what another assessment collected, if it is of the same networks and images, asked alike.

    Raises:
        ArtifactError: It is of others, or something was not asked there.
    """
    record = require(folder, "assess")
    asked = {name: record.config.get(name) for name in COLLECTED}
    wanted = {name: value for name, value in _settings(config).items() if name in COLLECTED}
    differ = [name for name in wanted if asked[name] != wanted[name]]
    differ += sorted(name for name in {*inputs, *record.inputs} if inputs.get(name) != record.inputs.get(name))
    if differ:
        raise ArtifactError(
            f"Expected answers of these networks to these images in {folder}, asked alike; found another "
            f"{', '.join(differ)}.",
            "Use the configuration of that folder but for bootstrap, subgroups, title and pictures, or leave `answers` "
            "out.",
        )
    for path in sorted(folder.iterdir()):
        if path.name == "timings.json" or (path.name in record.outputs and _is_collected(path.name)):
            shutil.copyfile(path, out / path.name)


def _is_collected(name: str) -> bool:
    """Whether a file of an assessment holds what networks answered, and not what was computed from it."""
    return name in {"predictions.csv", "images.csv", "disturbed.csv", "shortcuts.csv"} or name.endswith(".npz")


def compute(config: AssessConfig, prepared: Prepared, inputs: Mapping[str, str], out: Path) -> list[str]:
    """Compute everything from ``predictions.csv`` and ``images.csv``.

    Returns:
        Names of the files that enter the digest.
    """
    costs = {name: folder / "cost.json" for name, folder in config.networks.items()}
    tied = relatives(list(prepared.table["image_id"]), list(prepared.table["split"]), prepared.levels)
    assessed = Assessed(
        plan=config,
        prepared=prepared,
        cards={name: read_json(folder / "card.json") for name, folder in config.networks.items()},
        provenance=inputs,
        integrity=read_json(prepared.folder / "integrity.json"),
        curves={name: _curve(folder) for name, folder in config.networks.items()},
        tied=tied,
        spent={name: read_json(path) for name, path in costs.items() if path.exists()},
        copies_in_train=share_copied_from_train(prepared.table),
    )
    return write_numbers(assessed, out)


def _curve(folder: Path) -> list[dict[str, int | float]]:
    """What can be drawn of metrics.jsonl: the numbers of every epoch."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if isinstance(value, int | float)} for line in lines]
