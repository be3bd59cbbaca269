"""Calibration errors of equal-mass bins, as sums per cluster of images that add up to any resample.

Bins are those of all images; resamples do not move their edges. Equal probabilities share a bin, so that the order of
images decides nothing; where many are equal, bins differ in size.

Shape letters: N images, G clusters, R resamples, K stages, B bins, D draws.

References:
    Nixon et al., CVPR Workshops 2019, arXiv:1904.01685 (equal-mass bins).
    Kull et al., NeurIPS 2019, arXiv:1910.12656 (classwise calibration error).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import cluster_codes

BINS = 15
"""Bins of equal mass."""


def confidence_sums(answers: Predictions) -> Float[np.ndarray, "G B 3"]:
    """Return images, confidence in the top stage, and hits, by cluster (ascending) and bin."""
    return _sums(_stated(answers).max(axis=1), answers.predicted == answers.truth, cluster_codes(answers))


def stage_sums(answers: Predictions) -> Float[np.ndarray, "G K B 3"]:
    """Return images, probability of a stage, and images of that stage, by cluster (ascending), stage and bin."""
    clusters, stated = cluster_codes(answers), _stated(answers)
    tables = [_sums(stated[:, k], answers.truth == k, clusters) for k in range(len(answers.scale))]
    return np.stack(tables, axis=1)


def calibration_errors(sums: Float[np.ndarray, "G B 3"], weights: Float[np.ndarray, "R G"]) -> Float[np.ndarray, " R"]:
    """Return the error of R weighted sums of clusters: mean distance of confidence and hits, bins by their images.

    Args:
        sums: What :func:`confidence_sums` returned.
        weights: How often each cluster counts.
    """
    return _errors(weighted(sums, weights))


def stage_errors(sums: Float[np.ndarray, "G K B 3"], weights: Float[np.ndarray, "R G"]) -> Float[np.ndarray, " R"]:
    """Return the classwise error of R weighted sums of clusters: the mean over stages of the error of each.

    Args:
        sums: What :func:`stage_sums` returned.
        weights: How often each cluster counts.
    """
    error: np.ndarray = _errors(weighted(sums, weights)).mean(axis=1)
    return error


def weighted(sums: Float[np.ndarray, "G ..."], weights: Float[np.ndarray, "R G"]) -> Float[np.ndarray, "R ..."]:
    """Return R weighted sums of what clusters hold."""
    totals: np.ndarray = weights @ sums.reshape(len(sums), -1)
    return totals.reshape(len(weights), *sums.shape[1:])


def _errors(totals: Float[np.ndarray, "*batch B 3"]) -> Float[np.ndarray, "*batch"]:
    error: np.ndarray = np.abs(totals[..., 1] - totals[..., 2]).sum(axis=-1) / totals[..., 0].sum(axis=-1)
    return error


def _stated(answers: Predictions) -> Float[np.ndarray, "N K"]:
    p = answers.probabilities.astype(np.float64)
    stated: np.ndarray = np.round(p / p.sum(axis=1, keepdims=True), 12)
    return stated


def chance_errors(
    answers: Predictions, draws: int, random: np.random.Generator
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """Return both errors of D imagined networks that state the same and are exactly as right as they say.

    True stages are drawn from the stated probabilities. All images of a cluster share one uniform number: they are
    mostly of one patient, and so right or wrong together.

    Args:
        answers: Answers; their true stages are not looked at.
        draws: How many networks are imagined.
        random: Where truths come from.
    """
    stated, clusters = _stated(answers), cluster_codes(answers)
    top, K = answers.predicted, len(answers.scale)
    columns = [stated.max(axis=1), *stated.T]
    bins = [_places(column) for column in columns]
    sure = np.stack(
        [np.bincount(bin_of, weights=own, minlength=BINS) for bin_of, own in zip(bins, columns, strict=True)]
    )
    cell = np.stack([k * BINS + bin_of for k, bin_of in enumerate(bins[1:])], axis=1).ravel()
    steps = np.ascontiguousarray(np.cumsum(stated, axis=1)[:, :-1].T)
    start = np.arange(len(answers)) * K
    errors = np.empty((draws, len(columns)))
    for draw in errors:
        level = random.random(int(clusters.max()) + 1)[clusters]
        truth = np.zeros(len(answers), dtype=np.int64)
        for step in steps:
            truth += level >= step
        right = np.bincount(cell[start + truth], minlength=K * BINS).reshape(K, BINS)
        hits = np.bincount(bins[0][top == truth], minlength=BINS)
        draw[:] = np.abs(sure - np.vstack([hits, right])).sum(axis=1) / len(answers)
    return errors[:, 0], errors[:, 1:].mean(axis=1)


def _places(stated: Float[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    _, alike, counts = np.unique(stated, return_inverse=True, return_counts=True)
    lower = np.cumsum(counts) - counts  # by the first of those that are equal
    places: np.ndarray = lower[alike] * BINS // len(stated)
    return places


def _sums(
    stated: Float[np.ndarray, " N"], hit: Bool[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "G B 3"]:
    cell, size = clusters * BINS + _places(stated), (int(clusters.max()) + 1) * BINS
    columns = [np.bincount(cell, weights=values, minlength=size) for values in (None, stated, hit)]
    return np.stack(columns, axis=1).astype(np.float64).reshape(-1, BINS, 3)
