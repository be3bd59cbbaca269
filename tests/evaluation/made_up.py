"""Made-up predictions for tests: clustered, of any skill, on any scale."""

from __future__ import annotations

import numpy as np

from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import METAVIR, StageScale


def made_up_predictions(
    network: str = "student_kd",
    patients: int = 60,
    frames: int = 3,
    skill: float = 2.0,
    seed: int = 0,
    scale: StageScale = METAVIR,
) -> Predictions:
    """Answers whose logits rise with ``skill`` at the true stage and share an error within a patient."""
    random = np.random.default_rng(seed)
    K = len(scale)
    stage = np.repeat(np.arange(patients) % K, frames)
    own = np.repeat(random.normal(0, 1, (patients, K)), frames, axis=0) + random.normal(0, 0.5, (patients * frames, K))
    near = -np.abs(np.subtract.outer(stage, np.arange(K)))
    logits = own + skill * near
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    ids = tuple(f"{number:016x}" for number in range(patients * frames))
    groups = tuple(f"P{patient:03d}" for patient in np.repeat(np.arange(patients), frames))
    return Predictions(network, "test", ids, groups, stage.astype(np.int64), p / p.sum(axis=1, keepdims=True), scale)
