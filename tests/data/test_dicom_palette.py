"""Palette colour against pydicom's own tables, and segmented tables against what they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from fibrokd.data.dicom.palette import expand_segments, palette_table, through_palette
from fibrokd.data.reading import decode, read_bytes
from tests.data.objects import monochrome, palette, phantom_clip, to_bytes

TRUTH = phantom_clip()[0]


def with_tables(samples: np.ndarray, tables: list[np.ndarray], first: int = 0, bits: int = 16) -> Dataset:
    """A PALETTE COLOR object with a table per colour."""
    dataset = monochrome(samples, PhotometricInterpretation="PALETTE COLOR")
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [len(table) % 65536, first, bits])
        kind = "<u2" if bits == 16 else "u1"
        setattr(dataset, f"{name}PaletteColorLookupTableData", table.astype(kind).tobytes())
    dataset.set_original_encoding(False, True)
    return dataset


def segmented(samples: np.ndarray, segments: list[int], count: int, bits: int = 16) -> Dataset:
    dataset = monochrome(samples, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [count % 65536, 0, bits])
        data = np.array(segments, "<u2" if bits == 16 else "u1").tobytes()
        setattr(dataset, f"Segmented{name}PaletteColorLookupTableData", data)
    dataset.set_original_encoding(False, True)
    return dataset


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 10, 200])
def test_colours_are_those_of_pydicom(bits: int, first: int) -> None:
    random = np.random.default_rng(0)
    samples = random.integers(0, 256, (40, 50), dtype=np.uint8)
    tables = [random.integers(0, 1 << bits, 200) for _ in range(3)]
    dataset = with_tables(samples, tables, first, bits)
    theirs = apply_color_lut(samples, dataset)
    expected = theirs if bits == 8 else theirs >> 8
    np.testing.assert_array_equal(through_palette(samples, dataset, []), expected)


def test_indices_of_16_bits_find_their_entry_in_tables_of_16_and_of_8_bits() -> None:
    samples = np.random.default_rng(1).integers(0, 65536, (40, 50), dtype=np.uint16)
    for bits in (16, 8):
        table = np.arange(65536) if bits == 16 else np.arange(65536) >> 8
        shown = through_palette(samples, with_tables(samples, [table] * 3, 0, bits), [])
        np.testing.assert_array_equal(shown[..., 0], samples >> 8)


def test_eight_bit_entries_in_a_16_bit_table_are_recognised_by_the_table_and_not_by_the_frame() -> None:
    notes: list[str] = []
    small, _ = palette_table(with_tables(TRUTH, [np.arange(256)] * 3), notes)
    np.testing.assert_array_equal(small[:, 0], np.arange(256))
    assert notes == ["the palette's 16-bit entries hold 8-bit values"]
    dark = np.zeros((96, 96), np.uint8)
    dark[40:50, 40:50] = 1  # of a picture of which only the darkest entries are used
    assert through_palette(dark, with_tables(dark, [np.arange(256) * 257] * 3), []).max() == 1


def test_a_picture_through_an_inverted_palette_comes_back() -> None:
    (image,) = read_bytes(to_bytes(palette(255 - TRUTH, np.arange(256)[::-1] * 257)))
    np.testing.assert_array_equal(image.pixels, TRUTH)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([0, 3, 7, 8, 9], [7, 8, 9]),
        ([0, 1, 0, 1, 5, 100], [0, 20, 40, 60, 80, 100]),
        ([0, 1, 100, 1, 4, 0], [100, 75, 50, 25, 0]),
        ([0, 2, 5, 6, 1, 2, 10, 2, 2, 0, 0], [5, 6, 8, 10, 5, 6, 8, 10]),  # copies the first two segments
        ([0, 2, 5, 6, 0, 1, 9, 2, 1, 8, 0], [5, 6, 9, 9]),  # copies from byte 8, the second segment
        ([0, 3, 7, 8, 9, 0], [7, 8, 9]),  # a trailing word pads
    ],
)
def test_segments_of_16_bits_stand_for_their_entries(words: list[int], expected: list[int]) -> None:
    found = expand_segments(np.array(words), 100, 16)
    np.testing.assert_array_equal(found, expected)


def test_segments_of_8_bits_have_their_offset_in_bytes() -> None:
    words = [0, 2, 5, 6, 0, 1, 9, 2, 1, 4, 0, 0, 0]
    np.testing.assert_array_equal(expand_segments(np.array(words), 100, 8), [5, 6, 9, 9])


def test_a_segmented_object_is_read_like_pydicom_expands_it() -> None:
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, 0).repeat(4, 1)
    dataset = segmented(samples, [0, 1, 0, 1, 155, 40_000, 1, 100, 65_535], 256)
    np.testing.assert_array_equal(through_palette(samples, dataset, []), apply_color_lut(samples, dataset) >> 8)
    (image,) = decode(to_bytes(dataset)).images
    np.testing.assert_array_equal(image.pixels, apply_color_lut(samples, dataset)[..., 0] >> 8)


@given(st.lists(st.integers(0, 300), max_size=40), st.sampled_from([8, 16]))
def test_no_segments_hang_or_grow_beyond_the_descriptor(words: list[int], bits: int) -> None:
    try:
        found = expand_segments(np.array(words, dtype=np.int64), 256, bits)
    except ValueError:
        return
    assert len(found) <= 256


@pytest.mark.parametrize("words", [[1, 5, 100], [3, 1, 1], [0, 9, 1], [2, 1, 0, 0]])
def test_segments_that_break_the_format_are_refused(words: list[int]) -> None:
    with pytest.raises(ValueError, match="palette"):
        expand_segments(np.array(words), 100, 16)


def test_a_table_that_is_too_short_is_refused() -> None:
    dataset = with_tables(TRUTH, [np.arange(256) * 257] * 3)
    dataset.GreenPaletteColorLookupTableData = bytes(100)
    with pytest.raises(ValueError, match="palette entries"):
        palette_table(dataset, [])
