"""The look-up control on the very split that networks are trained and tested on: same train rows, same test rows.

Owns this one measurement. The control over all levels (:mod:`fibrokd.integrity.controls`) is cross-validated over the
whole collection and so learns from more images than a network does; this one is what networks are compared with.

Shape letters: N images, T test images, R training images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from fibrokd.integrity.controls import ControlsConfig, draw_groups
from fibrokd.integrity.levels import cluster_scores, draw_weights
from fibrokd.integrity.thumbnail_distances import squared_distances

Thumbnails = Callable[[Int[np.ndarray, " M"]], UInt8[np.ndarray, "M 48 48"]]
"""Fetches the thumbnails of the rows asked for: only as many as are needed are ever in memory."""

_BLOCK = 1024  # test thumbnails at a time


def split_lookup(
    rows: tuple[Int[np.ndarray, " R"], Int[np.ndarray, " T"]],
    thumbnails: Thumbnails,
    stages: Int[np.ndarray, " N"],
    contents: Int[np.ndarray, " N"],
    clusters: Int[np.ndarray, " N"],
    config: ControlsConfig,
) -> dict[str, Any]:
    """Give every test image the stage of the most similar training thumbnail, and score the answers.

    Args:
        rows: Training rows and test rows, ascending.
        thumbnails: Fetches thumbnails by row.
        stages: Stage index of every row.
        contents: Number of the distinct picture that every row shows.
        clusters: Number of every row's group under all evidence.
        config: Replicates of the intervals, and the most images that are compared: above, whole clusters are drawn at
            random, for every test image is compared with every training image.

    Returns:
        ``accuracy`` and ``balanced_accuracy`` (value, low, high; whole clusters of test images resampled),
        ``twin_in_train``, ``clusters``, ``train_images``, ``test_images`` and ``sampled`` (how many images these two
        are, where that is fewer than all; else ``None``); empty where one of the two is missing.
    """
    train, test, sampled = _drawn(rows, clusters, config.max_images)
    if not len(train) or not len(test):
        return {}
    correct = stages[train[nearest(train, test, thumbnails)]] == stages[test]
    codes = np.unique(clusters[test], return_inverse=True)[1].astype(np.int64)
    count = int(codes.max()) + 1
    return {
        **cluster_scores(correct * 1.0, stages[test], codes, draw_weights(count, config.replicates)),
        "twin_in_train": round(float(np.isin(contents[test], contents[train]).mean()), 4),
        "clusters": count,
        "train_images": len(train),
        "test_images": len(test),
        "sampled": sampled,
    }


def _drawn(
    rows: tuple[Int[np.ndarray, " R"], Int[np.ndarray, " T"]], clusters: Int[np.ndarray, " N"], at_most: int
) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"], int | None]:
    """Training and test rows of whole clusters, and how many where that is fewer than all."""
    both = np.concatenate(rows)
    if len(both) <= at_most:
        return *rows, None
    kept = draw_groups(np.unique(clusters[both], return_inverse=True)[1].astype(np.int64), at_most)
    return both[kept[kept < len(rows[0])]], both[kept[kept >= len(rows[0])]], len(kept)


def nearest(train: Int[np.ndarray, " R"], test: Int[np.ndarray, " T"], thumbnails: Thumbnails) -> Int[np.ndarray, " T"]:
    """Return the position in ``train`` of the thumbnail nearest to each test thumbnail; the first of equals."""
    known = thumbnails(train)
    pieces = (thumbnails(test[start : start + _BLOCK]) for start in range(0, len(test), _BLOCK))
    return np.concatenate([squared_distances(asked, known).argmin(axis=1) for asked in pieces]).astype(np.int64)
