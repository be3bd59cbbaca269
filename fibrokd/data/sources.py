"""Finds the files of a collection and what the collection says about them: one function per layout.

Looks at names, folders, label tables and, for tables keyed by PatientID or StudyUID, at DICOM headers; never at
pixels. Nothing is dropped silently: whatever has no stage, and every row of a table without a file, is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fibrokd.config import Config
from fibrokd.data.companions import is_companion
from fibrokd.data.dicom.identity_keys import DicomIdentity, read_identity
from fibrokd.data.isolation import Watch, WorkerLimits, isolated
from fibrokd.data.labels import FACTS, KEYS, LabelTable, read_labels
from fibrokd.data.mismatch import Mismatch, explain_mismatch
from fibrokd.data.quality import QUALITY
from fibrokd.data.stage_folders import StageFolder, contradict, name_by_links, read_folders
from fibrokd.data.walking import StatedPaths, locate, plain, walk
from fibrokd.errors import InputError, LabelError
from fibrokd.stages import METAVIR, StageScale

_PROBLEMS = {
    "not_a_file": "a broken link or a special file",
    "outside_root": "a link that leads out of data.root; data.outside_links=true follows it",
    "no_entry": "the system does not let this folder be listed",
}
_HEADERS_PER_TASK = 64
TAKEN = frozenset(name.casefold() for name in ("image_id", "split", "stage", *KEYS, *FACTS, *QUALITY))
"""Names, in lower case, that no further column of a label table may have."""
_UNCLEAR = {
    "no_label": "no folder above it is named after a stage",
    "ambiguous_label": "several folders or links name different stages, or bare numbers that patients may have as "
    "well; name folders as the stages are named",
}


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
    """CSV with a column ``stage`` and a key: ``path`` (relative to ``root``), ``PatientID`` or ``StudyUID``; of several
    the first in this order counts, for every row. Optionally ``patient``, ``study``, ``site``, ``scanner``. A relative
    path is looked up below ``root`` first."""

    facts: tuple[str, ...] = ()
    """Layout ``table``: further columns of ``labels`` that are kept for every picture, such as ``view`` or
    ``steatosis``: `assess` gives figures of their subgroups. Short plain words and small numbers; others are replaced
    by stand-ins."""

    patient_folders: bool = True
    """Layout ``folders``: the first folder below the stage's names the patient, generic names (``images``,
    ``train`` …) apart."""

    stages: StagesConfig = StagesConfig()
    """Stage scale; METAVIR by default."""

    outside_links: bool = False
    """Follow links that lead out of ``root``; otherwise they are listed and left alone."""

    @model_validator(mode="after")
    def _facts_are_columns_of_their_own(self) -> DataConfig:
        folded = [name.casefold() for name in self.facts]
        taken = sorted({name for name in folded if name in TAKEN or folded.count(name) > 1 or not name.isidentifier()})
        if taken:
            raise ValueError(f"facts are names of columns, each once and none that is read anyway; correct {taken}")
        if self.facts and self.layout != "table":
            raise ValueError("facts are columns of a label table; set layout: table")
        return self


@dataclass(frozen=True)
class SourceFile:
    """One file and what its collection says about it; empty strings where it says nothing.

    Args:
        path: Relative to the data root, POSIX separators, as :func:`walking.written` writes it; only
            :func:`walking.locate` knows where it lies, for names need not be printable.
        stage: Stage name on the scale, ``None`` where unknown.
        patient: Patient key as the collection gives it.
        study: Study key as the collection gives it.
        site: Where the picture was taken.
        scanner: What it was taken with.
        facts: (name, value) of what else it says, as :attr:`DataConfig.facts` asks.
    """

    path: str
    stage: str | None
    patient: str = ""
    study: str = ""
    site: str = ""
    scanner: str = ""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Unmatched:
    """A file without a stage, a row of the label table without a file, or a file that is no picture by its name.

    Args:
        kind: ``file``, ``row`` or ``companion``.
        name: Relative path of the file, or ``labels.csv:12`` (line number, header is line 1).
        reason: ``no_label``, ``ambiguous_label``, ``no_file``, ``not_a_file``, ``outside_root``, ``no_entry``; of
            companions ``no_picture``, ``hidden``, ``linked_again`` or ``label_table``.
        detail: What was looked for; quotes no name.
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
        mismatch: Why no row of the label table is about any file, where that is so.
    """

    files: tuple[SourceFile, ...]
    unmatched: tuple[Unmatched, ...] = ()
    companions: tuple[Unmatched, ...] = ()
    mismatch: Mismatch | None = None


def find_files(config: DataConfig, isolation: WorkerLimits | None = None) -> Found:
    """List a collection: the same answer on every machine.

    Args:
        config: Root, layout and labels.
        isolation: Read headers, where the label table needs them, in a worker process that may not cost more;
            ``None`` reads them in this process.

    Raises:
        InputError: The root is no folder, or not one file in it has a stage. Quotes no name of a file.
        LabelError: The label table is missing or has no usable key.
        TableError: Rows of the label table contradict each other or name unknown stages.
    """
    found = list_files(config, isolation)
    refuse_none(config, found)
    return found


def list_files(config: DataConfig, isolation: WorkerLimits | None = None) -> Found:
    """List a collection as :func:`find_files` does, also where not one file has a stage.

    Args:
        config: Root, layout and labels.
        isolation: As for :func:`find_files`.

    Raises:
        InputError: The root is no folder.
        LabelError: The label table is missing or has no usable key.
        TableError: Rows of the label table contradict each other or name unknown stages.
    """
    if not config.root.is_dir():
        raise InputError(f"Expected a folder of images at {config.root}, found none.", "Correct data.root.")
    return LAYOUTS[config.layout](config, config.stages.scale(), isolation)


def refuse_none(config: DataConfig, found: Found) -> None:
    """Stop where not one file has a stage, and say why.

    Args:
        config: Root, layout and labels.
        found: What :func:`list_files` found.

    Raises:
        InputError: There is no file with a stage. Quotes no name of a file and no value of a table.
    """
    if found.files:
        return
    counts = Counter(item.reason for item in found.unmatched)
    seen = ", ".join(f"{count} × {reason}" for reason, count in sorted(counts.items()))
    why = f": {found.mismatch.seen}" if found.mismatch else ""
    todo = (
        found.mismatch.todo
        if found.mismatch
        else f"Name folders by stage {', '.join(config.stages.names)}, or set data.layout=table and data.labels."
    )
    if counts["outside_root"]:
        todo += " Links that lead out of data.root need data.outside_links=true."
    raise InputError(
        f"Expected images with a stage under {config.root}, found none ({len(found.unmatched)} files or rows "
        f"without a match{': ' * bool(seen)}{seen}){why}.",
        todo,
    )


# --------------------------------------------------------------------------- layout: folders
def from_folders(config: DataConfig, scale: StageScale, _isolation: WorkerLimits | None = None) -> Found:
    """Layout ``folders``: ``F3/…``, ``train/F3/…`` or ``F3/patient12/…``."""
    names, unmatched, companions = _walked(config)
    again = [item.name for item in companions if item.reason == "linked_again"]
    names, used, disputed = name_by_links(config.root, names, again, scale)
    companions = [item for item in companions if item.name not in used]
    read = {name: read_folders(PurePosixPath(name).parts[:-1], scale) for name in names}
    read |= {name: StageFolder(None, problem="ambiguous_label") for name in disputed}
    unclear = contradict(read.values())
    files = []
    for path, folder in read.items():
        if is_companion(path):
            companions.append(Unmatched("companion", path, "no_picture", ""))
        elif folder.stage is not None and not (unclear and folder.depths):
            files.append(SourceFile(path, folder.stage, folder.patient if config.patient_folders else ""))
        else:
            reason = folder.problem or "ambiguous_label"
            unmatched.append(Unmatched("file", path, reason, _UNCLEAR[reason]))
    return Found(tuple(sorted(files, key=lambda file: file.path)), _sorted(unmatched), _sorted(companions))


# --------------------------------------------------------------------------- layout: table
def from_table(config: DataConfig, scale: StageScale, isolation: WorkerLimits | None = None) -> Found:
    """Layout ``table``: stages come from ``labels``, keyed by path or by DICOM identity."""
    path_of_labels = _labels_path(config)
    labels = read_labels(path_of_labels, scale, config.facts)
    names, unmatched, companions = _walked(config)
    own = [name for name in names if _is_same(locate(config.root, name), path_of_labels)]
    companions += [Unmatched("companion", name, "label_table", "") for name in own]
    names = [name for name in names if name not in own]
    used: set[str] = set()
    files = []
    keys = _keys_of(names, config.root, labels, isolation)
    stated = StatedPaths(labels.rows) if labels.key == "path" else None
    for path, key in zip(names, keys, strict=True):
        value = key if stated is None else stated.find(path)
        row = labels.rows.get(value)
        if value and row:
            used.add(value)
            known = {fact: row.values.get(fact, "") for fact in FACTS}
            facts = tuple((name, row.values.get(name, "").strip()) for name in config.facts)
            files.append(SourceFile(path, scale.names[scale.parse(row.values["stage"])], **known, facts=facts))
        elif is_companion(path):
            companions.append(Unmatched("companion", path, "no_picture", ""))
        else:
            unmatched.append(Unmatched("file", path, "no_label", f"no row of {labels.name} has its {labels.key}"))
    rows = []
    for value, row in labels.rows.items():
        if value not in used:
            detail = value if labels.key == "path" else f"no file has this {labels.key}"
            rows.append(Unmatched("row", f"{labels.name}:{row.line}", "no_file", detail))
    if files:
        return Found(tuple(files), (*_sorted(unmatched), *rows), _sorted(companions))
    pictures = [key for path, key in zip(names, keys, strict=True) if not is_companion(path)]
    mismatch = explain_mismatch(labels, pictures)
    return Found((), (*_sorted(unmatched), *rows), _sorted(companions), mismatch)


def _labels_path(config: DataConfig) -> Path:
    if config.labels is None:
        raise LabelError("data.layout is 'table', but data.labels names no file.", "Set data.labels=labels.csv.")
    below = config.root / config.labels
    return below if below.is_file() else config.labels


def _is_same(file: Path, other: Path) -> bool:
    return file.name == other.name and file.samefile(other)


def _keys_of(names: Sequence[str], root: Path, labels: LabelTable, isolation: WorkerLimits | None) -> list[str]:
    """What the label table's key is of every file; empty where it has none."""
    if labels.key == "path":
        return [plain(name) for name in names]
    paths = [locate(root, name) for name in names]
    if isolation is None:
        identities = [read_identity(path) for path in paths]
    else:
        pieces = [paths[start : start + _HEADERS_PER_TASK] for start in range(0, len(paths), _HEADERS_PER_TASK)]
        answers = dict(isolated(_read_identities, pieces, 1, isolation))
        identities = [identity for number in range(len(pieces)) for identity in answers[number]]
    by_patient = labels.key == "PatientID"
    return ["" if i is None else i.patient_id if by_patient else i.study_uid for i in identities]


