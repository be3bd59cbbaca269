"""Answers of two networks brought to the same images in the same order. It compares nothing.

Shape letters: none.
"""

from __future__ import annotations

import numpy as np

from fibrokd.evaluation.intervals import require_same_images
from fibrokd.evaluation.predictions import Predictions


def in_order_of(first: Predictions, second: Predictions) -> Predictions:
    """Return the second network's answers in the order of the first one's images.

    Args:
        first: Answers whose order is kept.
        second: Answers to the same images.

    Raises:
        TableError: Images, truths or groups differ.
    """
    same = first.image_ids == second.image_ids and first.groups == second.groups
    if same and np.array_equal(first.truth, second.truth):
        return second
    require_same_images(first, second)
    return of_images(second, first.image_ids)


def of_images(part: Predictions, image_ids: tuple[str, ...]) -> Predictions:
    """Return the answers to some of the images, in the order given.

    Args:
        part: Answers, among them to all of these images.
        image_ids: At least one, none twice.
    """
    place = {image_id: row for row, image_id in enumerate(part.image_ids)}
    return part.rows(np.array([place[image_id] for image_id in image_ids], dtype=np.int64))
