"""Near-duplicates: pictures that show the same moment, or almost, though no bit of them is equal.

Owns the search through fingerprints, the threshold, and how far groups hang together by it; it sees no pixels and
joins nothing. All pairs are compared up to a limit; beyond it :mod:`fibrokd.integrity.candidates` proposes which. The
order of the pictures never matters: they are searched in the order of the digests of their fingerprints.

Shape letters: N fingerprints, L their length, U distinct ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from jaxtyping import Int, Int8
from pydantic import Field

from fibrokd.config import Config
from fibrokd.integrity.candidates import candidate_pairs
from fibrokd.integrity.components import Components
from fibrokd.integrity.correlation import Pairs, alike, even_and_odd, no_pairs, norms
from fibrokd.integrity.links import Link
from fibrokd.integrity.strongest import gathered

BLOCK = 2048
"""Fingerprints compared with as many others at once; decides memory and speed, never the result."""


class NearConfig(Config):
    """When two pictures count as near-duplicates, and how they are searched."""

    enabled: bool = True
    """Without it only exact copies and names tie pictures."""

    threshold: Annotated[float, Field(ge=0.3, le=1)] = 0.6
    """Least correlation of two fingerprints, one of them mirrored or not."""

    exact_up_to: Annotated[int, Field(ge=0)] = 20_000
    """Up to so many distinct pictures every pair is compared; beyond, candidates are."""

    most_per_image: Annotated[int, Field(ge=1)] = 8
    """Best links of every picture that are kept; those that hold a group together are kept anyway."""


@dataclass(frozen=True)
class Percolation:
    """How far near-duplicates alone join what nothing else does.

    Args:
        merges: Joins of groups that no other evidence ties: groups before minus groups after.
        groups: Most of the former groups that became one.
        images: Images of that one.
    """

    merges: int
    groups: int
    images: int


def near_links(fingerprints: Int8[np.ndarray, "N L"], config: NearConfig | None = None) -> list[Link]:
    """Tie near-duplicates.

    Equal fingerprints are tied to the first of them and compared with others once.

    Args:
        fingerprints: One row per image; rows of zeros (blank pictures) tie nothing.
        config: Threshold and effort.

    Returns:
        Links in the order of their rows, ``a`` < ``b``; the value is the correlation, with ``mirrored`` behind it
        where it is that with the mirrored picture. A link per equal picture, the best links of every other, and
        what else holds groups together: the groups are those of all pairs found.
    """
    config = config or NearConfig()
    if not config.enabled or not len(fingerprints):
        return []
    heads, copies = _distinct(fingerprints)
    found = near_pairs(fingerprints[heads], config)
    one, other = heads[found.first], heads[found.second]
    links = [
        Link(min(a, b), max(a, b), "near", f"{value:.2f} mirrored" if turned else f"{value:.2f}")
        for a, b, value, turned in zip(
            one.tolist(), other.tolist(), found.value.tolist(), found.mirrored.tolist(), strict=True
        )
    ]
    links += [Link(head, copy, "near", "1.00") for head, copy in copies]
    return sorted(links, key=lambda link: (link.a, link.b))


def near_pairs(fingerprints: Int8[np.ndarray, "U L"], config: NearConfig, block: int = BLOCK) -> Pairs:
    """Find pairs at or above the threshold, thinned out to the strongest.

    Args:
        fingerprints: Distinct ones, none all zeros.
        config: Threshold and effort.
        block: See :data:`BLOCK`.
    """
    count = len(fingerprints)
    if count < 2:
        return no_pairs()
    exact = count <= config.exact_up_to
    found = (
        _all_pairs(fingerprints, config.threshold, block) if exact else candidate_pairs(fingerprints, config.threshold)
    )
    return gathered(found, count, config.most_per_image)


def percolation(names: Sequence[str], links: Sequence[Link]) -> Percolation:
    """Measure how far near-duplicates join groups that no other evidence ties.

    A rate per pair hides it: one wrong pair in 20,000 ties a whole collection into one group.

    Args:
        names: Group of every row under all other evidence.
        links: Links between rows; those of other evidence are left out.
    """
    if not names:
        return Percolation(0, 0, 0)
    codes = np.unique(np.array(names, dtype=np.str_), return_inverse=True)[1].tolist()
    sets = Components(max(codes) + 1)
    merges = sum(sets.join(codes[link.a], codes[link.b]) for link in links if link.evidence == "near")
    heads = sets.heads()
    groups, images = np.bincount(heads), np.bincount(heads[codes])
    largest = np.lexsort((images, groups))[-1]
    return Percolation(merges, int(groups[largest]), int(images[largest]))


def _distinct(
    fingerprints: Int8[np.ndarray, "N L"],
) -> tuple[Int[np.ndarray, " U"], list[tuple[int, int]]]:
    """First row of every distinct fingerprint in the order of digests, and (first row, row) of every further one."""
    head: dict[bytes, int] = {}
    copies: list[tuple[int, int]] = []
    for row, one in enumerate(np.ascontiguousarray(fingerprints)):
        if not one.any():
            continue
        first = head.setdefault(hashlib.blake2b(one.data, digest_size=16).digest(), row)
        if first != row:
            copies.append((first, row))
    return np.array([head[digest] for digest in sorted(head)], dtype=np.int64), copies


def _all_pairs(fingerprints: Int8[np.ndarray, "U L"], threshold: float, block: int) -> Iterator[Pairs]:
    """Compare every pair, a block of fingerprints with a block at a time."""
    count, norm = len(fingerprints), norms(fingerprints)
    for start in range(0, count, block):
        mine = slice(start, start + block)
        parts = even_and_odd(fingerprints[mine])
        for after in range(start, count, block):
            theirs = slice(after, after + block)
            other = parts if after == start else even_and_odd(fingerprints[theirs])
            value, odd = alike(parts, norm[mine], other, norm[theirs])
            if after == start:
                value[np.tril_indices(len(value))] = -1
            row, column = np.nonzero(value >= threshold)
            yield Pairs(row + start, column + after, value[row, column], odd[row, column] < 0)
