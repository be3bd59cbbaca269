"""What crosses between the splits actually made, by identical content and by any evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Int

from fibrokd.integrity.splitting import Parts, Splits


@dataclass(frozen=True)
class Leak:
    """What crosses between the splits actually made.

    Args:
        twins: Share of test images whose exact content is also among the training images.
        relatives: Share of test images that some evidence ties to a training image.
        others: Every other pair of splits, ``val→train``: share of the first split's images that some evidence
            (identical content included) ties to the second.
    """

    twins: float
    relatives: float
    others: dict[str, float] = field(default_factory=dict)


def leak_of(table: pd.DataFrame, groups: Sequence[str], splits: Splits) -> Leak:
    """Return what crosses from each split to every earlier one.

    Args:
        table: Manifest rows; reads ``pixel_digest``.
        groups: Group of every row under all evidence.
        splits: Splits.
    """
    rows = {name: rows_of(splits.splits, name) for name in splits.splits.names}

    def crossing(keys: Sequence[str], later: str, earlier: str) -> float:
        if not len(rows.get(later, ())) or not len(rows.get(earlier, ())):
            return 0.0
        values = np.array(keys, dtype=np.str_)
        return round(float(np.isin(values[rows[later]], values[rows[earlier]]).mean()), 4)

    pairs = [(later, earlier) for earlier, later in combinations(splits.splits.names, 2)]
    return Leak(
        twins=crossing(list(table["pixel_digest"]), "test", "train"),
        relatives=crossing(groups, "test", "train"),
        others={f"{a}→{b}": crossing(groups, a, b) for a, b in pairs if (a, b) != ("test", "train")},
    )


def rows_of(parts: Parts, name: str) -> Int[np.ndarray, " M"]:
    """Return the rows of one part, ascending; none where it does not exist."""
    return np.flatnonzero(np.array(parts.names)[parts.part] == name)
