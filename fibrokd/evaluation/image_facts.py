"""What is known of every image beside its stage: the table images.csv.

Owns the file format. Columns: ``image_id``, ``split``, ``patient`` and ``study`` (numbers without meaning outside the
folder), and one column per further fact, text or numbers; empty where unknown. It says nothing about networks.

Shape letters: N images, M of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from fibrokd.data.prepared import read_table
from fibrokd.errors import ArtifactError, TableError
from fibrokd.evaluation.predictions import Predictions
from fibrokd.files import write_text

KEYS = ("image_id", "split", "patient", "study")
"""Columns that every table holds."""

_TODO = "Assess the networks again."


@dataclass(frozen=True, eq=False)
class Fact:
    """What is known of some images.

    Args:
        names: Distinct values, ascending as text.
        codes: Place of every image's value among them; −1 where unknown.
    """

    names: tuple[str, ...]
    codes: Int[np.ndarray, " N"]

    def at(self, rows: Int[np.ndarray, " M"]) -> Fact:
        """Return the fact of some images, with the values that they have."""
        codes = self.codes[rows]
        held, places = np.unique(codes, return_inverse=True)
        unknown = int(held[0] < 0) if len(held) else 0
        return Fact(tuple(self.names[code] for code in held[unknown:].tolist()), places.astype(np.int64) - unknown)


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """Facts by image.

    Args:
        table: :data:`KEYS` and one column per fact, all text, empty where unknown.
        cuts: Fact → limits between classes of its numbers, ascending; without them they are cut into thirds.

    Raises:
        TableError: Columns are missing, an image comes twice, or limits are of no column or no limits.
    """

    table: pd.DataFrame
    cuts: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [f"column {name!r} is missing" for name in KEYS if name not in self.table]
        if not problems and self.table["image_id"].duplicated().any():
            problems.append("an image_id occurs twice")
        for name, limits in self.cuts.items():
            if name not in self.columns:
                problems.append(f"limits are given for {name!r}, facts are {', '.join(self.columns) or 'none'}")
            elif not limits or any(low >= high for low, high in pairwise(limits)):
                problems.append(f"limits of {name!r} are no ascending numbers")
        if problems:
            raise TableError("the table of images", problems, _TODO)

    @property
    def columns(self) -> list[str]:
        """Names of the facts."""
        return [name for name in self.table.columns if name not in KEYS]

    def rows(self, part: Predictions) -> Int[np.ndarray, " N"]:
        """Return the row of every image of ``part``.

        Raises:
            TableError: An image is not in the table.
        """
        found = self._index.get_indexer(pd.Index(part.image_ids, dtype=object))
        if (found < 0).any():
            problem = f"it lacks image {part.image_ids[int(np.argmin(found))]}, which {part.network} answered"
            raise TableError("the table of images", [problem], _TODO)
        return np.asarray(found, dtype=np.int64)

    def fact(self, column: str) -> Fact:
        """Return a column of all rows."""
        if column not in self._facts:
            codes, names = pd.factorize(self.table[column].mask(self.table[column] == ""), sort=True)
            self._facts[column] = Fact(tuple(names), codes.astype(np.int64))
        return self._facts[column]

    @cached_property
    def _index(self) -> pd.Index[Any]:
        index: pd.Index[Any] = pd.Index(self.table["image_id"], dtype=object)
        return index

    @cached_property
    def _facts(self) -> dict[str, Fact]:
        return {}

    def in_split(self, split: str, column: str) -> list[str]:
        """Return the values that are known of a split's images."""
        values = self.table.loc[self.table["split"] == split, column]
        return [value for value in values if value]


def read_image_facts(path: Path, cuts: Mapping[str, Sequence[float]] | None = None) -> ImageFacts:
    """Read images.csv.

    Args:
        path: The file.
        cuts: As in :class:`ImageFacts`.

    Raises:
        ArtifactError: There is no such file.
        TableError: It is no such table.
    """
    try:
        return ImageFacts(read_table(path), cuts or {})
    except FileNotFoundError as error:
        raise ArtifactError(f"Expected {path}, found nothing.", "Run `fibrokd assess` first.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(str(path), [f"not a CSV table ({error})"], _TODO) from error


def write_image_facts(path: Path, facts: ImageFacts) -> None:
    """Write images.csv atomically."""
    write_text(path, facts.table.to_csv(index=False, lineterminator="\n"))
