"""Copies of one picture: which images hold exactly the same content.

Owns the search for copies and yields links; it joins nothing into groups. Exact content is compared on the decoded
grey levels, so that a copy survives renaming and re-wrapping in another lossless container.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from fibrokd.integrity.links import Link, links_of_equal_keys


@dataclass(frozen=True)
class CopyFacts:
    """How much of a collection consists of copies.

    Args:
        images: Images in all.
        distinct: Distinct pictures among them.
        most: How often the most copied picture occurs.
        across_stages: Pictures filed under more than one stage.
    """

    images: int
    distinct: int
    most: int
    across_stages: int


def exact_links(table: pd.DataFrame) -> list[Link]:
    """Tie images whose decoded grey levels are identical.

    Args:
        table: Manifest rows; reads ``pixel_digest``.
    """
    return links_of_equal_keys([digest[:32] for digest in table["pixel_digest"]], "content")


def copy_facts(table: pd.DataFrame) -> CopyFacts:
    """Count copies.

    Args:
        table: Manifest rows; reads ``pixel_digest`` and ``stage``.
    """
    by_content = table.groupby("pixel_digest")["stage"]
    sizes = by_content.size()
    return CopyFacts(
        images=len(table),
        distinct=len(sizes),
        most=int(sizes.max()) if len(sizes) else 0,
        across_stages=int((by_content.nunique() > 1).sum()),
    )
