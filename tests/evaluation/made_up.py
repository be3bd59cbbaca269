"""Made-up predictions for tests: clustered, of any skill, on any scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fibrokd.evaluation.atlas.collected import Collected, Neighbour
from fibrokd.evaluation.atlas.image_arrays import ImageArrays
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


def of_split(part: Predictions, split: str) -> Predictions:
    """The answers as those of another split: to other images, of other clusters."""
    return replace(
        part,
        split=split,
        image_ids=tuple(f"{split}{name}" for name in part.image_ids),
        groups=tuple(f"{split}{group}" for group in part.groups),
    )


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


def made_up_collected(parts: Sequence[Predictions], cells: int = 8, neighbours: int = 5) -> dict[str, Collected]:
    """Maps of chance, and neighbours of the next stage but one, by network.

    Args:
        parts: Answers, one part per network.
        cells: Side of the maps.
        neighbours: Neighbours of every image.
    """
    found = {}
    for part in parts:
        maps = np.random.default_rng(0).normal(0, 0.1, (len(part), len(part.scale), cells, cells))
        other = (part.truth + 2) % len(part.scale)
        items = {
            image_id: [Neighbour(f"{7000 + rank:016x}", int(stage), 0.9 - rank / 50) for rank in range(neighbours)]
            for image_id, stage in zip(part.image_ids, other, strict=True)
        }
        found[part.network] = Collected(ImageArrays(part.image_ids, maps), items)
    return found
