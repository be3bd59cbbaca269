"""Calibration errors of equal-mass bins, as sums per cluster of images that add up to any resample.

Bins are those of all images; resamples do not move their edges. Of equal probabilities the image that comes first goes
into the lower bin.

Shape letters: N images, G clusters, R resamples, K stages, B bins.

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
    confidence = answers.probabilities.max(axis=1)
    return _sums(confidence, answers.predicted == answers.truth, cluster_codes(answers))


def stage_sums(answers: Predictions) -> Float[np.ndarray, "G K B 3"]:
    """Return images, probability of a stage, and images of that stage, by cluster (ascending), stage and bin."""
    clusters, truth = cluster_codes(answers), answers.truth
    tables = [_sums(answers.probabilities[:, k], truth == k, clusters) for k in range(len(answers.scale))]
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


def _sums(
    stated: Float[np.ndarray, " N"], hit: Bool[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "G B 3"]:
    place = np.empty(len(stated), dtype=np.int64)
    place[np.argsort(stated, kind="stable")] = np.arange(len(stated)) * BINS // len(stated)
    cell, size = clusters * BINS + place, (int(clusters.max()) + 1) * BINS
    columns = [np.bincount(cell, weights=values, minlength=size) for values in (None, stated, hit)]
    return np.stack(columns, axis=1).astype(np.float64).reshape(-1, BINS, 3)
