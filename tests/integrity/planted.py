"""Made-up fingerprints with known near-duplicates among them."""

from __future__ import annotations

import numpy as np

from fibrokd.data.fingerprint import LENGTH, mirrored


def quantised(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(10 * values, -30, 30)).astype(np.int8)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, LENGTH))


def planted(count: int, copies: int, kept: float, seed: int = 0) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Independent fingerprints, then copies of the first of them that keep so much, every other one mirrored."""
    values = noise(count, seed)
    copied = kept * values[:copies] + np.sqrt(1 - kept**2) * noise(copies, seed + 1)
    prints = quantised(np.concatenate([values, copied]))
    prints[count + 1 :: 2] = mirrored(prints[count + 1 :: 2])
    return prints, [(number, count + number) for number in range(copies)]
