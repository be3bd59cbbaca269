"""A link: one piece of evidence that two images belong together. Owns links and how equal keys become links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Evidence = Literal["patient", "study", "file", "stem", "content", "near"]
"""Kinds of evidence. ``near`` (near-duplicate pictures) comes from outside as extra links."""


@dataclass(frozen=True)
class Link:
    """Evidence that two images belong together.

    Args:
        a: Row of the image that held the key first.
        b: Row of the later image.
        evidence: Kind of evidence.
        value: What was found, such as the shared key or a correlation, so that a person can dispute it.
    """

    a: int
    b: int
    evidence: Evidence
    value: str


def links_of_equal_keys(keys: Sequence[str], evidence: Evidence) -> list[Link]:
    """Tie every image to the first one that holds the same key; "" ties nothing.

    Returns:
        Spanning links only: n images with one key give n - 1 links.
    """
    first: dict[str, int] = {}
    links = []
    for row, key in enumerate(keys):
        if not key:
            continue
        holder = first.setdefault(key, row)
        if holder != row:
            links.append(Link(holder, row, evidence, key))
    return links
