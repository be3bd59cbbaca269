"""What stays of a network of a study: ``results/NAME.json`` and ``results/NAME.csv.gz``, small enough to be committed.

Cells and teachers alike. A result counts only for the identity that is written in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fibrokd.artifacts import Record
from fibrokd.data.prepared import Prepared
from fibrokd.evaluation.predictions import Predictions, read_answers, write_answers
from fibrokd.evaluation.study.pooled import Trial
from fibrokd.files import atomic_path, read_json, write_json
from fibrokd.stages import StageScale
from fibrokd.training.ledger import COST
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime, median_milliseconds

RESULTS = "results"
_LATENCY_REPEATS = 10
_DEPLOYED = Runtime("fp32", "nchw")


def result_paths(out: Path, name: str) -> tuple[Path, Path]:
    """Return where the figures and the test answers of a network lie."""
    return out / RESULTS / f"{name}.json", out / RESULTS / f"{name}.csv.gz"


def is_kept(out: Path, name: str, identity: str) -> bool:
    """Return whether the result of this very network is there; one of another configuration is not it."""
    facts, answers = result_paths(out, name)
    return facts.exists() and answers.exists() and bool(read_json(facts)["identity"] == identity)


def keep(out: Path, name: str, answers: Predictions, facts: Mapping[str, Any]) -> None:
    """Write a result; the facts come last, so that a result with facts is whole."""
    facts_path, answers_path = result_paths(out, name)
    facts_path.parent.mkdir(parents=True, exist_ok=True)
    write_answers(answers_path, answers)
    write_json(facts_path, {**facts, "scale": {"names": answers.scale.names, "cutoffs": answers.scale.cutoffs}})


def take_over(folder: Path, out: Path, name: str, identity: str) -> bool:
    """Copy a result from another folder of results, if it is this very network's and is not here yet."""
    targets = result_paths(out, name)
    sources = [folder / path.name for path in targets]
    if is_kept(out, name, identity) or not all(path.is_file() for path in sources):
        return False
    if read_json(sources[0])["identity"] != identity:
        return False
    for source, target in zip(reversed(sources), reversed(targets), strict=True):
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    return True


def read_trial(folder: Path, name: str, arm: str | None = None) -> Trial:
    """Read a result.

    Args:
        folder: ``results/`` of a study, or a copy of it.
        name: Name of its files.
        arm: What the tables call it; None: as the result itself does.
    """
    facts, answers_path = read_json(folder / f"{name}.json"), folder / f"{name}.csv.gz"
    scale = StageScale(tuple(facts["scale"]["names"]), tuple(facts["scale"]["cutoffs"]))
    cell = facts["cell"]
    answers = read_answers(answers_path, scale, name)
    return Trial(arm or cell["arm"], cell["backbone"], cell["fraction"], cell["seed"], answers, facts)


def answers_on_test(network: torch.nn.Module, prepared: Prepared, name: str) -> Predictions:
    """Return what a network answers on the test images, computed as it would be deployed."""
    rows = prepared.rows("test")
    logits = predict(network, np.asarray(prepared.pixels[rows]), _DEPLOYED, torch.device("cpu"))
    table = prepared.table.iloc[rows]
    return Predictions(
        network=name,
        split="test",
        image_ids=tuple(table["image_id"]),
        groups=tuple(table["cluster"]),
        truth=prepared.stages[rows],
        probabilities=torch.from_numpy(logits).double().softmax(1).numpy(),
        scale=prepared.scale,
    )


def latency_ms(network: torch.nn.Module, size: int) -> float:
    """Return the median time of one image of ``size`` pixels, milliseconds."""
    image = torch.zeros(1, 1, size, size)
    with torch.inference_mode():
        return round(median_milliseconds(lambda: network(image), _LATENCY_REPEATS), 2)


def machine_of(record: Record) -> dict[str, Any]:
    """Return by what a network was made: versions, commit and processor, as far as its run folder knows."""
    return {name: record.facts.get(name) for name in ("versions", "commit", "processor")}


def measured_cost(folder: Path) -> dict[str, Any]:
    """Return what a run folder's work cost over all its attempts (``cost.json``); empty where it was not measured."""
    path = folder / COST
    return dict(read_json(path)) if path.exists() else {}
