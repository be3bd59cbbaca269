"""Answers cut down to some of their stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import StageScale


def restricted(answers: Predictions, names: Sequence[str]) -> Predictions:
    """Return the answers on the images of some stages, probabilities renormalised to these.

    Args:
        answers: Answers of a network that tells more stages apart.
        names: Stages that are kept, in the order of the scale.
    """
    kept = np.array([answers.scale.names.index(name) for name in names])
    rows = np.flatnonzero(np.isin(answers.truth, kept))
    part = answers.probabilities[np.ix_(rows, kept)]
    # A network that gives these stages no probability at all says nothing about them: all alike.
    total = part.sum(axis=1, keepdims=True)
    part = np.where(total > 0, part / np.maximum(total, 1e-300), 1 / len(kept))
    cuts = answers.scale.cutoffs
    cutoffs = tuple(k for k in range(1, len(kept)) if any(kept[k - 1] < cut <= kept[k] for cut in cuts))
    return Predictions(
        network=answers.network,
        split=answers.split,
        image_ids=tuple(answers.image_ids[row] for row in rows),
        groups=tuple(answers.groups[row] for row in rows),
        truth=np.searchsorted(kept, answers.truth[rows]).astype(np.int64),
        probabilities=part,
        scale=StageScale(tuple(names), cutoffs),
    )
