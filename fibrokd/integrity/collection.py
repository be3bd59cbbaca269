"""What the integrity check is given: a collection as it was taken in, and what was learned from its pixels.

Plain data; measures and judges nothing.

Shape letters: N images, M images asked for, C margin numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from fibrokd.integrity.card import CollectionCard
from fibrokd.integrity.groups import Grouping
from fibrokd.integrity.identity import StemRules
from fibrokd.integrity.links import Link
from fibrokd.stages import StageScale


@dataclass(frozen=True)
class Collection:
    """What was taken in.

    Args:
        table: Manifest rows.
        scale: Stage scale.
        files: Files found, used or not.
        refused: Files that could not be used, per reason.
        unmatched_rows: Rows of a label table without a file.
        grouping: Evidence that decided the groups of the split.
        rules: Stem rules.
        synthetic: The pictures were generated.
        crop: Whether fans were to be cut out.
        card: What is known of where it comes from; ``None`` where nobody told.
    """

    table: pd.DataFrame
    scale: StageScale
    files: int
    refused: Mapping[str, int]
    unmatched_rows: int
    grouping: Grouping
    rules: StemRules
    synthetic: bool
    crop: Literal["fan", "full"] = "fan"
    card: CollectionCard | None = None

    @property
    def uncropped(self) -> int:
        """Images of which the whole frame was kept."""
        return int((self.table["cropped"].astype(str) == "0").sum())

    @property
    def stages(self) -> Int[np.ndarray, " N"]:
        """Stage index of every row."""
        return np.array([self.scale.parse(name) for name in self.table["stage"]], dtype=np.int64)


Margins = Callable[[Int[np.ndarray, " M"]], Float32[np.ndarray, "M C"]]
"""Fetches the margin numbers of the rows asked for, ascending."""


@dataclass(frozen=True)
class PictureEvidence:
    """What was learned from pixels that are no longer needed.

    Args:
        near: Near-duplicate links between rows of the table.
        threshold: Least correlation that made a link; ``None`` where near-duplicates were not looked for.
        margins: Fetches the numbers about what lies outside the fans; ``None`` where there are none.
    """

    near: Sequence[Link] = ()
    threshold: float | None = None
    margins: Margins | None = None
