"""Stored grey samples to levels: every transform of the standard against its formula, written again here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing

from fibrokd.data.dicom.levels import grey_levels, level_table, window
from fibrokd.data.reading import decode
from tests.data.objects import monochrome, to_bytes


def header(bits: int = 12, signed: bool = False, **elements: object) -> Dataset:
    samples = np.zeros((2, 2), np.uint16 if bits > 8 else np.uint8)
    dataset = monochrome(samples, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed), **elements)
    dataset.set_original_encoding(False, True)
    return dataset


def levels(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    return grey_levels(stored.reshape(1, -1), dataset, [])[0].astype(int)


def table_of(first: int, bits: int, entries: list[int] | np.ndarray, *, as_bytes: bool = False) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item.LUTData = np.asarray(entries, "<u2").tobytes() if as_bytes else [int(entry) for entry in entries]
    return item


# --------------------------------------------------------------------------- windows
def formula(value: float, center: float, width: float, function: str) -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 for an output of 0 … 1, as printed there."""
    if function == "SIGMOID":
        exponent = -4 * (value - center) / width
        return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))
    if function == "LINEAR_EXACT":
        if value <= center - width / 2:
            return 0.0
        return 1.0 if value > center + width / 2 else (value - center) / width + 0.5
    if value <= center - 0.5 - (width - 1) / 2:
        return 0.0
    if value > center - 0.5 + (width - 1) / 2:
        return 1.0
    return (value - (center - 0.5)) / (width - 1) + 0.5


@given(
    values=st.lists(st.floats(-5000, 5000), min_size=1, max_size=30),
    center=st.floats(-3000, 3000),
    width=st.floats(1.5, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_a_window_is_the_formula_of_the_standard(
    values: list[float], center: float, width: float, function: str
) -> None:
    found = window(np.array(values), center, width, function)
    np.testing.assert_allclose(found, [formula(v, center, width, function) for v in values], atol=1e-9)


def test_a_linear_window_of_width_one_is_a_step() -> None:
    shown = window(np.array([99.0, 99.4, 99.6, 101.0]), 100.0, 1.0)
    np.testing.assert_array_equal(shown, [0, 0, 1, 1])


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_those_of_pydicom(function: str) -> None:
    stored = np.arange(4096, dtype=np.uint16)
    dataset = header(12, WindowCenter=1800, WindowWidth=900, VOILUTFunction=function)
    theirs = apply_windowing(stored, dataset) / 4095 * 255
    assert np.abs(levels(dataset, stored) - theirs).max() <= 0.5 + 1e-9


def test_the_first_of_several_windows_is_taken() -> None:
    stored = np.arange(4096, dtype=np.uint16)
    several = header(12, WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    np.testing.assert_array_equal(
        levels(several, stored), levels(header(12, WindowCenter=1000, WindowWidth=500), stored)
    )


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "CUBIC"},
    ],
)
def test_a_window_that_is_none_is_left_out_and_noted(elements: dict[str, object]) -> None:
    stored = np.arange(4096, dtype=np.uint16)
    notes: list[str] = []
    shown = grey_levels(stored.reshape(1, -1), header(12, **elements), notes)
    np.testing.assert_array_equal(shown[0], stored >> 4)
    assert notes == ["the window of the header is not usable and was left out"]


def test_eight_bits_go_through_a_window_too_unless_it_means_all_levels() -> None:
    stored = np.arange(256, dtype=np.uint8)
    for center, width in ((128, 256), (127, 255), (127.5, 255), (127, 256)):
        np.testing.assert_array_equal(levels(header(8, WindowCenter=center, WindowWidth=width), stored), stored)
    narrow = levels(header(8, WindowCenter=100, WindowWidth=51), stored)
    assert (narrow[:75] == 0).all()
    assert (narrow[125:] == 255).all()
    assert abs(narrow[100] - 130) <= 1


# --------------------------------------------------------------------------- modality and tables
@given(slope=st.sampled_from([1.0, 2.0, 0.5, -1.0, 0.001]), intercept=st.floats(-5000, 5000))
def test_without_a_window_rescaling_changes_nothing_but_the_direction(slope: float, intercept: float) -> None:
    stored = np.arange(4096, dtype=np.uint16)
    shown = levels(header(12, RescaleSlope=f"{slope:g}", RescaleIntercept=f"{intercept:.6g}"), stored)
    expected = stored >> 4
    np.testing.assert_array_equal(shown, expected if slope > 0 else expected[::-1])


def test_a_window_sees_rescaled_values() -> None:
    stored = np.arange(4096, dtype=np.uint16)
    dataset = header(12, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=500, WindowWidth=1001)
    rescaled = apply_modality_lut(stored, dataset)
    expected = np.clip((rescaled - 499.5) / 1000 + 0.5, 0, 1) * 255
    assert np.abs(levels(dataset, stored) - expected).max() <= 0.5


def test_look_up_tables_are_those_of_pydicom() -> None:
    stored = np.arange(4096, dtype=np.uint16)
    entries = (np.sqrt(np.arange(1000) / 999) * 65535).astype(int)
    dataset = header(12)
    dataset.VOILUTSequence = [table_of(500, 16, entries)]
    np.testing.assert_array_equal(levels(dataset, stored), apply_voi_lut(stored, dataset) >> 8)
    dataset = header(12)
    dataset.ModalityLUTSequence = [table_of(500, 16, entries)]
    np.testing.assert_array_equal(levels(dataset, stored), apply_modality_lut(stored, dataset) >> 8)


