"""What the integrity check is given: a collection as it was taken in, and what was learned from its pixels.

Plain data and its counts; measures and judges nothing.

Shape letters: N images, M images asked for, C margin numbers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from fibrokd.data.ingest import Refusal
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
        refused: Files of which not one picture is used, per reason.
        unmatched_rows: Rows of a label table without a file.
        grouping: Evidence that decided the groups of the split.
        rules: Stem rules.
        synthetic: The pictures were generated.
        crop: Whether fans were to be cut out.
        card: What is known of where it comes from; ``None`` where nobody told.
        refused_pictures: Pictures that are not used although others of their file are, per reason.
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
    refused_pictures: Mapping[str, int] = field(default_factory=dict)

    @property
    def uncropped(self) -> int:
        """Images of which the whole frame was kept."""
        return int((self.table["cropped"].astype(str) == "0").sum())

    @property
    def wrong_extension(self) -> int:
        """Files used whose name claims another format."""
        return int(self.table["path"][self.table["extension_ok"].astype(str) == "0"].nunique())

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


@dataclass(frozen=True)
class Refused:
    """What is not used, counted so that files used and files refused are all files there are.

    Args:
        files: Files of which not one picture is used, per reason: the one that most of a file's pictures have.
        pictures: Pictures that are not used although others of their file are, per reason.
    """

    files: Mapping[str, int]
    pictures: Mapping[str, int]


def count_refused(refusals: Iterable[Refusal], used: Set[str]) -> Refused:
    """Count refused files, and refused pictures of files that are used.

    Args:
        refusals: Every file and picture that is not used.
        used: Paths of the files of which a picture is used.
    """
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    pictures: Counter[str] = Counter()
    for refusal in refusals:
        (pictures if refusal.path in used else reasons[refusal.path])[refusal.reason] += 1
    files = Counter(min(found, key=lambda reason: (-found[reason], reason)) for found in reasons.values())
    return Refused(files, pictures)
