"""What near-duplicates say about a collection: possible copies, contradictions with stages and patients, percolation.

Owns the counts; the search itself is :mod:`fibrokd.integrity.near_duplicates`, what counts mean is judged elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from fibrokd.integrity.links import Link
from fibrokd.integrity.near_duplicates import percolation

COPY = 0.99
"""Correlation from which two pictures of two files are taken for one frame, made lighter or saved again. One to five of
a hundred neighbouring frames of slowly moving synthetic clips reach it too, unless their names number them."""

CONVERTED = 0.90
"""Correlation from which two pictures are so taken when their files differ as well, in one of :data:`EXPORT`. Nearly
all clips are exported alike, but some are not, and no correlation tells their frames from copies: of synthetic clips,
neighbours reach 0.76–0.94, and what was saved again as JPEG at quality 70 reaches 0.89–0.98."""

EXPORT = ("format", "mode", "jpeg_tables", "height", "width")
"""Columns of the manifest that tell how a picture was exported; used where a manifest has them."""

_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class NearFacts:
    """Counts over all near-duplicate links.

    Args:
        links: Links.
        threshold: Least correlation that made a link.
        images: Images with a link.
        copies: Images that look like an altered copy of another file or like what was altered, see
            :func:`is_altered_copy`: which of two came first, nothing tells. Some may be neighbouring frames of a clip.
        converted: Images among them whose files were exported differently (format, colour mode, JPEG quality, size),
            or that are mirrored.
        mirrored: Images among them that are mirrored.
        across_stages: Links between different stages.
        across_patients: Links between different known patients.
        merges: Groups that only near-duplicates joined to others.
        largest_groups: Most groups of other evidence that near-duplicates made into one.
        largest_images: Images of that one.
    """

    links: int
    threshold: float
    images: int
    copies: int
    converted: int
    mirrored: int
    across_stages: int
    across_patients: int
    merges: int
    largest_groups: int
    largest_images: int

    def as_json(self) -> dict[str, Any]:
        """Return the counts as JSON data."""
        return asdict(self)


def near_facts(
    table: pd.DataFrame, patients: Sequence[str], links: Sequence[Link], groups: Sequence[str], threshold: float
) -> NearFacts:
    """Count what near-duplicates say.

    Args:
        table: Manifest rows; reads ``path``, ``stage``, ``pixel_digest`` and :data:`EXPORT`.
        patients: Believed patient key of every row, "" where unknown.
        links: Near-duplicate links between rows.
        groups: Group of every row under all other evidence.
        threshold: Least correlation that made a link.
    """
    stages = list(table["stage"])
    copies = [link for link in links if is_altered_copy(table, link)]
    chained = percolation(groups, links)
    return NearFacts(
        links=len(links),
        threshold=threshold,
        images=_pictures(links),
        copies=_pictures(copies),
        converted=_pictures(link for link in copies if is_mirrored(link) or _converted(table, link)),
        mirrored=_pictures(link for link in copies if is_mirrored(link)),
        across_stages=sum(stages[link.a] != stages[link.b] for link in links),
        across_patients=sum(_differ(patients[link.a], patients[link.b]) for link in links),
        merges=chained.merges,
        largest_groups=chained.groups,
        largest_images=chained.images,
    )


def _pictures(links: Iterable[Link]) -> int:
    """Pictures at either end of links, so that the order of the rows does not matter."""
    return len({row for link in links for row in (link.a, link.b)})


def is_altered_copy(table: pd.DataFrame, link: Link) -> bool:
    """Return whether a link looks like one to an altered copy in another file, more than to a neighbouring frame.

    That is: alike only when mirrored; or, under names that do not number the frames of one clip, alike to :data:`COPY`,
    or to :data:`CONVERTED` in files that were exported differently. It is no proof. Exact copies are not meant.

    Args:
        table: Manifest rows; reads ``path``, ``pixel_digest`` and :data:`EXPORT`.
        link: A near-duplicate link between rows.
    """
    one, other = (str(table["path"].iat[row]) for row in (link.a, link.b))
    if one == other or str(table["pixel_digest"].iat[link.a]) == str(table["pixel_digest"].iat[link.b]):
        return False
    if is_mirrored(link):
        return True
    least = CONVERTED if _converted(table, link) else COPY
    return correlation_of(link) >= least and not _numbers_frames(one, other)


def correlation_of(link: Link) -> float:
    """Return the correlation that a near-duplicate link rests on."""
    return float(link.value.split()[0])


def is_mirrored(link: Link) -> bool:
    """Return whether the two pictures are alike only when one is mirrored."""
    return link.value.endswith("mirrored")


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _converted(table: pd.DataFrame, link: Link) -> bool:
    columns = (table[name] for name in EXPORT if name in table)
    return any(str(column.iat[link.a]) != str(column.iat[link.b]) for column in columns)


def _numbers_frames(one: str, other: str) -> bool:
    """Whether two names differ in their last number alone, as those of frames do; copies carry further marks."""
    first, second = (_NUMBER.split(PurePosixPath(path).stem) for path in (one, other))
    if len(first) != len(second) or len(first) < 3:
        return False
    return first[:-2] == second[:-2] and first[-1] == second[-1] and first[-2] != second[-2]
