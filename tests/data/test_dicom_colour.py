"""Colour where grey belongs: misread samples both ways, tinted maps, flow declared or not, marks."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import JPEGBaseline8Bit

from fibrokd.data.dicom.colour import Tissue, put_right, tissue_area, without_colour
from fibrokd.data.dicom.regions import Regions, read_regions
from fibrokd.data.fan.finder import find_fan
from fibrokd.data.grey import luminance
from fibrokd.data.limits import ReadLimits
from fibrokd.data.reading import Decoding, decode
from fibrokd.errors import UnreadableImageError
from tests.data.objects import colour, encapsulated, grey_rgb, phantom_clip, region, to_bytes
from tests.data.sectors import encode

TRUTH = phantom_clip(size=256)[0]
GREY = grey_rgb(TRUTH)
WHOLE = (0, 0, 255, 255)


def as_ybr(rgb: np.ndarray) -> np.ndarray:
    return np.asarray(convert_color_space(rgb, "RGB", "YBR_FULL"), dtype=np.uint8)


def doppler(box: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """The phantom with red and blue flow over 60 % of a box."""
    rgb = GREY.copy()
    top, left, bottom, right = box
    random = np.random.default_rng(seed)
    blobs = random.random((bottom - top, right - left)) < 0.6
    speed = random.integers(80, 256, blobs.shape)
    flow = np.where(random.random(blobs.shape)[..., None] < 0.5, [1, 0.3, 0], [0, 0.2, 1]) * speed[..., None]
    view = rgb[top:bottom, left:right]
    view[blobs] = flow[blobs].astype(np.uint8)
    return rgb


def read(dataset: Dataset, **limits: object) -> Decoding:
    return decode(to_bytes(dataset), limits=ReadLimits(**limits))


# --------------------------------------------------------------------------- misread samples
@pytest.mark.parametrize("declared_tissue", [True, False])
def test_samples_read_in_the_wrong_colour_space_are_put_right_both_ways(declared_tissue: bool) -> None:
    for dataset in (colour(as_ybr(GREY), 0, "RGB"), colour(GREY, 0, "YBR_FULL")):
        if declared_tissue:
            dataset.SequenceOfUltrasoundRegions = [region(WHOLE)]
        decoding = read(dataset)
        np.testing.assert_array_equal(decoding.images[0].pixels, TRUTH)
        assert any("photometric interpretation" in note and "wrong" in note for note in decoding.notes)


def test_a_jpeg_that_says_rgb_and_holds_ybr_is_put_right() -> None:
    stream = encode(GREY, "JPEG", quality=95)
    jfif_end = 4 + int.from_bytes(stream[4:6], "big")
    bare = stream[:2] + stream[jfif_end:]  # without the marker that tells decoders
    decoding = read(encapsulated([bare], TRUTH.shape, JPEGBaseline8Bit, "RGB"))
    assert np.abs(decoding.images[0].pixels.astype(int) - TRUTH).mean() < 2
    assert any("wrong" in note for note in decoding.notes)


def test_the_decision_is_taken_over_the_tissue_and_not_over_what_surrounds_it() -> None:
    framed = np.full((256, 512, 3), (10, 60, 160), np.uint8)  # a blue desktop around the picture
    framed[:, 256:] = GREY
    dataset = colour(framed, 0)
    dataset.SequenceOfUltrasoundRegions = [region((0, 256, 255, 511))]
    decoding = read(dataset)
    np.testing.assert_array_equal(decoding.images[0].pixels[:, 256:], TRUTH)
    assert decoding.notes == ()


def test_right_samples_are_left_alone_whatever_they_show() -> None:
    regions = Regions()
    for rgb in (GREY, doppler((60, 60, 200, 200)), np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)):
        notes: list[str] = []
        np.testing.assert_array_equal(put_right(np.asarray(rgb, np.uint8), "RGB", regions, notes), rgb)
        back = put_right(as_ybr(np.asarray(rgb, np.uint8)), "YBR_FULL", regions, notes)
        assert np.abs(back.astype(int) - rgb).mean() < 1.5
        assert notes == []


# --------------------------------------------------------------------------- flow
@pytest.mark.parametrize("declared", [True, False])
def test_a_small_colour_box_is_set_to_black_and_nothing_else_is(declared: bool) -> None:
    box = (100, 110, 140, 150)
    dataset = colour(doppler(box), 0)
    items = [region(WHOLE, low_priority=True), region((100, 110, 139, 149), data_type=2)]
    dataset.SequenceOfUltrasoundRegions = items if declared else items[:1]
    decoding = read(dataset)
    pixels = decoding.images[0].pixels
    top, left, bottom, right = box
    assert (pixels[top:bottom, left:right] == 0).all()
    around = np.ones_like(TRUTH, dtype=bool)
    around[top - 4 : bottom + 4, left - 4 : right + 4] = False
    np.testing.assert_array_equal(pixels[around], TRUTH[around])
    assert any("colour over" in note for note in decoding.notes)


@pytest.mark.parametrize("declared", [True, False])
def test_a_colour_box_over_a_large_share_is_refused(declared: bool) -> None:
    dataset = colour(doppler((60, 60, 200, 200)), 0)
    items = [region(WHOLE, low_priority=True), region((60, 60, 199, 199), data_type=2)]
    dataset.SequenceOfUltrasoundRegions = items if declared else items[:1]
    with pytest.raises(UnreadableImageError) as caught:
        read(dataset)
    assert caught.value.reason == "colour_flow"
    assert read(dataset, max_colour_share=1.0).images


def test_a_declared_flow_box_without_flow_changes_nothing() -> None:
    dataset = colour(GREY, 0)
    dataset.SequenceOfUltrasoundRegions = [region(WHOLE), region((60, 60, 199, 199), data_type=2)]
    decoding = read(dataset)
    np.testing.assert_array_equal(decoding.images[0].pixels, TRUTH)
    assert decoding.notes == ()


def test_the_share_is_of_the_lit_tissue_and_not_of_the_screen() -> None:
    rgb = np.zeros((512, 512, 3), np.uint8)
    rgb[:256, :256] = doppler((60, 60, 200, 200))
    with pytest.raises(UnreadableImageError):
        without_colour(rgb, Tissue(Regions()), 0.25, [])


def test_coloured_menus_around_the_fan_do_not_count() -> None:
    rgb = GREY.copy()
    fan = find_fan(TRUTH)
    assert fan.confidence >= 0.9
    corner = np.zeros_like(TRUTH, dtype=bool)
    corner[:60, :40] = True
    outside = corner & ~fan.mask
    assert outside.sum() > 500
    rgb[outside] = (40, 90, 200)
    grey = without_colour(rgb, Tissue(Regions()), 0.25, [])
    np.testing.assert_array_equal(grey, luminance(rgb))


def test_a_coloured_menu_bar_is_no_flow_where_nothing_tells_where_the_tissue_is() -> None:
    speckle = np.random.default_rng(0).integers(20, 90, (256, 256), dtype=np.uint8)
    rgb = grey_rgb(speckle)
    rgb[:90] = (30, 70, 140)
    rgb[20:26, 40:120] = 255  # white text on it
    np.testing.assert_array_equal(without_colour(rgb, Tissue(Regions()), 0.25, []), luminance(rgb))
    rgb[100:240, 20:240, 0] = np.random.default_rng(1).integers(100, 256, (140, 220))
    with pytest.raises(UnreadableImageError):
        without_colour(rgb, Tissue(Regions()), 0.25, [])


def test_a_coloured_mark_within_the_tissue_is_set_to_black() -> None:
    rgb = GREY.copy()
    rgb[120:123, 100:120] = (255, 255, 0)
    rgb[112:131, 109:112] = (255, 255, 0)
    notes: list[str] = []
    grey = without_colour(rgb, Tissue(Regions()), 0.25, notes)
    assert (grey[112:131, 100:120] == 0).all()
    changed = grey != TRUTH
    assert changed.sum() < 27 * 28
    assert len(notes) == 1
    assert notes[0].startswith("colour over ")


# --------------------------------------------------------------------------- tints
@pytest.mark.parametrize("tint", [(1.0, 0.85, 0.6), (0.8, 0.9, 1.0), (1.0, 1.0, 0.7)])
def test_a_tinted_grey_map_keeps_its_luminance(tint: tuple[float, float, float]) -> None:
    rgb = (GREY * np.array(tint)).astype(np.uint8)
    notes: list[str] = []
    np.testing.assert_array_equal(without_colour(rgb, Tissue(Regions()), 0.25, notes), luminance(rgb))
    assert notes == ["the grey map is tinted; its luminance was taken"]


def test_jpeg_noise_on_grey_is_no_colour() -> None:
    for quality in (50, 75, 90):
        for number in (3, 4, 5):
            truth = phantom_clip(number)[0]
            stream = encode(grey_rgb(truth), "JPEG", quality=quality, subsampling="4:2:0")
            decoding = read(encapsulated([stream], truth.shape, JPEGBaseline8Bit, "YBR_FULL_422"))
            assert decoding.notes == ()


# --------------------------------------------------------------------------- tissue
def test_tissue_is_the_fan_within_the_declared_boxes_less_their_holes() -> None:
    header = Dataset()
    header.SequenceOfUltrasoundRegions = [region((0, 0, 255, 255)), region((100, 100, 120, 140), data_type=0xD)]
    regions = read_regions(header, 256, 256)
    area = tissue_area(TRUTH, regions)
    expected = find_fan(TRUTH).mask.copy()
    expected[100:121, 100:141] = False
    np.testing.assert_array_equal(area, expected)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256), dtype=np.uint8)
    assert tissue_area(noise, Regions()).all()