def _read_identities(paths: Sequence[Path], watch: Watch) -> list[DicomIdentity | None]:
    identities: list[DicomIdentity | None] = []
    for number, path in enumerate(paths):
        if number in watch.blamed:
            identities.append(None)  # reading it for its pixels will say so with the reason
            continue
        watch.begin(number)
        identities.append(read_identity(path))
    return identities


LAYOUTS: Mapping[str, Callable[[DataConfig, StageScale, WorkerLimits | None], Found]] = {
    "folders": from_folders,
    "table": from_table,
}
"""Every layout a collection can have."""


# --------------------------------------------------------------------------- what lies there
def _walked(config: DataConfig) -> tuple[list[str], list[Unmatched], list[Unmatched]]:
    """Names of the regular files; what else lies there and ought to be looked at; and what need not."""
    names, unmatched, companions = [], [], []
    for entry in walk(config.root, config.outside_links):
        if not entry.problem:
            names.append(entry.name)
        elif entry.problem not in _PROBLEMS:
            companions.append(Unmatched("companion", entry.name, entry.problem, ""))
        elif is_companion(entry.name):
            companions.append(Unmatched("companion", entry.name, "no_picture", ""))
        else:
            unmatched.append(Unmatched("file", entry.name, entry.problem, _PROBLEMS[entry.problem]))
    return names, unmatched, companions


def _sorted(items: list[Unmatched]) -> tuple[Unmatched, ...]:
    return tuple(sorted(items, key=lambda item: item.name))
