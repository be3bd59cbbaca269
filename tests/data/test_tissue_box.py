"""A box that tissue fills has no room for names beside the tissue; a box around a sector has."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fibrokd.data.tissue_box import is_filled
from fibrokd.phantom.overlay import draw_text
from tests.data.sectors import draw_sector


def tissue(height: int = 300, width: int = 260, seed: int = 0) -> np.ndarray:
    speckle = np.random.default_rng(seed).rayleigh(2.0, (height, width))
    return (20 + 20 * speckle).clip(0, 255).astype(np.uint8)


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("quality", [0, 60, 90])
@pytest.mark.parametrize("shape", [(300, 260), (90, 400), (64, 64)])
def test_the_rectangle_of_a_linear_array_is_filled(shape: tuple[int, int], quality: int) -> None:
    pixels = tissue(*shape)
    assert is_filled(as_jpeg(pixels, quality) if quality else pixels)


def test_a_shadow_and_a_cyst_within_it_do_no_harm() -> None:
    pixels = tissue()
    pixels[120:, 100:116] = 0
    row, column = np.mgrid[:300, :260]
    pixels[np.hypot(row - 80, column - 200) < 22] = 0
    assert is_filled(pixels)


@pytest.mark.parametrize("half_angle", [0.35, 0.55, 0.75])
def test_the_box_around_a_sector_is_not(half_angle: float) -> None:
    pixels, mask = draw_sector(300, 420, half_angle, (-30.0, 210.0), (50.0, 320.0))
    rows, columns = np.nonzero(mask)
    box = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert not is_filled(box)
    assert not is_filled(as_jpeg(box, 75))


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_blank_strip_with_a_name_on_it_is_room_enough(side: str) -> None:
    pixels = tissue(320, 320)
    turned = np.rot90(pixels, {"top": 0, "left": 1, "bottom": 2, "right": 3}[side]).copy()
    turned[:16] = 0
    draw_text(turned, (5, 40), "NIGHTINGALE F 1820", 220, 1)
    assert not is_filled(turned)
    assert not is_filled(np.rot90(turned, {"top": 0, "left": 3, "bottom": 2, "right": 1}[side]))


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 200), st.integers(8, 200), st.integers(0, 255), st.integers(0, 1000))
def test_a_flat_box_is_never_filled_and_turning_a_box_changes_nothing(
    height: int, width: int, level: int, seed: int
) -> None:
    assert not is_filled(np.full((height, width), level, np.uint8))
    size = 8 * (height // 8)
    pixels = tissue(size, size, seed)
    pixels[: size // 3] = level
    assert is_filled(pixels) == is_filled(pixels[:, ::-1]) == is_filled(pixels.T)


def test_nothing_of_a_few_pixels_is_filled() -> None:
    assert not is_filled(tissue(3, 300))
