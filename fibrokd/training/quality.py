"""How good teachers are, measured where they have not been trained: training images that all of them left out.

Whole groups are left out (see :class:`fibrokd.data.selection.Selection`), so this is an inner grouped split of the
training fold. Validation and test images are never looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from fibrokd.training.dataset import TrainingImages
from fibrokd.training.prediction import predict
from fibrokd.training.teachers import LiveTeacher

LEAST = 5
"""Images of every stage below which nothing is measured: one image would move the balanced accuracy too far."""


def unseen_rows(teachers: Sequence[LiveTeacher], images: TrainingImages) -> Int[np.ndarray, " N"]:
    """Return the positions of images that no teacher was trained on; none where one does not say what it has seen."""
    known: set[str] = set()
    for teacher in teachers:
        if teacher.seen is None:
            return np.empty(0, dtype=np.int64)
        known |= teacher.seen
    return np.array([k for k, name in enumerate(images.image_ids) if name not in known], dtype=np.int64)


def teacher_qualities(teachers: Sequence[LiveTeacher], images: TrainingImages, stages: int) -> tuple[float, ...] | None:
    """Return every teacher's balanced accuracy on training images that none was trained on.

    Args:
        teachers: The teachers.
        images: The student's training images.
        stages: Number of stages K.

    Returns:
        One number per teacher, or None where a stage has fewer than five such images.
    """
    rows = unseen_rows(teachers, images)
    truth = images.stages[rows]
    if np.bincount(truth, minlength=stages).min() < LEAST:
        return None
    found = []
    for teacher in teachers:
        answer = predict(teacher.network, images.pixels[rows], teacher.runtime, teacher.device).argmax(1)
        teacher.count(len(rows))
        found.append(float(np.mean([(answer[truth == k] == k).mean() for k in range(stages)])))
    return tuple(found)
