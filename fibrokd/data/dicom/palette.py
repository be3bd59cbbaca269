"""Palette colour: the red, green and blue tables of a header, plain or segmented, applied to indices.

Reference: DICOM PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6 (descriptor and data), C.7.9.2 (segmented tables).
Shape letters: H W frame, E entries.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, Integer, UInt8
from pydicom.dataset import Dataset

from fibrokd.data.dicom.levels import table_entries
from fibrokd.data.grey import high_byte

_COLOURS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


def through_palette(
    samples: Integer[np.ndarray, "H W"], dataset: Dataset, notes: list[str]
) -> UInt8[np.ndarray, "H W 3"]:
    """Return the colours that a frame of indices stands for.

    Args:
        samples: Indices as stored; those outside the table get its first or last entry.
        dataset: The header.
        notes: Is told of repairs.

    Raises:
        ValueError: The tables are incomplete.
    """
    table, first = palette_table(dataset, notes)
    return table[np.clip(samples.astype(np.int32) - first, 0, len(table) - 1)]


def palette_table(dataset: Dataset, notes: list[str]) -> tuple[UInt8[np.ndarray, "E 3"], int]:
    """Return the 8-bit table and the stored value of its first entry.

    Args:
        dataset: The header.
        notes: Is told of repairs.

    Raises:
        ValueError: The tables are incomplete.
    """
    count, first, bits = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
    count = count or 1 << 16
    little = bool(dataset.original_encoding[1])
    columns = []
    for colour in _COLOURS:
        plain = dataset.get(f"{colour}PaletteColorLookupTableData")
        if plain is not None:
            entries = table_entries(plain, count, little)
        else:
            words = dataset[f"Segmented{colour}PaletteColorLookupTableData"].value
            entries = expand_segments(table_entries(words, len(words) * 8 // bits, little), count, bits)
        if len(entries) < count:
            raise ValueError(f"Expected {count} palette entries, found {len(entries)}.")
        columns.append(entries)
    table = np.stack(columns, axis=1)
    if bits == 16 and table.max() <= 255:  # writers that put 8-bit entries into 16-bit tables
        notes.append("the palette's 16-bit entries hold 8-bit values")
        bits = 8
    return high_byte(table, bits), first


def expand_segments(words: Int[np.ndarray, " W"], count: int, bits: int) -> Int[np.ndarray, " E"]:
    """Return the entries that a segmented table stands for, at most ``count``.

    Args:
        words: The segments: opcode, length, then what the opcode needs.
        count: Entries that the descriptor states.
        bits: Bits of a word, 8 or 16.

    Raises:
        ValueError: A segment breaks the format.
    """
    out: list[int] = []
    numbers = [int(word) for word in words]
    for at in _segments(numbers, 0, len(numbers), bits):
        copied = _copied(numbers, at, bits) if numbers[at] == _INDIRECT else [at]
        for start in copied:
            if len(out) >= count:
                return np.array(out[:count], dtype=np.int64)
            _expand(numbers, start, out)
    return np.array(out[:count], dtype=np.int64)


def _segments(numbers: list[int], at: int, most: int, bits: int) -> Iterator[int]:
    """Yield where up to ``most`` segments start; a single trailing word pads."""
    while at + 2 <= len(numbers) and most > 0:
        opcode, length = numbers[at], numbers[at + 1]
        size = {_DISCRETE: 2 + length, _LINEAR: 3, _INDIRECT: 2 + 32 // bits}.get(opcode)
        if size is None or at + size > len(numbers):
            raise ValueError("A palette segment is of an unknown kind or cut off.")
        yield at
        at, most = at + size, most - 1


def _copied(numbers: list[int], at: int, bits: int) -> list[int]:
    """Where the segments start that an indirect segment copies; those are never indirect themselves."""
    words = numbers[at + 2 : at + 2 + 32 // bits]
    offset_bytes = sum(word << bits * place for place, word in enumerate(words))
    found = list(_segments(numbers, offset_bytes * 8 // bits, numbers[at + 1], bits))
    if any(numbers[start] == _INDIRECT for start in found):
        raise ValueError("A palette segment copies a copy.")
    return found


def _expand(numbers: list[int], at: int, out: list[int]) -> None:
    length = numbers[at + 1]
    if numbers[at] == _DISCRETE:
        out.extend(numbers[at + 2 : at + 2 + length])
        return
    if not out:
        raise ValueError("A linear palette segment has nothing to start from.")
    start, stop = out[-1], numbers[at + 2]
    out.extend(round(start + (stop - start) * step / length) for step in range(1, length + 1))
