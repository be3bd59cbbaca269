"""Declared regions: which are believed, what covers them, side by side, millimetres."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from fibrokd.data.dicom.regions import Part, area, read_regions
from tests.data.objects import region

HEIGHT, WIDTH = 400, 600
WHOLE = (0, 0, HEIGHT - 1, WIDTH - 1)


def header(*items: Dataset, **elements: object) -> Dataset:
    dataset = Dataset()
    dataset.SequenceOfUltrasoundRegions = list(items)
    for key, value in elements.items():
        setattr(dataset, key, value)
    return dataset


def parts(*items: Dataset) -> tuple[Part, ...]:
    return read_regions(header(*items), HEIGHT, WIDTH).parts


def test_a_tissue_region_gives_its_box_and_its_millimetres() -> None:
    (part,) = parts(region((20, 30, 380, 570), spacing_cm=(0.05, -0.025)))
    assert part.box == (20, 30, 381, 571)
    assert part.spacing_mm == pytest.approx((0.5, 0.25))
    assert part.holes == ()


def test_regions_that_are_not_two_dimensional_or_not_tissue_are_no_pictures() -> None:
    for spatial_format in (0, 2, 3, 4, 5):
        assert parts(region((20, 30, 380, 570), spatial_format=spatial_format)) == ()
    for data_type in (2, 3, 4, 0xA, 0xD, 0xE):
        assert parts(region((20, 30, 380, 570), data_type=data_type)) == ()
    assert read_regions(Dataset(), HEIGHT, WIDTH).parts == ()


@pytest.mark.parametrize("box", [(31, 84, 414, 695), (100, 100, 500, 590), (500, 700, 600, 800), (50, 60, 50, 60)])
def test_a_region_that_does_not_fit_the_frame_makes_all_of_them_distrusted(box: tuple[int, int, int, int]) -> None:
    found = read_regions(header(region((10, 10, 200, 200)), region(box), PixelSpacing=[0.4, 0.4]), HEIGHT, WIDTH)
    assert found.parts == ()
    assert found.spacing_mm is None  # of a frame of another size, perhaps
    assert any("not trusted" in note for note in found.notes)


def test_a_region_that_reaches_a_little_over_the_edge_is_clipped() -> None:
    assert [part.box for part in parts(region((0, 0, HEIGHT + 5, WIDTH + 5)))] == [(0, 0, HEIGHT, WIDTH)]


# --------------------------------------------------------------------------- what covers tissue
def test_high_priority_regions_without_tissue_are_cut_out() -> None:
    bar, strip = region((20, 10, 120, 40), data_type=0xD), region((300, 0, 399, 599), spatial_format=2)
    (part,) = parts(region(WHOLE), bar, strip)
    assert part.holes == ((20, 10, 121, 41), (300, 0, 400, 600))


def test_low_priority_regions_lie_below_the_tissue() -> None:
    (part,) = parts(region(WHOLE), region((20, 10, 120, 40), data_type=0xD, low_priority=True))
    assert part.holes == ()


def test_a_preview_within_the_tissue_is_cut_out_and_no_picture() -> None:
    found = read_regions(header(region(WHOLE), region((10, 10, 60, 80))), HEIGHT, WIDTH)
    assert [part.box for part in found.parts] == [(0, 0, HEIGHT, WIDTH)]
    assert found.parts[0].holes == ((10, 10, 61, 81),)


def test_a_region_that_is_declared_twice_counts_once() -> None:
    (part,) = parts(region(WHOLE), region(WHOLE))
    assert part.holes == ()


def test_declarations_that_contradict_each_other_are_distrusted() -> None:
    found = read_regions(header(region(WHOLE), region((0, 0, 399, 400), spatial_format=5)), HEIGHT, WIDTH)
    assert found.parts == ()
    assert any("contradict" in note for note in found.notes)


def test_flow_boxes_are_reported_and_not_cut_out() -> None:
    found = read_regions(header(region(WHOLE), region((50, 60, 150, 200), data_type=2)), HEIGHT, WIDTH)
    assert found.flow == ((50, 60, 151, 201),)
    assert found.flow_declared
    assert found.parts[0].holes == ()


# --------------------------------------------------------------------------- layouts
def test_two_pictures_side_by_side_come_from_left_to_right() -> None:
    found = read_regions(header(region((0, 300, 399, 599)), region((0, 0, 399, 299))), HEIGHT, WIDTH)
    assert [part.box for part in found.parts] == [(0, 0, 400, 300), (0, 300, 400, 600)]
    assert any("2 pictures side by side" in note for note in found.notes)


boxes = st.tuples(st.integers(0, 390), st.integers(0, 590), st.integers(1, 400), st.integers(1, 600)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], 399), min(b[1] + b[3], 599))
)


@given(st.lists(st.tuples(boxes, st.sampled_from([1, 1, 2, 0xD]), st.booleans()), max_size=6))
def test_parts_lie_in_the_frame_hardly_overlap_and_hold_their_holes(
    drawn: list[tuple[tuple[int, int, int, int], int, bool]],
) -> None:
    found = read_regions(header(*(region(b, kind, low_priority=low) for b, kind, low in drawn)), HEIGHT, WIDTH)
    for part in found.parts:
        top, left, bottom, right = part.box
        assert 0 <= top < bottom <= HEIGHT
        assert 0 <= left < right <= WIDTH
        assert area(part.box) >= 0.05 * HEIGHT * WIDTH
        for hole in part.holes:
            assert top <= hole[0] < hole[2] <= bottom
            assert left <= hole[1] < hole[3] <= right
    for one, other in itertools.combinations(found.parts, 2):
        rows = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
        columns = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
        assert max(rows, 0) * max(columns, 0) <= 0.1 * min(area(one.box), area(other.box))


# --------------------------------------------------------------------------- millimetres
@pytest.mark.parametrize("spacing_cm", [(0.0, 0.05), (0.05, 0.0), (9.0, 0.05), (1e-6, 0.05)])
def test_implausible_millimetres_are_left_out(spacing_cm: tuple[float, float]) -> None:
    (part,) = parts(region(WHOLE, spacing_cm=spacing_cm))
    assert part.spacing_mm is None


def test_millimetres_that_would_squeeze_a_picture_to_a_line_are_distrusted_and_noted() -> None:
    for spacing_cm in ((0.5, 0.0006), (0.02, 0.05)):
        found = read_regions(header(region(WHOLE, spacing_cm=spacing_cm), PixelSpacing=[0.4, 0.4]), HEIGHT, WIDTH)
        assert found.parts[0].spacing_mm is None  # one of the two declarations is wrong
        assert any("millimetres" in note for note in found.notes)
    for spacing_cm in ((0.05, 0.025), (0.025, 0.05), (0.03, -0.05)):
        found = read_regions(header(region(WHOLE, spacing_cm=spacing_cm)), HEIGHT, WIDTH)
        assert found.parts[0].spacing_mm == pytest.approx((10 * spacing_cm[0], 10 * abs(spacing_cm[1])))
        assert found.notes == ()
    whole = read_regions(header(PixelSpacing=[4.0, 0.3]), HEIGHT, WIDTH)
    assert whole.spacing_mm is None
    assert any("millimetres" in note for note in whole.notes)


def test_units_other_than_centimetres_are_no_millimetres() -> None:
    item = region(WHOLE)
    item.PhysicalUnitsXDirection = 4
    (part,) = parts(item)
    assert part.spacing_mm is None


def test_without_regions_the_pixel_spacing_counts() -> None:
    assert read_regions(header(PixelSpacing=[0.4, 0.3]), HEIGHT, WIDTH).spacing_mm == (0.4, 0.3)
    assert read_regions(header(PixelSpacing=[0.0, 0.3]), HEIGHT, WIDTH).spacing_mm is None
