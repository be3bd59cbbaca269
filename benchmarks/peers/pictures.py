"""Phantom pictures for whole trainings: two cohorts that share no patient, rendered from a seed.

Shape letters: N pictures, S side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig, cohort_patients
from fibrokd.phantom.patients import DifficultyName
from fibrokd.progress import track

RENDERED = 256
"""Side at which pictures are rendered, pixels; they are then resized as preprocessing would."""
STRIDE = 10
"""Frames between two pictures of a patient: speckle has changed by then."""


@dataclass(frozen=True)
class Pictures:
    """Pictures whose patients are known.

    Args:
        pixels: Grey levels, [N, S, S].
        stages: Stage of each, [N].
        patients: Patient of each, N.
    """

    pixels: UInt8[np.ndarray, "N S S"]
    stages: Int[np.ndarray, " N"]
    patients: tuple[str, ...]

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Identifiers, unique within the cohort."""
        return tuple(f"{patient}-{number}" for number, patient in enumerate(self.patients))


def cohort(
    name: str, patients: int, frames: int, side: int, seed: int, difficulty: DifficultyName = "easy"
) -> Pictures:
    """Render a cohort in which every stage has (nearly) as many patients.

    Args:
        name: Begins the names of its patients, and tells cohorts apart.
        patients: Their number.
        frames: Pictures of each.
        side: Side of the pictures, pixels.
        seed: Cohorts of different seeds have different patients.
        difficulty: Preset of how much of the stage shows.
    """
    config = CohortConfig(patients=patients, seed=seed, difficulty=difficulty)
    pixels, stages, names = [], [], []
    for patient in track(cohort_patients(config), f"{name} pictures", patients, "patients"):
        clip = Clip(patient)
        for frame in range(frames):
            image = Image.fromarray(clip.frame(STRIDE * frame, RENDERED, overlay=False))
            pixels.append(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)))
            stages.append(patient.stage)
            names.append(f"{name}{patient.number:04d}")
    return Pictures(np.stack(pixels), np.array(stages), tuple(names))
