"""Expected calibration error by cluster of images, and answers cut down to some of their stages.

Shape letters: N images, G clusters, R resamples, B bins.

References:
    Nixon et al., CVPR Workshops 2019, arXiv:1904.01685 (calibration error of equal-mass bins).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import StageScale

_BINS = 15


def calibration_sums(answers: Predictions) -> Float[np.ndarray, "G B 3"]:
    """Return images, confidence in the top stage, and hits, by cluster (ascending) and equal-mass bin.

    Bins are those of all images; resamples do not move their edges.
    """
    confidence = answers.probabilities.max(axis=1)
    hit = answers.predicted == answers.truth
    rank = np.argsort(np.argsort(confidence, kind="stable"), kind="stable")
    bins = rank * _BINS // len(rank)
    cluster = np.unique(np.array(answers.groups), return_inverse=True)[1]
    sums = np.zeros((int(cluster.max()) + 1, _BINS, 3))
    np.add.at(sums, (cluster, bins), np.stack([np.ones(len(hit)), confidence, hit], axis=1))
    return sums


def calibration_errors(sums: Float[np.ndarray, "G B 3"], weights: Float[np.ndarray, "R G"]) -> Float[np.ndarray, " R"]:
    """Return the error of R weighted sums of clusters: mean distance of confidence and hits, bins by their images.

    Args:
        sums: What :func:`calibration_sums` returned.
        weights: How often each cluster counts.
    """
    totals = (weights @ sums.reshape(len(sums), -1)).reshape(len(weights), _BINS, 3)
    error: np.ndarray = np.abs(totals[..., 1] - totals[..., 2]).sum(axis=1) / totals[..., 0].sum(axis=1)
    return error


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
