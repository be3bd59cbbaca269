"""Finds the files of a collection and what the collection says about them: one function per layout.

Looks at names, folders, label tables and, for tables keyed by PatientID or StudyUID, at DICOM headers; never at
pixels. Nothing is dropped silently: whatever has no stage, and every row of a table without a file, is listed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field

from fibrokd.config import Config
from fibrokd.data.identity_keys import read_identity
from fibrokd.data.labels import read_labels
from fibrokd.errors import InputError, LabelError
from fibrokd.stages import METAVIR, StageScale

# Folder names that say how files are stored, not whom they show.
_GENERIC = {
    "train", "training", "val", "valid", "validation", "test", "images", "image", "img", "imgs", "frames", "data",
    "png", "jpg", "jpeg", "bmp", "tif", "tiff", "dcm", "dicom", "us", "ultrasound", "raw",
}  # fmt: skip
_COMPANIONS = {
    ".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".yaml", ".yml", ".html", ".pdf", ".xlsx", ".log", ".py",
    ".sha256",
}  # fmt: skip
_FACTS = ("patient", "study", "site", "scanner")


class StagesConfig(Config):
    """The stage scale of a collection."""

    names: Annotated[tuple[str, ...], Field(min_length=2)] = METAVIR.names
    """Stage names from least to most severe."""

    cutoffs: tuple[int, ...] = METAVIR.cutoffs
    """Indices k of the clinical end points "stage ≥ k"."""

    def scale(self) -> StageScale:
        """Return the scale.

        Raises:
            LabelError: Names repeat, or a cut-off lies outside.
        """
        return StageScale(self.names, self.cutoffs)


class DataConfig(Config):
    """Where a collection lies and how its stages are written down."""

    root: Path
    """Folder that holds the files."""

    layout: Literal["folders", "table"] = "folders"
    """``folders``: a folder above each file is named after its stage. ``table``: ``labels`` says it."""

    labels: Path | None = None
    """CSV with a column ``stage`` and a key: ``path`` (relative to ``root``), ``PatientID`` or ``StudyUID``;
    optionally ``patient``, ``study``, ``site``, ``scanner``. A relative path is looked up below ``root`` first."""

    patient_folders: bool = True
    """Layout ``folders``: the first folder below the stage's names the patient, generic names (``images``,
    ``train`` …) apart."""

    stages: StagesConfig = StagesConfig()
    """Stage scale; METAVIR by default."""


@dataclass(frozen=True)
class SourceFile:
    """One file and what its collection says about it; empty strings where it says nothing.

    Args:
        path: Relative to the data root, POSIX separators.
        stage: Stage name on the scale, ``None`` where unknown.
        patient: Patient key as the collection gives it.
        study: Study key as the collection gives it.
        site: Where the picture was taken.
        scanner: What it was taken with.
    """

    path: str
    stage: str | None
    patient: str = ""
    study: str = ""
    site: str = ""
    scanner: str = ""


@dataclass(frozen=True)
class Unmatched:
    """A file without a stage, a row of the label table without a file, or a file that is no picture by its name.

    Args:
        kind: ``file``, ``row`` or ``companion``.
        name: Relative path of the file, or ``labels.csv:12`` (line number, header is line 1).
        reason: ``no_label``, ``ambiguous_label``, ``no_file``, ``not_a_file``; of companions ``no_picture``, ``hidden``
            or ``label_table``.
        detail: What was looked for.
    """

    kind: Literal["file", "row", "companion"]
    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Found:
    """What :func:`find_files` found.

    Args:
        files: Files with a stage, sorted by path.
        unmatched: Files without a stage and rows without a file, sorted; for quarantine.csv and the report.
        companions: Tables, notes, hidden files and folders: they carry no stage and are not looked into.
    """

    files: tuple[SourceFile, ...]
    unmatched: tuple[Unmatched, ...] = ()
    companions: tuple[Unmatched, ...] = ()


def find_files(config: DataConfig) -> Found:
    """List a collection: the same answer on every machine.

    Args:
        config: Root, layout and labels.

    Raises:
        InputError: The root is no folder, or not one file in it has a stage.
        LabelError: The label table is missing or has no usable key.
        TableError: Rows of the label table contradict each other or name unknown stages.
    """
    if not config.root.is_dir():
        raise InputError(f"Expected a folder of images at {config.root}, found none.", "Correct data.root.")
    found = LAYOUTS[config.layout](config, config.stages.scale())
    if not found.files:
        raise InputError(
            f"Expected images with a stage under {config.root}, found none ({len(found.unmatched)} files or rows "
            f"without a match{_examples(found.unmatched)}).",
            f"Name folders by stage {', '.join(config.stages.names)}, or set data.layout=table and data.labels.",
        )
    return found


# --------------------------------------------------------------------------- layout: folders
def from_folders(config: DataConfig, scale: StageScale) -> Found:
    """Layout ``folders``: ``F3/…``, ``train/F3/…`` or ``F3/patient12/…``."""
    files, unmatched, companions = [], [], []
    for path, regular in walk(config.root):
        if _is_hidden(path):
            companions.append(Unmatched("companion", path, "hidden", ""))
            continue
        folders = PurePosixPath(path).parts[:-1]
        stage, position, problem = _stage_of(folders, scale)
        if stage is not None and regular:
            patient = _patient_of(folders[position + 1 :]) if config.patient_folders else ""
            files.append(SourceFile(path, stage, patient))
        elif not regular:
            unmatched.append(Unmatched("file", path, "not_a_file", "a broken link or a special file"))
        elif _is_companion(path):
            companions.append(Unmatched("companion", path, "no_picture", ""))
        else:
            unmatched.append(Unmatched("file", path, problem, f"folders {'/'.join(folders) or '(root)'}"))
    return Found(tuple(files), tuple(unmatched), tuple(companions))


def _stage_of(folders: tuple[str, ...], scale: StageScale) -> tuple[str | None, int, str]:
    """Stage named by the folders: exact names win over bare numbers, which may as well be patient numbers."""
    exact = [i for i, folder in enumerate(folders) if folder.casefold() in {n.casefold() for n in scale.names}]
    if len({scale.parse(folders[i]) for i in exact}) > 1:
        return None, 0, "ambiguous_label"
    for i in exact or range(len(folders)):
        index = scale.try_parse(folders[i])
        if index is not None:
            return scale.names[index], i, ""
    return None, 0, "no_label"


def _patient_of(folders: tuple[str, ...]) -> str:
    return next((folder for folder in folders if folder.casefold() not in _GENERIC), "")


# --------------------------------------------------------------------------- layout: table
def from_table(config: DataConfig, scale: StageScale) -> Found:
    """Layout ``table``: stages come from ``labels``, keyed by path or by DICOM identity."""
    path_of_labels = _labels_path(config)
    labels = read_labels(path_of_labels, scale)
    own = path_of_labels.resolve()
    used: set[str] = set()
    files, unmatched, companions = [], [], []
    for path, regular in walk(config.root):
        file = config.root / path
        if _is_hidden(path) or file.resolve() == own:
            companions.append(Unmatched("companion", path, "hidden" if _is_hidden(path) else "label_table", ""))
            continue
        wanted = _key_of(file, path, labels.key) if regular else None
        row = labels.rows.get(wanted) if wanted else None
        if wanted and row:
            used.add(wanted)
            facts = {fact: row.values.get(fact, "") for fact in _FACTS}
            files.append(SourceFile(path, scale.names[scale.parse(row.values["stage"])], **facts))
        elif not regular:
            unmatched.append(Unmatched("file", path, "not_a_file", "a broken link or a special file"))
        elif _is_companion(path):
            companions.append(Unmatched("companion", path, "no_picture", ""))
        else:
            unmatched.append(Unmatched("file", path, "no_label", f"no row of {labels.name} has its {labels.key}"))
    for value, row in labels.rows.items():
        if value not in used:
            detail = value if labels.key == "path" else f"no file has this {labels.key}"
            unmatched.append(Unmatched("row", f"{labels.name}:{row.line}", "no_file", detail))
    return Found(tuple(files), tuple(unmatched), tuple(companions))


def _labels_path(config: DataConfig) -> Path:
    if config.labels is None:
        raise LabelError("data.layout is 'table', but data.labels names no file.", "Set data.labels=labels.csv.")
    below = config.root / config.labels
    return below if below.is_file() else config.labels


def _key_of(file: Path, path: str, key: str) -> str | None:
    if key == "path":
        return path
    identity = read_identity(file)
    if identity is None:
        return None
    return identity.patient_id if key == "PatientID" else identity.study_uid


LAYOUTS: Mapping[str, Callable[[DataConfig, StageScale], Found]] = {"folders": from_folders, "table": from_table}
"""Every layout a collection can have."""


# --------------------------------------------------------------------------- walking
def walk(root: Path) -> Iterator[tuple[str, bool]]:
    """Yield (relative POSIX path, is a regular file) of everything below ``root``, sorted by path.

    A hidden folder is yielded once, with a slash at its end, and not entered. Links to folders are followed, each real
    folder once: no loops.
    """
    seen: set[tuple[int, int]] = set()
    found: list[tuple[str, bool]] = []
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        facts = here.stat()
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        found += [(f"{(here / name).relative_to(root).as_posix()}/", False) for name in folders if _is_hidden(name)]
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found += [((here / name).relative_to(root).as_posix(), (here / name).is_file()) for name in names]
    yield from sorted(found)


def _is_hidden(path: str) -> bool:
    return PurePosixPath(path).name.startswith(".")


def _is_companion(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in _COMPANIONS


def _examples(unmatched: tuple[Unmatched, ...]) -> str:
    return ": " + ", ".join(item.name for item in unmatched[:3]) if unmatched else ""
