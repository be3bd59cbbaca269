"""Which of many pairs are kept: enough that no group falls apart, few enough that a person can read them.

Owns the choice alone; it measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from fibrokd.integrity.correlation import Pairs, joined

_HELD = 2_000_000  # pairs held before those that nobody needs are thrown away


def gathered(found: Iterable[Pairs], count: int, most_per_image: int) -> Pairs:
    """Collect pairs as they are found and return the :func:`strongest`; memory is bounded whatever comes."""
    kept: list[Pairs] = []
    held = 0
    for pairs in found:
        kept.append(pairs)
        held += len(pairs)
        if held > _HELD:
            kept, held = [strongest(joined(kept), count, most_per_image)], 0
    return strongest(joined(kept), count, most_per_image)


def strongest(pairs: Pairs, count: int, most_per_image: int) -> Pairs:
    """Keep the best pairs of every picture, and whatever else holds groups together; strongest first.

    Pairs have a strict order: by value, then by rows. So choosing from what was chosen before and from what is new
    gives the same as choosing from everything at once, and a search may throw away as it goes.

    Args:
        pairs: Any pairs; repeated ones count once.
        count: Pictures in all.
        most_per_image: Best pairs of every picture that are kept.
    """
    order = np.lexsort((pairs.second, pairs.first, -pairs.value))
    pairs = pairs.take(order)
    if not len(pairs):
        return pairs
    again = np.zeros(len(pairs), dtype=bool)
    again[1:] = (pairs.first[1:] == pairs.first[:-1]) & (pairs.second[1:] == pairs.second[:-1])
    pairs = pairs.take(~again)
    return pairs.take(_holding(pairs, count) | _best(pairs, most_per_image))


def _holding(pairs: Pairs, count: int) -> Bool[np.ndarray, " P"]:
    """Pairs of the spanning forest whose values are largest."""
    rank = np.arange(1, len(pairs) + 1, dtype=np.float64)
    forest = minimum_spanning_tree(coo_array((rank, (pairs.first, pairs.second)), shape=(count, count)).tocsr())
    kept = np.zeros(len(pairs), dtype=bool)
    kept[np.asarray(forest.data, dtype=np.int64) - 1] = True
    return kept


def _best(pairs: Pairs, most_per_image: int) -> Bool[np.ndarray, " P"]:
    """Pairs among the best of either picture."""
    ends = np.concatenate([pairs.first, pairs.second])
    which = np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((which, ends))
    place = _places(ends[order])
    kept = np.zeros(len(pairs), dtype=bool)
    kept[which[order[place < most_per_image]]] = True
    return kept


def _places(ends: Int[np.ndarray, " E"]) -> Int[np.ndarray, " E"]:
    """Place of every entry within its run of equal ones."""
    starts = np.flatnonzero(np.concatenate([[True], ends[1:] != ends[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(ends)]]))
    return np.arange(len(ends)) - np.repeat(starts, lengths)
