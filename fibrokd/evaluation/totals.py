"""Additive totals of predictions: the one thing every metric is a function of.

A confusion matrix and two sums per cluster are enough for every metric, and totals of clusters add up. So a
bootstrap resample is a weighted sum of cluster totals, and a thousand resamples are one matrix product.
This module counts; it judges nothing.

Shape letters: N images, G clusters, R resamples, K stages; ``*batch`` one or more leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from fibrokd.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over images, for one or many sets of images at once.

    Args:
        confusion: Number of images by (true stage, predicted stage).
        surprise: Sum of −ln(probability of the true stage), nats.
        squared_error: Sum over images and stages of (probability − one-hot truth)².
    """

    confusion: Float[np.ndarray, "*batch K K"]
    surprise: Float[np.ndarray, "*batch"]
    squared_error: Float[np.ndarray, "*batch"]

    @property
    def images(self) -> Float[np.ndarray, "*batch"]:
        """Number of images."""
        images: np.ndarray = self.confusion.sum(axis=(-2, -1))
        return images

    def weighted(self, weights: Float[np.ndarray, "R G"]) -> Totals:
        """Return the totals of R weighted sums of the G sets held here."""
        G, K = self.confusion.shape[0], self.confusion.shape[-1]
        columns = np.column_stack([self.confusion.reshape(G, K * K), self.surprise, self.squared_error])
        sums = weights @ columns
        return Totals(sums[:, : K * K].reshape(-1, K, K), sums[:, -2], sums[:, -1])

    def pooled(self) -> Totals:
        """Return the totals over all sets held here, as a single set: the leading axis has length 1."""
        sums = (array.sum(axis=0, keepdims=True) for array in (self.confusion, self.surprise, self.squared_error))
        return Totals(*sums)


def totals_by_group(predictions: Predictions, counted: Bool[np.ndarray, " N"] | None = None) -> Totals:
    """Return the totals of every cluster, clusters in ascending order of their key.

    Probabilities are divided by their row sum first (it may differ from 1 by the rounding of the file), and the
    probability of the truth is held at or above the float64 epsilon, as scikit-learn does, so that no loss is infinite.

    Args:
        predictions: Answers.
        counted: Images that count; clusters without any stay, and are empty. By default all.
    """
    codes = cluster_codes(predictions)
    G, K = int(codes.max()) + 1, len(predictions.scale)
    truth, p = predictions.truth, predictions.probabilities.astype(np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    of_truth = p[np.arange(len(p)), truth]
    surprise = -np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1.0))
    squared_error = (p**2).sum(axis=1) - 2 * of_truth + 1
    rows = slice(None) if counted is None else np.flatnonzero(counted)
    cells = ((codes * K + truth) * K + predictions.predicted)[rows]
    return Totals(
        confusion=np.bincount(cells, minlength=G * K * K).reshape(G, K, K).astype(np.float64),
        # Without any image numpy counts in integers.
        surprise=np.bincount(codes[rows], weights=surprise[rows], minlength=G).astype(np.float64),
        squared_error=np.bincount(codes[rows], weights=squared_error[rows], minlength=G).astype(np.float64),
    )


def cluster_codes(predictions: Predictions) -> Int[np.ndarray, " N"]:
    """Return the number of the cluster of every image, clusters counted from 0 in ascending order of their key."""
    codes = pd.factorize(np.array(predictions.groups, dtype=object), sort=True)[0]
    return codes.astype(np.int64)
