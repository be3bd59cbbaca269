"""How far apart thumbnails are, exactly: every look-up of the most similar one uses these numbers, and ties are ties.

Shape letters: A B thumbnails of one set and of another.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int32, UInt8

_BLOCK = 1024  # thumbnails as float64 at a time: 19 MB


def squared_distances(
    one: UInt8[np.ndarray, "A 48 48"], other: UInt8[np.ndarray, "B 48 48"]
) -> Int32[np.ndarray, "A B"]:
    """Return squared Euclidean distances, grey levels; at most 48 · 48 · 255², which 32 bits hold.

    float64 holds the sums of products exactly, so neither the machine nor the size of blocks changes a result.
    """
    found = np.empty((len(one), len(other)), dtype=np.int32)
    squares = [np.einsum("nij,nij->n", wide, wide) for wide in (one.astype(np.int32), other.astype(np.int32))]
    for start in range(0, len(one), _BLOCK):
        asked = one[start : start + _BLOCK].reshape(-1, 48 * 48).astype(np.float64)
        for after in range(0, len(other), _BLOCK):
            known = other[after : after + _BLOCK].reshape(-1, 48 * 48).astype(np.float64)
            product = (asked @ known.T).astype(np.int32)
            block = found[start : start + len(asked), after : after + len(known)]
            np.add(squares[0][start : start + len(asked), None], squares[1][after : after + len(known)], out=block)
            block -= 2 * product
    return found
