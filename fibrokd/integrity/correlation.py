"""Correlation of fingerprints, as they are and with one picture mirrored: both for the price of one.

Owns how alike two fingerprints are; decides no threshold and searches nothing. A picture is the sum of an even part,
which mirroring leaves alone, and an odd part, whose sign it turns; so if p and q are the products of two pictures'
even and odd parts, the pictures correlate as p + q, and as p − q when one is mirrored. Fingerprints hold small whole
numbers, of which single precision sums exactly: no result depends on the order or the size of blocks.

Shape letters: N fingerprints, L their length, K half of it, A B two blocks, P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Int8

from fibrokd.data.fingerprint import SIDE

_PAIRS = 4096  # measured at once


@dataclass(frozen=True)
class EvenAndOdd:
    """Even and odd parts of fingerprints, of the left half only, twice their size.

    Args:
        even: Sums with the mirrored picture, whole numbers.
        odd: Differences from the mirrored picture, whole numbers.
    """

    even: Float32[np.ndarray, "N K"]
    odd: Float32[np.ndarray, "N K"]


@dataclass(frozen=True)
class Pairs:
    """Pairs of fingerprints and how alike they are.

    Args:
        first: Row of the one.
        second: Row of the other, always larger.
        value: Correlation, the larger of the plain and the mirrored one.
        mirrored: The mirrored one is larger.
    """

    first: Int[np.ndarray, " P"]
    second: Int[np.ndarray, " P"]
    value: Float32[np.ndarray, " P"]
    mirrored: Bool[np.ndarray, " P"]

    def __len__(self) -> int:
        return len(self.first)

    def take(self, which: Bool[np.ndarray, " P"] | Int[np.ndarray, " Q"]) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.first[which], self.second[which], self.value[which], self.mirrored[which])


def no_pairs() -> Pairs:
    """Return the empty set."""
    none = np.zeros(0, dtype=np.int64)
    return Pairs(none, none, np.zeros(0, dtype=np.float32), np.zeros(0, dtype=bool))


def joined(sets: list[Pairs]) -> Pairs:
    """Return all pairs of several sets, one after the other."""
    if not sets:
        return no_pairs()
    return Pairs(
        np.concatenate([pairs.first for pairs in sets]),
        np.concatenate([pairs.second for pairs in sets]),
        np.concatenate([pairs.value for pairs in sets]),
        np.concatenate([pairs.mirrored for pairs in sets]),
    )


def even_and_odd(fingerprints: Int8[np.ndarray, "N L"]) -> EvenAndOdd:
    """Split fingerprints into even and odd parts."""
    grids = fingerprints.reshape(len(fingerprints), SIDE, SIDE).astype(np.float32)
    left, right = grids[:, :, : SIDE // 2], grids[:, :, : SIDE // 2 - 1 : -1]
    shape = (len(fingerprints), SIDE * SIDE // 2)
    return EvenAndOdd((left + right).reshape(shape), (left - right).reshape(shape))


def norms(fingerprints: Int8[np.ndarray, "N L"]) -> Float32[np.ndarray, " N"]:
    """Return the Euclidean norm of every fingerprint; 0 for those of blank pictures."""
    found = np.empty(len(fingerprints), dtype=np.float32)
    for start in range(0, len(fingerprints), _PAIRS):
        block = fingerprints[start : start + _PAIRS].astype(np.float32)
        found[start : start + _PAIRS] = np.sqrt(np.einsum("nl,nl->n", block, block))
    return found


def alike(
    one: EvenAndOdd, one_norm: Float32[np.ndarray, " A"], other: EvenAndOdd, other_norm: Float32[np.ndarray, " B"]
) -> tuple[Float32[np.ndarray, "A B"], Float32[np.ndarray, "A B"]]:
    """Correlate all pictures of one block with all of another; no norm may be 0.

    Returns:
        The larger of the plain and the mirrored correlation, and the product of the odd parts, negative where it is
        the mirrored one.
    """
    value = one.even @ other.even.T
    odd = one.odd @ other.odd.T
    value += np.abs(odd)
    value /= (2 * one_norm)[:, None] * other_norm
    return value, odd


def measured(
    fingerprints: Int8[np.ndarray, "N L"],
    norm: Float32[np.ndarray, " N"],
    first: Int[np.ndarray, " P"],
    second: Int[np.ndarray, " P"],
) -> Pairs:
    """Correlate given pairs, the same numbers as :func:`alike` gives."""
    value, mirrored = np.empty(len(first), dtype=np.float32), np.empty(len(first), dtype=bool)
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        one, other = even_and_odd(fingerprints[first[part]]), even_and_odd(fingerprints[second[part]])
        even, odd = (np.einsum("pk,pk->p", *both) for both in ((one.even, other.even), (one.odd, other.odd)))
        value[part] = (even + np.abs(odd)) / ((2 * norm[first[part]]) * norm[second[part]])
        mirrored[part] = odd < 0
    return Pairs(first, second, value, mirrored)
