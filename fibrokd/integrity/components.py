"""Sets that are joined one link at a time: the one union-find of the integrity check.

Owns no evidence and no names: whoever joins knows what is joined, and why.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


class Components:
    """Items 0 … ``count`` − 1, each a set of its own until joined.

    The smallest item of a set stands for it, so that nothing depends on the order of the joins.

    Example:
        >>> sets = Components(4)
        >>> sets.join(3, 1), sets.join(1, 3), sets.heads().tolist()
        (True, False, [0, 1, 2, 1])
    """

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        """Return the smallest item of the set that an item is in."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, one: int, other: int) -> bool:
        """Make one set of those of two items; returns whether they were two."""
        a, b = self.find(one), self.find(other)
        self._parent[max(a, b)] = min(a, b)
        return a != b

    def heads(self) -> Int[np.ndarray, " N"]:
        """Return the smallest item of the set of every item."""
        return np.array([self.find(item) for item in range(len(self._parent))], dtype=np.int64)
