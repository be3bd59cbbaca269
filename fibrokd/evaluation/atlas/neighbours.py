"""The training patients whose pictures a network takes for most alike: nearest in its own embedding.

Likeness is the cosine of two embeddings after the mean of the training images was taken off: pooled vectors behind a
rectifier all point the same way, and their plain cosines differ in the third digit. A cluster of images that belong
together counts once, by its most alike image; otherwise the frames of one patient would be all the neighbours.

Shape letters: M images that are asked about, N training images, D width of the embedding, G clusters, k neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_AT_ONCE = 256  # questions per product: 256 × 100,000 training images are 100 MB


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest training images, nearest first, each of another cluster.

    Args:
        rows: Row among the training images.
        likeness: Cosine, −1 … 1.
    """

    rows: Int[np.ndarray, "M k"]
    likeness: Float[np.ndarray, "M k"]


def nearest(
    asked: Float[np.ndarray, "M D"],
    known: Float[np.ndarray, "N D"],
    own: Sequence[str],
    clusters: Sequence[str],
    count: int,
) -> Neighbours:
    """Return the training images that are most like each image; of equally alike ones those whose cluster comes first.

    An image's own cluster is left out: a split that tears clusters apart has it among the training images.

    Args:
        asked: Embeddings that are asked about.
        known: Embeddings of training images.
        own: Cluster of every image that is asked about.
        clusters: Cluster of every training image.
        count: Neighbours k; fewer where there are fewer other clusters.
    """
    names, codes = np.unique(np.asarray(clusters), return_inverse=True)
    place_of = {name: place for place, name in enumerate(names.tolist())}
    excluded = np.array([place_of.get(name, -1) for name in own])
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    centre = known.mean(axis=0)
    questions, answers = _unit(asked - centre), _unit(known[order] - centre)
    count = min(count, len(starts) - int((excluded >= 0).any()))
    ends = np.append(starts[1:], len(order))
    rows = np.empty((len(asked), count), dtype=np.int64)
    likeness = np.empty((len(asked), count))
    for start in range(0, len(asked), _AT_ONCE):
        cosines = questions[start : start + _AT_ONCE] @ answers.T
        best = np.maximum.reduceat(cosines, starts, axis=1)
        torn = np.flatnonzero(excluded[start : start + _AT_ONCE] >= 0)
        best[torn, excluded[start + torn]] = -np.inf
        chosen = _largest(best, count)
        for number, groups in enumerate(chosen):
            for rank, group in enumerate(groups):
                place = starts[group] + int(cosines[number, starts[group] : ends[group]].argmax())
                rows[start + number, rank], likeness[start + number, rank] = order[place], cosines[number, place]
    return Neighbours(rows, np.clip(likeness, -1.0, 1.0))


def _largest(values: Float[np.ndarray, "m G"], count: int) -> Int[np.ndarray, "m k"]:
    """Places of the largest values of every row, largest first, of equal ones the first."""
    if count == 0:
        return np.empty((len(values), 0), dtype=np.int64)
    # Everything that ties with the last of them takes part, or chance would choose among those.
    least = -np.partition(-values, count - 1, axis=1)[:, count - 1]
    found = []
    for row, limit in zip(values, least, strict=True):
        places = np.flatnonzero(row >= limit)
        found.append(places[np.argsort(-row[places], kind="stable")[:count]])
    return np.stack(found)


def _unit(vectors: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "M D"]:
    """Vectors of length 1; one of length 0, which is like nothing, stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: np.ndarray = vectors / np.where(lengths > 0, lengths, 1.0)
    return units
