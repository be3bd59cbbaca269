"""Bounds of differences of calibration errors, and answers cut down to some of their stages.

Shape letters: R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import StageScale


def distances_of_differences(drawn: Float[np.ndarray, " R"], added: float) -> Float[np.ndarray, " R"]:
    """Return how far resampled differences of calibration errors say that the value may lie from the truth.

    A calibration error is too high by the noise of its bins, the more so the better a network is calibrated, and
    resampling adds noise of the same size to it. Of a perfectly calibrated network it is noise alone, which grows from
    about s to √2 s: what was there before is about ``added`` / (√2 − 1), and may be on either side of a difference.
    Bounds that leave this out exclude the truth in most cohorts where one network is calibrated and the other is not
    (``benchmarks.calibration_size``; docs/decisions/0013 says where these fail, too).

    Args:
        drawn: The difference in every resample.
        added: What resampling adds to the errors on one side of it: the larger one of both sides.
    """
    distance: np.ndarray = np.abs(drawn - drawn.mean()) + added / (math.sqrt(2) - 1)
    return distance


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
