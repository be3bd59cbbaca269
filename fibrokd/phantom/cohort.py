"""A cohort: its configuration and its patients.

Which files it consists of is in ``plan``, writing them in ``writing``.

Shape letters: S side of the image.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import UInt8
from pydantic import Field, model_validator

from fibrokd.config import Config
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.hazards import HazardConfig
from fibrokd.phantom.patients import DIFFICULTIES, Difficulty, DifficultyName, Patient, make_patient
from fibrokd.phantom.randomness import COHORT, Stream, keyed
from fibrokd.phantom.scanners import SCANNERS, ScannerName
from fibrokd.stages import METAVIR

GENERATION = 1
"""Number of the image formation; raised whenever the same configuration makes other pixels than before."""

Weight = Annotated[float, Field(ge=0)]


class CohortConfig(Config):
    """What to generate. Everything but ``workers`` is part of the cohort's identity."""

    patients: Annotated[int, Field(ge=1, le=99_999)] = 100
    """Number of patients; also the number of groups that must not be split."""

    clips: Annotated[int, Field(ge=1, le=100)] = 1
    """Clips (scan planes) per patient."""

    frames: Annotated[int, Field(ge=1, le=1000)] = 4
    """Frames per clip; neighbouring frames are near-duplicates."""

    size: Annotated[int, Field(ge=64, le=1024)] = 256
    """Side of the square images, pixels."""

    seed: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 0
    """Seed of every random draw."""

    difficulty: DifficultyName = "medium"
    """Preset of how much stage information reaches the pixels."""

    knobs: Difficulty | None = None
    """Knobs in place of the preset's."""

    prevalence: tuple[Weight, Weight, Weight, Weight, Weight] | None = None
    """Weights of F0 … F4 over patients; none means balanced."""

    scanners: Annotated[tuple[ScannerName, ...], Field(min_length=1)] = ("sonova", "echolab", "mirasono", "handix")
    """Scanners in use."""

    format: Literal["image", "dicom", "dicom_cine"] = "image"
    """``image``: F0/ … F4/ folders; ``dicom``: one US image object per frame; ``dicom_cine``: one US multi-frame object
    per clip. DICOM files lie in one folder, their stages are only in truth.csv."""

    encoding: Literal["png", "jpeg", "per_scanner"] = "png"
    """How images are stored; ``per_scanner`` follows each scanner's habit."""

    jpeg_quality: Annotated[int, Field(ge=50, le=100)] = 90
    """Quality of JPEG stills."""

    overlay: bool = True
    """Burn in text and rulers."""

    hazards: HazardConfig = HazardConfig()
    """Defects of the collection."""

    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes; 0 is one per usable core. Never changes the result."""

    @property
    def resolved_difficulty(self) -> Difficulty:
        """The knobs in force."""
        return self.knobs or DIFFICULTIES[self.difficulty]

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the cohort's content, as JSON data."""
        data = self.as_json()
        del data["workers"]
        return {"generation": GENERATION, **data}

    @model_validator(mode="after")
    def _check(self) -> CohortConfig:
        if len(set(self.scanners)) != len(self.scanners):
            raise ValueError(f"scanners should be distinct, found {list(self.scanners)}")
        if self.prevalence is not None and sum(self.prevalence) <= 0:
            raise ValueError("prevalence should hold at least one weight above 0")
        if self.format != "image" and self.hazards.alters_pixels:
            raise ValueError("hazards resaved, tampered and wrong_extension exist for format 'image' only")
        return self


def assign_stages(config: CohortConfig) -> list[int]:
    """Return the stage index of every patient: exact quotas in a seeded random order.

    Quotas by largest remainder. The order is a permutation and never ``patient % 5``, which would align stages with
    any fold or split that counts patients.
    """
    weights = np.array(config.prevalence or (1.0,) * len(METAVIR))
    shares = weights / weights.sum() * config.patients
    quotas = np.floor(shares).astype(int)
    order = np.argsort(quotas - shares, kind="stable")
    quotas[order[: config.patients - quotas.sum()]] += 1
    stages = np.repeat(np.arange(len(METAVIR)), quotas)
    return [int(stage) for stage in keyed(config.seed, COHORT, Stream.STAGES).permutation(stages)]


def cohort_patients(config: CohortConfig) -> list[Patient]:
    """Return every patient of a cohort."""
    difficulty = config.resolved_difficulty
    return [
        make_patient(number, config.seed, stage, difficulty, config.scanners)
        for number, stage in enumerate(assign_stages(config))
    ]


def render_case(
    patient: int, seed: int, stage: int, size: int, difficulty: DifficultyName | Difficulty
) -> UInt8[np.ndarray, "S S"]:
    """Render the first frame of one patient of a given stage.

    Args:
        patient: Patient number.
        seed: Seed of the cohort.
        stage: Index of the label.
        size: Side of the image, pixels.
        difficulty: Preset, or knobs of one's own.
    """
    knobs = difficulty if isinstance(difficulty, Difficulty) else DIFFICULTIES[difficulty]
    return Clip(make_patient(patient, seed, stage, knobs, tuple(SCANNERS))).frame(0, size)
