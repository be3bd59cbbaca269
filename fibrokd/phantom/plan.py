"""The plan of a cohort on disk: every file with its name, its defects and its truth, before anything is rendered.

The plan depends on the configuration only, so any worker may write any clip. Writing is in ``writing``.

Shape letters: S side of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from fibrokd.phantom.anatomy import view_of
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig, cohort_patients
from fibrokd.phantom.hazards import BROKEN, TAMPERINGS, HazardConfig
from fibrokd.phantom.patients import Patient, scanner_of
from fibrokd.phantom.randomness import COHORT, Stream, keyed
from fibrokd.stages import METAVIR

_EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "dicom": ".dcm", "dicom_cine": ".dcm"}
_OTHER = {"png": "jpeg", "jpeg": "png", "dicom": "dicom", "dicom_cine": "dicom_cine"}


@dataclass(frozen=True)
class PlannedFile:
    """One file of a cohort.

    Args:
        path: Relative path, POSIX.
        stage: Index of the stage it is filed under.
        clip: Clip number.
        frame: Frame number; 0 for a cine.
        kind: ``original``, ``exact``, ``resave``, ``tampered`` or ``broken``.
        duplicate_of: Path of the original this is a copy of, or empty.
        encoding: ``png``, ``jpeg``, ``dicom`` or ``dicom_cine``: what the content is, whatever the name says.
        quality: JPEG quality.
        tampering: One of :data:`fibrokd.phantom.hazards.TAMPERINGS`, or empty.
    """

    path: str
    stage: int
    clip: int
    frame: int
    kind: str
    duplicate_of: str
    encoding: str
    quality: int
    tampering: str = ""


@dataclass(frozen=True)
class ClipPlan:
    """All files that come from one clip."""

    patient: Patient
    clip: int
    files: tuple[PlannedFile, ...]


def plan_cohort(config: CohortConfig) -> list[ClipPlan]:
    """Plan every file of a cohort, clip by clip; broken files are in :func:`plan_broken`."""
    plans = [
        ClipPlan(patient, clip, tuple(_plan_clip(config, patient, clip)))
        for patient in cohort_patients(config)
        for clip in range(config.clips)
    ]
    return _renamed(config, plans) if config.hazards.names == "random" else plans


def plan_broken(config: CohortConfig) -> list[PlannedFile]:
    """Plan the unreadable files of a cohort, spread over the stages."""
    files = []
    for number in range(config.hazards.broken):
        stage = number % len(METAVIR)
        extension = ".png" if config.format == "image" else ".dcm"
        path = f"{_folder(config, stage)}/broken{number}{extension}"
        files.append(PlannedFile(path, stage, 0, 0, "broken", "", BROKEN[number % len(BROKEN)], 0))
    return files


def truth_row(plan: ClipPlan, file: PlannedFile) -> dict[str, str]:
    """Return the truth of one file, every value as text."""
    patient = plan.patient
    # As the DICOM header has it, where there is one: a table and a header must not name one patient in two ways.
    name = f"PHANTOM{patient.number:05d}" if file.encoding.startswith("dicom") else f"P{patient.number:04d}"
    return {
        "path": file.path,
        "stage": METAVIR.names[file.stage],
        "patient": name,
        "study": f"{name}-S1",
        "site": scanner_of(patient).site,
        "scanner": patient.scanner,
        "clip": str(file.clip),
        "frame": str(file.frame),
        "view": view_of(patient.seed, patient.number, file.clip).name.lower(),
        "steatosis": f"{patient.steatosis:.4f}",
        "latent": f"{patient.latent:.4f}",
        "stage_true": METAVIR.names[patient.stage_true],
        "kind": file.kind,
        "duplicate_of": file.duplicate_of,
        "tampering": file.tampering,
    }


def render_cohort(config: CohortConfig) -> Iterator[tuple[UInt8[np.ndarray, "S S"], dict[str, str]]]:
    """Yield the original images of a cohort with their truth, without writing anything."""
    for plan in plan_cohort(config.model_copy(update={"format": "image", "hazards": HazardConfig()})):
        clip = Clip(plan.patient, plan.clip)
        for file in plan.files:
            yield clip.frame(file.frame, config.size, config.overlay), truth_row(plan, file)


def _plan_clip(config: CohortConfig, patient: Patient, clip: int) -> Iterator[PlannedFile]:
    """Plan one clip: its originals and their copies."""
    files_per_clip = 1 if config.format == "dicom_cine" else config.frames
    for frame in range(files_per_clip):
        position = clip * files_per_clip + frame
        stage = _filed_stage(config, patient, position, config.clips * files_per_clip)
        encoding = _encoding(config, patient)
        stem = f"{_folder(config, stage)}/P{patient.number:04d}_C{clip}"
        stem += "" if config.format == "dicom_cine" else f"_{frame:03d}"
        random = keyed(config.seed, patient.number, Stream.COPIES, clip, frame)
        misnamed = random.random() < config.hazards.wrong_extension
        extension = _EXTENSIONS[_OTHER[encoding] if misnamed else encoding]
        quality = config.jpeg_quality
        original = PlannedFile(f"{stem}{extension}", stage, clip, frame, "original", "", encoding, quality)
        yield original
        yield from _plan_copies(config, original, stem, random)


def _plan_copies(
    config: CohortConfig, original: PlannedFile, stem: str, random: np.random.Generator
) -> Iterator[PlannedFile]:
    """Plan the copies of one original."""
    hazards, path = config.hazards, original.path
    extension = path[path.rindex(".") :]
    mark = "_copy" if hazards.names == "stem" else "_"
    exact = int(random.poisson(hazards.exact_copies[original.stage]))
    resaved, tampered = random.random(2) < (hazards.resaved, hazards.tampered)
    quality, tampering = int(random.integers(60, 96)), TAMPERINGS[int(random.integers(len(TAMPERINGS)))]
    number = 0
    place = (original.stage, original.clip, original.frame)
    for number in range(1, exact + 1):
        name = f"{stem}{mark}{number}{extension}"
        yield PlannedFile(name, *place, "exact", path, original.encoding, original.quality)
    if resaved:
        number += 1
        yield PlannedFile(f"{stem}{mark}{number}.jpg", *place, "resave", path, "jpeg", quality)
    if tampered:
        number += 1
        name = f"{stem}{mark}{number}.jpg"
        yield PlannedFile(name, *place, "tampered", path, "jpeg", config.jpeg_quality, tampering)


def _filed_stage(config: CohortConfig, patient: Patient, position: int, count: int) -> int:
    """Stage of the folder; a straddling patient's second half lies next door."""
    straddles = keyed(config.seed, patient.number, Stream.STRADDLE).random() < config.hazards.straddle
    if not straddles or position < count / 2:
        return patient.stage
    return patient.stage + 1 if patient.stage + 1 < len(METAVIR) else patient.stage - 1