def test_a_table_is_the_same_in_numbers_and_in_bytes() -> None:
    stored = np.arange(4096, dtype=np.uint16)
    entries = (np.sqrt(np.arange(1000) / 999) * 4095).astype(int)
    numbers, as_bytes = header(12), header(12)
    numbers.VOILUTSequence = [table_of(500, 12, entries)]
    as_bytes.VOILUTSequence = [table_of(500, 12, entries, as_bytes=True)]
    expected = entries[np.clip(np.arange(4096) - 500, 0, 999)] >> 4
    np.testing.assert_array_equal(levels(numbers, stored), expected)
    np.testing.assert_array_equal(levels(as_bytes, stored), expected)


def test_a_table_of_65536_entries_is_whole() -> None:
    stored = np.arange(65536, dtype=np.uint16)
    dataset = header(16)
    dataset.VOILUTSequence = [table_of(0, 16, 65535 - np.arange(65536), as_bytes=True)]
    np.testing.assert_array_equal(levels(dataset, stored), (65535 - np.arange(65536)) >> 8)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_signed_samples_start_at_their_lowest_value(bits: int) -> None:
    low = -(1 << (bits - 1))
    stored = np.arange(low, -low, dtype=np.int32)
    np.testing.assert_array_equal(levels(header(bits, signed=True), stored), (stored - low) >> (bits - 8))


@pytest.mark.parametrize("bits", [1, 4, 7, 8, 10, 16])
def test_all_bits_that_count_fill_all_levels(bits: int) -> None:
    shown = levels(header(bits), np.arange(1 << bits, dtype=np.uint16))
    assert (shown[0], shown[-1]) == (0, 255)
    assert (np.diff(shown) >= 0).all()


def test_samples_beyond_the_stored_bits_saturate() -> None:
    np.testing.assert_array_equal(levels(header(12), np.array([4095, 4096, 65535], np.uint16)), 255)


# --------------------------------------------------------------------------- inversion and padding
def test_monochrome1_is_inverted_after_the_window() -> None:
    stored = np.arange(4096, dtype=np.uint16)
    windowed = header(12, WindowCenter=1000, WindowWidth=500)
    inverted = header(12, WindowCenter=1000, WindowWidth=500, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(levels(inverted, stored), 255 - levels(windowed, stored))


def test_padding_is_black_even_where_it_is_stored_bright() -> None:
    stored = np.arange(256, dtype=np.uint8)
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        plain = levels(header(8, PhotometricInterpretation=kind), stored)
        shown = levels(header(8, PhotometricInterpretation=kind, PixelPaddingValue=255), stored)
        assert shown[255] == 0
        np.testing.assert_array_equal(shown[:255], plain[:255])
        banded = levels(
            header(8, PhotometricInterpretation=kind, PixelPaddingValue=250, PixelPaddingRangeLimit=240), stored
        )
        assert (banded[240:251] == 0).all()
        np.testing.assert_array_equal(banded[:240], plain[:240])


def test_negative_padding_of_signed_samples_is_black() -> None:
    stored = np.arange(-2048, 2048, dtype=np.int32)
    shown = levels(header(12, signed=True, PixelPaddingValue=-2000), stored)
    assert shown[stored == -2000] == 0
    assert shown[stored == 2000] > 240


@pytest.mark.parametrize(("bits", "written"), [(16, 63536), (12, 63536), (12, 2096)])
def test_negative_padding_that_was_written_as_unsigned_is_black(bits: int, written: int) -> None:
    stored = np.arange(-2048, 2048, dtype=np.int32)
    dataset = header(bits, signed=True)
    dataset.add_new(0x00280120, "US", written)
    plain, shown = levels(header(bits, signed=True), stored), levels(dataset, stored)
    assert plain[stored == -2000] > 0
    assert shown[stored == -2000] == 0
    np.testing.assert_array_equal(np.delete(shown, 48), np.delete(plain, 48))


def test_padding_that_no_sample_can_have_hides_nothing() -> None:
    stored = np.arange(256, dtype=np.uint8)
    for value in (-1, -2000, 300):
        dataset = header(8)
        dataset.add_new(0x00280120, "SS", value)
        np.testing.assert_array_equal(levels(dataset, stored), stored)


# --------------------------------------------------------------------------- whole objects
def test_an_object_with_rescaling_window_and_inversion_is_read_as_shown() -> None:
    samples = (np.arange(96 * 128, dtype=np.uint16) % 4096).reshape(96, 128)
    dataset = monochrome(
        samples,
        BitsStored=12,
        HighBit=11,
        PhotometricInterpretation="MONOCHROME1",
        RescaleSlope=0.5,
        RescaleIntercept=100,
        WindowCenter=1100,
        WindowWidth=801,
    )
    (image,) = decode(to_bytes(dataset)).images
    expected = 255 - np.clip((samples * 0.5 + 100 - 1099.5) / 800 + 0.5, 0, 1) * 255
    assert np.abs(image.pixels - expected).max() <= 0.5


def test_a_big_endian_table_has_its_bytes_swapped() -> None:
    dataset = header(12)
    dataset.set_original_encoding(False, False)
    entries = np.arange(4096)[::-1]
    item = table_of(0, 12, entries)
    item.LUTData = entries.astype(">u2").tobytes()
    dataset.VOILUTSequence = [item]
    np.testing.assert_array_equal(level_table(np.arange(4096), dataset, []), entries >> 4)
