"""What is known of every image beside its stage: the table images.csv.

Owns the file format. Columns: ``image_id``, ``split``, ``patient`` and ``study`` (numbers without meaning outside the
folder), and one column per further fact, text or numbers; empty where unknown. It says nothing about networks.

Shape letters: N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from fibrokd.data.prepared import read_table
from fibrokd.errors import ArtifactError, TableError
from fibrokd.evaluation.predictions import Predictions
from fibrokd.files import write_text

KEYS = ("image_id", "split", "patient", "study")
"""Columns that every table holds."""

_TODO = "Assess the networks again."


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

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {image_id: row for row, image_id in enumerate(self.table["image_id"])}

    def of(self, part: Predictions, column: str) -> Shaped[np.ndarray, " N"]:
        """Return a column for the images of ``part``, in their order.

        Raises:
            TableError: An image is not in the table.
        """
        try:
            rows = [self._places[image_id] for image_id in part.image_ids]
        except KeyError as error:
            problem = f"it lacks image {error.args[0]}, which {part.network} answered"
            raise TableError("the table of images", [problem], _TODO) from error
        return self.table[column].to_numpy(dtype=np.str_)[rows]

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
