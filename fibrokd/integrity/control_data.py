"""What the controls see of a collection: tables, thumbnails and numbers, never a liver at full size.

Owns the features that controls learn from. It answers nothing and scores nothing (:mod:`fibrokd.integrity.controls`).

Shape letters: N images, F features, C margin numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int, Int32, UInt8

from fibrokd.data import margins as margin_layout
from fibrokd.integrity.thumbnail_distances import squared_distances

_NUMBER = re.compile(r"(\d+)")
_FURTHER = ("mode", "jpeg_tables", "decoder", "extension_ok")
"""Columns of the manifest that tell of the file and not of the liver; used where a manifest has them."""

_BACKGROUND = margin_layout.OUTSIDE.stop - 1
LEAST_KNOWN = 0.9
"""Share of the images whose scanner must be known before the scanner is looked at."""


@dataclass(frozen=True)
class ControlData:
    """What the controls see of a collection.

    Args:
        table: Manifest rows.
        thumbnails: The same rows as 48 × 48 grey levels.
        stages: Stage index of every row.
        margins: The same rows as numbers about what lies outside the fan; see :mod:`fibrokd.data.margins`.
    """

    table: pd.DataFrame
    thumbnails: UInt8[np.ndarray, "N 48 48"]
    stages: Int[np.ndarray, " N"]
    margins: Float32[np.ndarray, "N C"] | None = None

    @cached_property
    def distances(self) -> Int32[np.ndarray, "N N"]:
        """Squared Euclidean distance of every pair of thumbnails."""
        return squared_distances(self.thumbnails, self.thumbnails)

    @cached_property
    def metadata(self) -> Float[np.ndarray, "N F"]:
        """What is known without looking at the picture: file, size, background level, name (never the folder)."""
        names = [PurePosixPath(path) for path in self.table["path"]]
        stems = [name.stem for name in names]
        words = [
            list(self.table["format"]),
            [name.suffix.lower() for name in names],
            [_NUMBER.split(stem)[0][:8] for stem in stems],
            [name_pattern(stem) for stem in stems],
            *(list(self.table[column].astype(str)) for column in _FURTHER if column in self.table),
        ]
        numbers = [
            self.table["height"].astype(float),
            self.table["width"].astype(float),
            *([] if self.margins is None else [self.margins[:, _BACKGROUND]]),
        ]
        coded = [pd.factorize(pd.Series(column), sort=True)[0] for column in words]
        return np.column_stack([np.asarray(column, dtype=np.float64) for column in (*coded, *numbers)])

    @cached_property
    def contents(self) -> Int[np.ndarray, " N"]:
        """Number of the distinct picture that every row shows."""
        return content_codes(self.table)

    @cached_property
    def scanners(self) -> Int[np.ndarray, " N"]:
        """Number of the scanner and site of every row; -1 where neither is known."""
        return scanner_codes(self.table)


def content_codes(table: pd.DataFrame) -> Int[np.ndarray, " N"]:
    """Number the distinct pictures, 0-based in the order of their digests.

    Args:
        table: Manifest rows; reads ``pixel_digest``.
    """
    return np.unique(table["pixel_digest"].to_numpy(dtype=np.str_), return_inverse=True)[1].astype(np.int64)


def scanner_codes(table: pd.DataFrame) -> Int[np.ndarray, " N"]:
    """Number every combination of scanner and site, 0-based in alphabetical order; -1 where neither is known.

    Args:
        table: Manifest rows; reads ``scanner`` and ``site``.
    """
    told = table["scanner"].astype(str) + "\x1f" + table["site"].astype(str)
    known = (table["scanner"].astype(str) != "") | (table["site"].astype(str) != "")
    return pd.factorize(told.where(known, None), sort=True)[0].astype(np.int64)


def name_pattern(stem: str) -> str:
    """Return the make of a name: letters become ``a``, numbers their count of digits.

    Example:
        >>> name_pattern("P0001_C0_000")
        'a4_a1_3'
    """
    parts = (str(len(part)) if part.isdecimal() else re.sub(r"[^\W\d_]+", "a", part) for part in _NUMBER.split(stem))
    return "".join(parts)[:24]
