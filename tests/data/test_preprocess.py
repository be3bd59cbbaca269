"""Preprocessing: the same pixels for ever, everything outside the fan black, nothing stretched."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from benchmarks.fan_material import MarkedPicture, crowd
from fibrokd.data.fan.finder import mask_box
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.preprocess import PreprocessSpec, as_network_input, letterbox, preprocess
from tests.data.sectors import draw_sector


def golden_picture() -> np.ndarray:
    """A sector of integer arithmetic alone: no generator or libm may change it."""
    row, column = np.mgrid[:240, :320]
    squared = (row + 20) ** 2 + (column - 160) ** 2
    inside = (squared >= 45**2) & (squared <= 235**2) & (5 * np.abs(column - 160) <= 3 * (row + 20))
    texture = 40 + (row * 7919 + column * 104729 + row * column * 31) % 180
    return np.where(inside, texture, 0).astype(np.uint8)


GOLDEN = {
    ("fan", 224): "01b971c467673106",
    ("fan", 96): "15bd6a1218b56beb",
    ("full", 128): "10b34ede71053e27",
}


@pytest.mark.parametrize("crop_and_size", GOLDEN)
def test_the_pixels_a_network_sees_never_change(crop_and_size: tuple[str, int]) -> None:
    """If this fails, every trained network sees other pixels than it was trained on: do not just update the digest."""
    crop, size = crop_and_size
    spec = PreprocessSpec.model_validate({"crop": crop, "size": size})
    done = preprocess(UltrasoundImage(pixels=golden_picture(), format="PNG"), spec)
    assert hashlib.sha256(done.pixels.tobytes()).hexdigest()[:16] == GOLDEN[crop_and_size]


def test_everything_outside_the_fan_is_black_and_the_fan_fills_the_square() -> None:
    picture, mask = draw_sector()
    marked = np.where(mask, picture, 0).astype(np.uint8)
    marked[5:15, 5:50] = 255
    marked[:, 316:] = 200
    clean = preprocess(
        UltrasoundImage(pixels=np.where(mask, picture, 0).astype(np.uint8), format="PNG"), PreprocessSpec()
    )
    done = preprocess(UltrasoundImage(pixels=marked, format="PNG"), PreprocessSpec())
    assert done.cropped
    assert done.fan_confidence >= 0.9
    assert done.pixels.shape == (224, 224)
    assert np.abs(done.pixels.astype(int) - clean.pixels).mean() < 3
    assert done.pixels[:10, :40].max() == 0
    assert max(np.ptp(np.flatnonzero(done.pixels.any(axis))) for axis in (0, 1)) >= 220


def test_what_touches_the_fan_from_outside_is_cut_off() -> None:
    """A dashed ruler right along the far arc leaves no trace."""
    picture, mask = draw_sector()
    picture = np.where(mask, picture, 0).astype(np.uint8)
    row, column = np.mgrid[:240, :320]
    radius = np.hypot(row + 20, column - 160)
    marked = np.where((radius > 235) & (radius < 238) & (column % 12 < 2), np.uint8(255), picture)
    clean, done = (preprocess(UltrasoundImage(p, "PNG"), PreprocessSpec()) for p in (picture, marked))
    assert done.cropped
    assert np.mean(done.pixels > 250) <= np.mean(clean.pixels > 250) + 0.001


def crowded_screenshot(seed: int) -> MarkedPicture:
    """A fan of 960 × 1280 pixels with words one to six pixels beside it."""
    random = np.random.default_rng(seed)
    radii = (4 * random.uniform(35, 60), 4 * random.uniform(200, 215))
    picture, mask = draw_sector(960, 1280, random.uniform(0.45, 0.65), (-80.0, 640.0), radii, seed=seed)
    return crowd(picture, mask, seed, ("text",))


def test_words_beside_the_fan_of_a_large_screenshot_are_gone() -> None:
    for seed in range(12):
        picture = crowded_screenshot(seed)
        assert picture.marks.any()
        done = preprocess(UltrasoundImage(picture.pixels, "PNG"), PreprocessSpec())
        assert done.cropped
        top, left, bottom, right = done.box
        part = slice(top, bottom), slice(left, right)
        assert not (done.kept.astype(bool) & picture.marks[part]).any()
        assert np.count_nonzero(done.kept[picture.fan[part]]) >= 0.85 * np.count_nonzero(picture.fan)


def test_a_word_that_pushed_the_whole_far_arc_down_is_gone() -> None:
    """It lies inside the outline that it moved, so that nothing of it stands out."""
    picture, mask = draw_sector(960, 1280, 0.55, (-80.0, 640.0), (180.0, 840.0))
    words = np.zeros((960, 1280), np.uint8)
    for left in range(450, 830, 24):
        words[764:794, left : left + 12] = 230
    words[mask] = 0
    done = preprocess(UltrasoundImage(np.maximum(picture, words), "PNG"), PreprocessSpec())
    assert done.cropped
    top, left, bottom, right = done.box
    assert not (done.kept.astype(bool) & (words[top:bottom, left:right] > 0)).any()


@pytest.mark.parametrize(("side", "off"), [(192, 2), (256, 2), (336, 2), (383, 2), (384, 3), (512, 4), (1280, 10)])
def test_what_is_cut_off_along_the_outline_grows_with_the_frame(side: int, off: int) -> None:
    picture, _ = draw_sector(side, side, 0.5, (-0.1 * side, side / 2), (0.2 * side, 1.0 * side))
    done = preprocess(UltrasoundImage(picture, "PNG"), PreprocessSpec())
    assert done.fan is not None
    assert done.fan.off_px == off
    top, left, bottom, right = mask_box(done.fan.inner_mask(off))
    assert done.box == (top, left, bottom, right)


def test_without_a_confident_fan_the_whole_frame_is_kept() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 200), dtype=np.uint8)
    done = preprocess(UltrasoundImage(pixels=noise, format="PNG"), PreprocessSpec(size=64))
    assert (done.cropped, done.box, done.fan_confidence) == (False, (0, 0, 100, 200), 0.0)
    assert done.pixels[:16].max() == 0
    assert done.pixels[48:].max() == 0
    assert done.pixels[16:48].min() > 0


def test_the_declared_tissue_box_bounds_the_result() -> None:
    noise = np.random.default_rng(0).integers(1, 256, (100, 200), dtype=np.uint8)
    image = UltrasoundImage(pixels=noise, format="DICOM", tissue=(10, 20, 90, 180))
    done = preprocess(image, PreprocessSpec(size=64))
    assert (done.cropped, done.box) == (True, (10, 20, 90, 180))
    full = preprocess(image, PreprocessSpec(size=64, crop="full"))
    assert (full.cropped, full.box) == (True, (0, 0, 100, 200))
    outside = np.ones((100, 200), bool)
    outside[10:90, 20:180] = False
    np.testing.assert_array_equal(full.kept, np.where(outside, 0, noise))
    np.testing.assert_array_equal(full.pixels, letterbox(full.kept, 64))


def test_pixels_that_the_file_declares_unequal_become_square() -> None:
    tall = np.full((100, 100), 200, np.uint8)
    image = UltrasoundImage(pixels=tall, format="DICOM", spacing_mm=(0.6, 0.3))
    done = preprocess(image, PreprocessSpec(size=64, crop="full"))
    assert np.count_nonzero(done.pixels.any(0)) == 32
    assert np.count_nonzero(done.pixels.any(1)) == 64


@pytest.mark.parametrize(("height", "width"), [(300, 100), (100, 300), (64, 64), (1, 500), (37, 41)])
def test_a_letterbox_keeps_the_aspect_ratio_and_is_centred(height: int, width: int) -> None:
    square = letterbox(np.full((height, width), 255, np.uint8), 64)
    rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
    assert max(len(rows), len(columns)) == 64
    assert len(rows) / len(columns) == pytest.approx(height / width, rel=0.05, abs=0.04)
    assert abs((rows[0] + rows[-1]) - 63) <= 1
    assert abs((columns[0] + columns[-1]) - 63) <= 1


def test_reduction_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (256, 128))
    assert np.abs(letterbox(stripes, 64).astype(int)[8:-8, 8:-8] - 128).max() <= 3


def test_the_network_input_is_the_grey_level_over_255() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    tensor = as_network_input(pixels)
    assert tensor.shape == (3, 1, 32, 32)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor[:, 0], (pixels / 255).astype(np.float32))
