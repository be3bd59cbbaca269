"""Runs as they lie on disk: finished, unaltered, on one split. Nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibrokd.artifacts import RECORD, Record, read_record, require
from fibrokd.errors import ArtifactError, InputError
from fibrokd.evaluation.image_facts import read_image_facts
from fibrokd.evaluation.predictions import Predictions, read_predictions
from fibrokd.evaluation.side_by_side.names import ASSESS, run_names
from fibrokd.evaluation.side_by_side.trainings import Training, trainings_beside
from fibrokd.files import read_json
from fibrokd.stages import StageScale

STEPS = ("assess", "crossval", "external")
"""Steps whose folders can be compared."""

FILES = ("predictions.csv", "metrics.json", "images.csv")
"""What such a folder holds."""


@dataclass(frozen=True, eq=False)
class Run:
    """An assessed run.

    Args:
        name: What it is called here.
        record: What made it.
        metrics: Content of its metrics.json.
        parts: Network → its answers to the images of the split.
        patients: Image → number of its patient, empty where unknown.
        trainings: Network → how it was trained, where that is known.
    """

    name: str
    record: Record
    metrics: Mapping[str, Any]
    parts: Mapping[str, Predictions]
    patients: Mapping[str, str]
    trainings: Mapping[str, Training]

    @property
    def scale(self) -> StageScale:
        """Its stages and end points."""
        return _scale(self.metrics)

    @property
    def stamp(self) -> Mapping[str, Any]:
        """Integrity stamp of its data."""
        stamp: Mapping[str, Any] = self.metrics["stamp"]
        return stamp

    def network_name(self, network: str) -> str:
        """Return what one of its networks is called here."""
        return f"{self.name}/{network}"


def read_runs(folders: Sequence[Path], split: str, networks: Sequence[str] = ()) -> list[Run]:
    """Read finished runs.

    Args:
        folders: Folders that ``assess``, ``crossval`` or ``external`` wrote, or that hold one called ``assess``.
        split: Split whose answers are read.
        networks: Networks that are read; all of them where none is named.

    Raises:
        InputError: There are fewer than two, one comes twice, one has no answers of these networks on the split, or no
            run has a network that is named.
        ArtifactError: A folder is no finished, unaltered run.
        TableError: predictions.csv or images.csv cannot be used.
    """
    assessed = [_assessed(folder).resolve() for folder in folders]
    twice = sorted({str(folders[k]) for k, folder in enumerate(assessed) if assessed.index(folder) < k})
    if twice:
        raise InputError(f"Expected different runs, found {', '.join(twice)} twice.", "Name every run once.")
    if len(folders) < 2:
        raise InputError(
            f"Expected two or more runs to compare, found {len(folders)}.",
            "Name several; networks of one run are compared in its own report.html.",
        )
    names = run_names(assessed)
    runs = [_read(folder, name, split, networks) for folder, name in zip(assessed, names, strict=True)]
    unknown = [network for network in networks if not any(network in run.parts for run in runs)]
    if unknown:
        found = ", ".join(dict.fromkeys(network for run in runs for network in run.metrics["networks"]))
        raise InputError(
            f"Expected networks of the runs, found {', '.join(unknown)} in none of them.", f"Choose among {found}."
        )
    return runs


def _assessed(folder: Path) -> Path:
    return folder / ASSESS if not (folder / FILES[0]).exists() and (folder / ASSESS / RECORD).exists() else folder


def _read(folder: Path, name: str, split: str, networks: Sequence[str]) -> Run:
    if not (folder / RECORD).exists():
        raise ArtifactError(
            f"Expected a finished run of {', '.join(STEPS)} at {folder}, found no {RECORD}.",
            "Give folders that these steps wrote, or the OUT of `fibrokd run`.",
        )
    step = read_record(folder).step
    if step not in STEPS:
        raise ArtifactError(
            f"Expected a run of {', '.join(STEPS)} at {folder}, found one of '{step}'.",
            "Give the folder of the assessment, or the OUT of `fibrokd run`.",
        )
    record = require(folder, step)
    missing = [file for file in FILES if file not in record.outputs]
    if missing:
        raise ArtifactError(
            f"Expected {', '.join(FILES)} in {folder}, found no {' and no '.join(missing)}.",
            "Assess the networks again with this version of fibrokd, into a new folder.",
        )
    metrics = read_json(folder / "metrics.json")
    found = read_predictions(folder / "predictions.csv", _scale(metrics))
    facts = read_image_facts(folder / "images.csv").table
    return Run(
        name=name,
        record=record,
        metrics=metrics,
        parts=_parts(found, folder, split, networks),
        patients=dict(zip(facts["image_id"], facts["patient"], strict=True)),
        trainings=trainings_beside(folder, record),
    )


def _parts(found: Sequence[Predictions], folder: Path, split: str, networks: Sequence[str]) -> dict[str, Predictions]:
    chosen = {p.network: p for p in found if p.split == split and (not networks or p.network in networks)}
    if not chosen:
        held = ", ".join(dict.fromkeys(f"{part.network} on {part.split}" for part in found))
        wanted = " or ".join(networks) or "networks"
        raise InputError(
            f"Expected answers of {wanted} on {split} in {folder}, found {held}.",
            "Choose another --split or other --networks, or leave this run out.",
        )
    return chosen


def _scale(metrics: Mapping[str, Any]) -> StageScale:
    """The scale of metrics.json, whose end points are the names of its areas."""
    names = tuple(metrics["scale"])
    points = {
        point
        for network in metrics["networks"].values()
        for part in network.values()
        if isinstance(part, Mapping)
        for point in part.get("auroc", {})
    }
    return StageScale(names, tuple(k for k in range(1, len(names)) if f"≥{names[k]}" in points))
