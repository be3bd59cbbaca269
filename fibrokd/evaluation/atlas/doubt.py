"""Labels worth checking: those that the network and the nearest training patients contradict together.

An error of a network and an error of a label look alike from the network's side alone. The nearest training patients
were labelled by other reports: where they, too, are far from the label, it is the label that should be looked at first.
That is no proof. Neighbours are nearest in the network's own embedding and share its blind spots.

Shape letters: N images, k neighbours, K stages.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.severity import severity


@dataclass(frozen=True)
class Doubted:
    """Images of one cluster under one label.

    Args:
        row: Row of the image that contradicts the label most.
        images: How many images of the cluster hold the label.
        doubt: Mean over them, in stages, see :func:`doubts`.
    """

    row: int
    images: int
    doubt: float


def doubts(answers: Predictions, stages: Int[np.ndarray, "N k"]) -> Float[np.ndarray, " N"]:
    """Return how many stages away from its label network *and* neighbours put every image.

    The smaller of two distances: the network's Σₖ pₖ |k − label|, and the neighbours' mean |stage − label|. It is 0
    where the network calls the label, or the two lie on different sides of it.

    Args:
        answers: What the network answered; its truth is the labels.
        stages: Stages of the nearest training patients.
    """
    away = stages - answers.truth[:, None]
    sides = np.sign(answers.predicted - answers.truth) * np.sign(away.mean(axis=1))
    smaller: np.ndarray = np.where(sides > 0, np.minimum(severity(answers), np.abs(away).mean(axis=1)), 0.0)
    return smaller


def ranked(answers: Predictions, doubt: Float[np.ndarray, " N"]) -> list[Doubted]:
    """Return every cluster's labels, most doubted first.

    Args:
        answers: What the network answered.
        doubt: Of every image, see :func:`doubts`.
    """
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, key in enumerate(zip(answers.groups, answers.truth.tolist(), strict=True)):
        members[key].append(row)
    found = [
        Doubted(max(rows, key=lambda row: float(doubt[row])), len(rows), float(doubt[rows].mean()))
        for rows in members.values()
    ]
    return sorted(found, key=lambda item: (-item.doubt, answers.image_ids[item.row]))
