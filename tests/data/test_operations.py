"""Operations: laws that hold for every picture and parameter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fibrokd.data.operations import OPERATIONS, attenuate, flip, gain, gamma, haze, shadow, shift, tgc_tilt

PICTURES = arrays(np.uint8, st.tuples(st.integers(2, 20), st.integers(2, 20)))
PARAMETERS = {
    "gain": {"decibel": 4.0},
    "gamma": {"exponent": 1.25},
    "tgc_tilt": {"decibel": -3.0},
    "haze": {"depth": 0.2, "width": 0.1, "levels": 30.0},
    "attenuate": {"rate": 0.5, "floor": 0.1},
    "shadow": {"center": (0.5, 0.5), "spread": (0.2, 0.1), "strength": 0.8},
    "shift": {"rows": 2, "columns": -3},
    "flip": {},
}


def test_every_operation_is_tested() -> None:
    assert set(PARAMETERS) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(pixels=PICTURES)
def test_an_operation_is_pure_and_keeps_type_shape_and_range(name: str, pixels: np.ndarray) -> None:
    before = pixels.copy()
    result = OPERATIONS[name](pixels, **PARAMETERS[name])
    np.testing.assert_array_equal(pixels, before)
    assert (result.dtype, result.shape) == (np.uint8, pixels.shape)
    real = OPERATIONS[name](pixels.astype(np.float32), **PARAMETERS[name])
    assert real.dtype == np.float32
    assert np.abs(real - result).max() <= 0.501


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"shift", "flip"}))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(pixels=PICTURES)
def test_black_stays_black_where_nothing_moves(name: str, pixels: np.ndarray) -> None:
    for picture in (pixels, pixels.astype(np.float32)):
        assert not OPERATIONS[name](picture, **PARAMETERS[name])[picture == 0].any()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(pixels=PICTURES)
def test_neutral_parameters_change_nothing(pixels: np.ndarray) -> None:
    neutral = [
        gain(pixels, 0.0),
        gamma(pixels, 1.0),
        tgc_tilt(pixels, 0.0),
        haze(pixels, 0.5, 0.1, 0.0),
        attenuate(pixels, 0.0),
        shadow(pixels, (0.5, 0.5), (0.1, 0.1), 0.0),
        shift(pixels, 0, 0),
        flip(flip(pixels)),
    ]
    for result in neutral:
        np.testing.assert_array_equal(result, pixels)


def test_a_gain_of_the_dynamic_range_is_255_grey_levels() -> None:
    ramp = np.arange(1, 256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(gain(ramp, -30.0, dynamic_range_db=60.0), np.clip(ramp - 127.5, 0, 255).round())
    assert gain(ramp, 60.0, dynamic_range_db=60.0).min() == 255


def test_the_grey_map_follows_its_power_law() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_allclose(gamma(ramp, 2.0)[0], ramp[0].astype(float) ** 2 / 255, atol=0.501)


def test_a_tilt_darkens_near_and_brightens_far_by_the_same() -> None:
    flat = np.full((101, 4), 100, np.uint8)
    tilted = tgc_tilt(flat, 6.0, dynamic_range_db=60.0).astype(int)[:, 0] - 100
    np.testing.assert_allclose(tilted[[0, 50, 100]], [-25.5, 0, 25.5], atol=0.5)
    assert (np.diff(tilted) >= 0).all()


def test_attenuation_decays_exponentially_with_depth() -> None:
    flat = np.full((200, 3), 200, np.float32)
    column = attenuate(flat, 0.8)[:, 0]
    np.testing.assert_allclose(np.diff(np.log(column)), -0.8 / 200, rtol=1e-2)
    assert attenuate(flat, 50.0, floor=0.25)[-1, 0] == pytest.approx(50, abs=0.1)


def test_haze_and_shadow_are_strongest_at_their_centres() -> None:
    flat = np.full((100, 80), 100, np.float32)
    band = haze(flat, 0.25, 0.05, 40.0)
    assert band[:, 0].argmax() in (24, 25)
    assert band.max() == pytest.approx(140, abs=0.5)
    dark = shadow(flat, (0.75, 0.5), (0.1, 0.1), 0.9)
    assert np.unravel_index(dark.argmin(), dark.shape)[0] in (74, 75)
    assert dark.min() == pytest.approx(10, abs=0.7)
    assert dark[0].min() > 99


@settings(max_examples=60, deadline=None, derandomize=True)
@given(pixels=PICTURES, rows=st.integers(-25, 25), columns=st.integers(-25, 25))
def test_a_shift_moves_what_stays_in_view_and_fills_with_black(pixels: np.ndarray, rows: int, columns: int) -> None:
    moved = shift(pixels, rows, columns)
    height, width = pixels.shape
    for row in range(height):
        for column in range(width):
            source = (row - rows, column - columns)
            inside = 0 <= source[0] < height and 0 <= source[1] < width
            assert moved[row, column] == (pixels[source] if inside else 0)
