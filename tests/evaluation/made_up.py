"""Made-up predictions for tests: clustered, of any skill, on any scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fibrokd.evaluation.image_facts import ImageFacts
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


def made_up_facts(parts: Sequence[Predictions], **columns: Sequence[str]) -> ImageFacts:
    """Facts of the images of some parts: their clusters are their patients, of two studies each, and given columns.

    Args:
        parts: Answers of one network.
        **columns: Name → values of all images, in the order of the parts.
    """
    groups = [group for part in parts for group in part.groups]
    table = pd.DataFrame(
        {
            "image_id": [name for part in parts for name in part.image_ids],
            "split": [part.split for part in parts for _ in part.image_ids],
            "patient": [str(number + 1) for number in pd.factorize(np.array(groups, dtype=object))[0]],
            "study": [str(number % 2 + 1) for number in range(len(groups))],
            **columns,
        }
    )
    return ImageFacts(table)
