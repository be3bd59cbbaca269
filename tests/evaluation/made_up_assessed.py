"""Made-up folders of assessed runs, as `fibrokd compare` reads them: real records over made-up answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fibrokd.artifacts import Record, begin
from fibrokd.evaluation.document import FORMAT
from fibrokd.evaluation.image_facts import write_image_facts
from fibrokd.evaluation.predictions import Predictions, write_predictions
from fibrokd.files import digest_json, write_json
from tests.evaluation.made_up import made_up_facts, made_up_predictions

STAMP = {"verdict": "fit", "grouping": "all", "reasons": [], "accepted_unfit": False, "synthetic": True}
NETWORKS = {"teacher": 2.0, "student_kd": 1.3}


def answers(seed: int = 0, networks: Mapping[str, float] = NETWORKS, patients: int = 40) -> list[Predictions]:
    """Answers of some networks to the same images, whatever the seed."""
    return [
        made_up_predictions(name, patients=patients, frames=2, skill=skill, seed=10 * seed + place)
        for place, (name, skill) in enumerate(networks.items())
    ]


def write_assessed(
    folder: Path,
    parts: Sequence[Predictions],
    stamp: Mapping[str, Any] = STAMP,
    seed: int | None = None,
    epochs: int = 6,
    step: str = "assess",
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``folder/assess``, and beside it the records of its networks where a seed is given.

    Args:
        folder: A new folder.
        parts: Answers of the networks.
        stamp: Integrity stamp of the data.
        seed: Seed of all trainings; ``None``: nothing is known of them.
        epochs: Epochs of all trainings.
        step: Step that assessed them.
        config: Settings of the assessment.
        metrics: Content of metrics.json; by default no more of it than is read.
    """
    prepared = digest_json({"prepared": stamp["grouping"]})
    networks = list(dict.fromkeys(part.network for part in parts))
    inputs = {"prepared": prepared}
    for name in networks:
        learned = {"teacher": inputs["teacher"]} if "teacher" in inputs else {}
        inputs[name] = digest_json([name, folder.name])
        if seed is not None:
            inputs[name] = _trained(folder / name, {"prepared": prepared, **learned}, seed, epochs).digest
    out = folder / "assess"
    run = begin(out, step, config or {"title": "Made up"}, inputs)
    write_predictions(out / "predictions.csv", parts)
    own = [part for part in parts if part.network == networks[0]]
    write_image_facts(out / "images.csv", made_up_facts(own))
    points = {name: {} for name in parts[0].scale.cutoff_names}
    splits = {part.split: {"auroc": points} for part in parts}
    told = {name: {"parameters": 1000 + place, **splits} for place, name in enumerate(networks)}
    brief = {"format": FORMAT, "scale": list(parts[0].scale.names), "networks": told, "stamp": dict(stamp)}
    write_json(out / "metrics.json", metrics or brief)
    run.finish(["predictions.csv", "images.csv", "metrics.json"])
    return out


def _trained(folder: Path, inputs: dict[str, str], seed: int, epochs: int) -> Record:
    settings = {"train": {"epochs": epochs, "seed": seed}, "views": {"seed": 100 + seed}, "name": folder.name}
    run = begin(folder, "teach" if folder.name == "teacher" else "distill", settings, inputs)
    write_json(folder / "card.json", {"seed": seed})
    return run.finish(["card.json"])


def renamed(parts: Sequence[Predictions], names: Mapping[str, str]) -> list[Predictions]:
    """The same answers of networks of other names."""
    return [replace(part, network=names.get(part.network, part.network)) for part in parts]
