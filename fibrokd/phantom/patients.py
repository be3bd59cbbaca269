"""Patients: the latent severity, the label it turns into, and everything about a body that fibrosis does not change.

Severity model: a latent severity ``s = k + U(0, 1)`` in [0, 5) is what the liver has; the label is what a noisy biopsy
reading of ``s`` would write down; ``severity = (s + noise) / 5`` in [0, 1] is what shows in the image. Everything
downstream is continuous in ``severity``, so confusion falls on neighbouring stages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from fibrokd.config import Config
from fibrokd.errors import LabelError
from fibrokd.phantom.randomness import Stream, keyed
from fibrokd.phantom.scanners import SCANNERS, Scanner
from fibrokd.stages import METAVIR

DifficultyName = Literal["easy", "medium", "hard"]


class Difficulty(Config):
    """How much stage information reaches the pixels, and how much hides it.

    ``effect`` about 0.7 reproduces published in-vivo envelope statistics (Nakagami m falling from 0.95 to 0.5);
    values above it exaggerate on purpose.
    """

    effect: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Scales every fibrosis-driven change of the image; 0 means the image says nothing about the stage."""

    appearance_noise: Annotated[float, Field(ge=0, le=3)] = 0.25
    """Mismatch between histology and appearance, standard deviation over patients in stages."""

    label_noise: Annotated[float, Field(ge=0, le=3)] = 0.15
    """Biopsy sampling and reader noise before the label is written, standard deviation in stages."""

    nuisance: Annotated[float, Field(ge=0, le=3)] = 1.0
    """Scales the spread of gain, time-gain sliders, steatosis and body habitus."""

    site_confound: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: the scanner is independent of the stage; 1: the scanner follows the stage (a planted shortcut)."""

    overlay_leak: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of patients whose burned-in marks give the stage away (a planted shortcut)."""


DIFFICULTIES: MappingProxyType[str, Difficulty] = MappingProxyType(
    {
        "easy": Difficulty(effect=1.5, appearance_noise=0.15, label_noise=0.08, nuisance=0.5),
        "medium": Difficulty(),
        "hard": Difficulty(effect=0.65, appearance_noise=0.50, label_noise=0.35, nuisance=1.3),
    }
)
"""Presets by name; ``hard`` lands near published accuracies for staging from B-mode."""


@dataclass(frozen=True)
class Patient:
    """One synthetic patient.

    Args:
        number: Patient number within the cohort.
        seed: Seed of the cohort.
        stage: Index of the label written to disk.
        latent: Histological severity in [0, 5).
        severity: Severity as it shows in the image, in [0, 1].
        effect: Difficulty.effect: scales what severity changes.
        nuisance: Difficulty.nuisance: scales per-clip handling.
        scanner: Name of the scanner.
        steatosis: Fat in the liver in [0, 1], independent of the stage.
        fat_mm: Subcutaneous fat.
        muscle_mm: Abdominal wall muscle.
        nodule_factor: Individual factor on the nodule diameter.
        gain_db: Gain the sonographer likes for this patient.
        sliders_db: Errors of the six time-gain sliders, top to bottom.
        leak: Overlay marks betray the stage.
    """

    number: int
    seed: int
    stage: int
    latent: float
    severity: float
    effect: float
    nuisance: float
    scanner: str
    steatosis: float
    fat_mm: float
    muscle_mm: float
    nodule_factor: float
    gain_db: float
    sliders_db: tuple[float, ...]
    leak: bool

    @property
    def stage_true(self) -> int:
        """Index of the stage the liver really has: the latent severity without reading noise."""
        return int(self.latent)

    @property
    def nodule_mm(self) -> float:
        """Diameter of regenerative nodules, mm: micronodular at first, up to about a centimetre."""
        return (2.6 + self.effect * 4.2 * self.severity) * self.nodule_factor


def make_patient(
    number: int, seed: int, stage: int, difficulty: Difficulty, scanners: Sequence[str] = tuple(SCANNERS)
) -> Patient:
    """Draw one patient whose label is ``stage``.

    Args:
        number: Patient number; with ``seed`` it fixes every draw.
        seed: Seed of the cohort.
        stage: Index of the label.
        difficulty: Difficulty knobs.
        scanners: Names of the scanners the cohort was made with.

    Raises:
        LabelError: ``stage`` is not an index of the METAVIR scale.
    """
    if not 0 <= stage < len(METAVIR):
        raise LabelError(
            f"Expected a stage index from 0 to {len(METAVIR) - 1}, found {stage}.", "Use the index, not the name."
        )
    random = keyed(seed, number, Stream.PATIENT)
    within_stage, choose_scanner, leak = random.random(3)
    steatosis = random.beta(1.1, 2.2)
    normal = random.standard_normal(12)
    nuisance = difficulty.nuisance
    # The caller fixed the label, so reading noise moves the latent severity away from it, not the label.
    latent = float(np.clip(stage + within_stage + difficulty.label_noise * normal[0], 0.0, len(METAVIR) - 1e-3))
    shown = (latent + difficulty.appearance_noise * normal[1]) / len(METAVIR)
    return Patient(
        number=number,
        seed=seed,
        stage=stage,
        latent=latent,
        severity=float(np.clip(shown, 0.0, 1.0)),
        effect=difficulty.effect,
        nuisance=nuisance,
        scanner=_scanner_of(stage, difficulty.site_confound, scanners, choose_scanner),
        steatosis=float(np.clip(steatosis * min(1.0, 0.6 + 0.4 * nuisance), 0.0, 1.0)),
        fat_mm=float(np.clip(13 + 6 * nuisance * normal[2], 4, 32)),
        muscle_mm=float(np.clip(8 + 2 * nuisance * normal[3], 4, 14)),
        nodule_factor=math.exp(0.22 * nuisance * normal[4]),
        gain_db=float(2.6 * nuisance * normal[5]),
        sliders_db=tuple(float(value) for value in 1.4 * nuisance * normal[6:12]),
        leak=bool(leak < difficulty.overlay_leak),
    )


def scanner_of(patient: Patient) -> Scanner:
    """Return the preset the patient was examined with."""
    return SCANNERS[patient.scanner]


def _scanner_of(stage: int, confound: float, scanners: Sequence[str], draw: float) -> str:
    """Mix an even choice with the scanner that the stage prefers."""
    count = len(scanners)
    weights = np.full(count, (1.0 - confound) / count)
    weights[min(count - 1, stage * count // len(METAVIR))] += confound
    return scanners[min(count - 1, int(np.searchsorted(np.cumsum(weights), draw, side="right")))]
