"""Plain tables for people who check: confusion.csv, and how many test images have an exact copy in train.

Counting only; intervals and metrics are made elsewhere.

Shape letters: K stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from fibrokd.evaluation.predictions import Predictions
from fibrokd.files import write_text

CONFUSION_COLUMNS = ("network", "split", "truth", "predicted", "count", "row_percent", "column_percent")


def confusion_counts(predictions: Predictions) -> Int[np.ndarray, "K K"]:
    """Return how many images of true stage i were predicted as stage j."""
    K = len(predictions.scale)
    counts: np.ndarray = np.bincount(predictions.truth * K + predictions.predicted, minlength=K * K)
    return counts.reshape(K, K)


def percentages(counts: Int[np.ndarray, "K K"], axis: int) -> Float[np.ndarray, "K K"]:
    """Return counts as percentages of their row (``axis=1``) or column (``axis=0``); NaN where that is empty."""
    sums = counts.sum(axis=axis, keepdims=True)
    shares: np.ndarray = np.divide(100.0 * counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)
    return shares


def confusion_table(predictions: Sequence[Predictions]) -> pd.DataFrame:
    """Return :data:`CONFUSION_COLUMNS`, one row per network, split, true and predicted stage.

    ``row_percent`` is the share of the images of that true stage, ``column_percent`` the share of the images called
    that stage; both are NaN (empty in the file) where there are no such images.
    """
    rows = []
    for part in predictions:
        counts = confusion_counts(part)
        by_row, by_column = percentages(counts, axis=1), percentages(counts, axis=0)
        for i, truth in enumerate(part.scale.names):
            for j, predicted in enumerate(part.scale.names):
                cell = (truth, predicted, int(counts[i, j]), by_row[i, j], by_column[i, j])
                rows.append((part.network, part.split, *cell))
    return pd.DataFrame(rows, columns=list(CONFUSION_COLUMNS))


def write_confusion(path: Path, predictions: Sequence[Predictions]) -> None:
    """Write confusion.csv atomically, percentages with two decimals."""
    text = confusion_table(predictions).to_csv(index=False, float_format="%.2f", lineterminator="\n")
    write_text(path, text)


def share_copied_from_train(table: pd.DataFrame, split: str = "test") -> float:
    """Return the share of a split's images whose very pixels also occur in train.

    Args:
        table: Columns ``split`` and ``pixel_digest``, as in ``Prepared.table``.
        split: The split to look at; it must not be empty.
    """
    known = set(table.loc[table["split"] == "train", "pixel_digest"])
    return float(table.loc[table["split"] == split, "pixel_digest"].isin(known).mean())
