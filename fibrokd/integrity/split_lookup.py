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

from fibrokd.integrity.levels import cluster_scores, draw_weights

Thumbnails = Callable[[Int[np.ndarray, " M"]], UInt8[np.ndarray, "M 48 48"]]
"""Fetches the thumbnails of the rows asked for, ascending: only as many as are needed are ever in memory."""

_BLOCK = 2048  # training thumbnails at a time: 38 MB as float64


def split_lookup(
    rows: tuple[Int[np.ndarray, " R"], Int[np.ndarray, " T"]],
    thumbnails: Thumbnails,
    stages: Int[np.ndarray, " N"],
    contents: Int[np.ndarray, " N"],
    clusters: Int[np.ndarray, " N"],
    replicates: int,
) -> dict[str, Any]:
    """Give every test image the stage of the most similar training thumbnail, and score the answers.

    Args:
        rows: Training rows and test rows, ascending.
        thumbnails: Fetches thumbnails by row.
        stages: Stage index of every row.
        contents: Number of the distinct picture that every row shows.
        clusters: Number of every row's group under all evidence.
        replicates: Bootstrap replicates.

    Returns:
        ``accuracy`` and ``balanced_accuracy`` (value, low, high; whole clusters of test images resampled),
        ``twin_in_train``, ``clusters``, ``train_images`` and ``test_images``; empty where one of the two is missing.
    """
    train, test = rows
    if not len(train) or not len(test):
        return {}
    correct = stages[train[nearest(train, test, thumbnails)]] == stages[test]
    codes = np.unique(clusters[test], return_inverse=True)[1].astype(np.int64)
    count = int(codes.max()) + 1
    return {
        **cluster_scores(correct * 1.0, stages[test], codes, draw_weights(count, replicates)),
        "twin_in_train": round(float(np.isin(contents[test], contents[train]).mean()), 4),
        "clusters": count,
        "train_images": len(train),
        "test_images": len(test),
    }


def nearest(train: Int[np.ndarray, " R"], test: Int[np.ndarray, " T"], thumbnails: Thumbnails) -> Int[np.ndarray, " T"]:
    """Return the position in ``train`` of the thumbnail nearest to each test thumbnail; the first of equals."""
    # float64 holds these sums of products of grey levels exactly: the same answer on every machine.
    asked = thumbnails(test).reshape(len(test), -1).astype(np.float64)
    best = np.zeros(len(test), dtype=np.int64)
    least = np.full(len(test), np.inf)
    for start in range(0, len(train), _BLOCK):
        known = thumbnails(train[start : start + _BLOCK])
        known = known.reshape(len(known), -1).astype(np.float64)
        distances = np.einsum("nf,nf->n", known, known) - 2 * (asked @ known.T)
        found = distances.argmin(axis=1)
        distance = distances[np.arange(len(test)), found]
        closer = distance < least
        best[closer], least[closer] = start + found[closer], distance[closer]
    return best