def _encoding(config: CohortConfig, patient: Patient) -> str:
    if config.format != "image":
        return config.format
    if config.encoding == "per_scanner":
        return "png" if scanner_of(patient).stores_png else "jpeg"
    return config.encoding


def _folder(config: CohortConfig, stage: int) -> str:
    """Images lie in stage folders; DICOM exports know nothing of stages."""
    return METAVIR.names[stage] if config.format == "image" else "dicom"


def _renamed(config: CohortConfig, plans: list[ClipPlan]) -> list[ClipPlan]:
    """Give every file a random name such as ``k4817``: a letter and at least four digits, never twice."""
    paths = [file.path for plan in plans for file in plan.files]
    digits = 4
    while len(paths) > 26 * 10**digits // 2:
        digits += 1
    numbers = keyed(config.seed, COHORT, Stream.NAMES).choice(26 * 10**digits, len(paths), replace=False)
    new = {"": ""}
    for path, number in zip(paths, numbers, strict=True):
        folder, _, name = path.partition("/")
        letter, rest = divmod(int(number), 10**digits)
        new[path] = f"{folder}/{chr(ord('a') + letter)}{rest:0{digits}d}{name[name.rindex('.') :]}"
    return [
        ClipPlan(
            plan.patient,
            plan.clip,
            tuple(replace(file, path=new[file.path], duplicate_of=new[file.duplicate_of]) for file in plan.files),
        )
        for plan in plans
    ]
