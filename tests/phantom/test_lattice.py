"""Smooth fields and shape functions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fibrokd.phantom.lattice import (
    SmoothNoise,
    bell,
    decibel_to_amplitude,
    line_noise,
    smoothstep,
    smoothstep_field,
    upsample,
)

GRID = np.meshgrid(np.linspace(-60, 60, 120, dtype=np.float32), np.linspace(0, 120, 120, dtype=np.float32))


def noise(seed=0):
    return SmoothNoise(np.random.default_rng(seed), (-60.0, 60.0), (0.0, 120.0))


def test_smooth_noise_has_zero_mean_and_about_unit_spread():
    fields = np.stack([noise(seed)(*GRID, 4.0) for seed in range(6)])
    assert abs(fields.mean()) < 0.1
    assert 0.7 < fields.std() < 1.1


def test_smooth_noise_is_correlated_within_its_scale_and_not_beyond():
    def correlation(shift_mm):
        pairs = [noise(seed)(*GRID, 8.0) for seed in range(6)]
        return np.mean([np.corrcoef(f[:, :-shift_mm].ravel(), f[:, shift_mm:].ravel())[0, 1] for f in pairs])

    assert correlation(1) > 0.9
    assert correlation(4) > 0.4
    assert abs(correlation(30)) < 0.15


def test_one_field_does_not_depend_on_the_scale_of_the_one_before():
    first, second = noise(), noise()
    first(*GRID, 3.0)
    second(*GRID, 20.0)
    assert np.array_equal(first(*GRID, 5.0), second(*GRID, 5.0))


def test_line_noise_has_unit_spread_and_leaves_later_draws_alone():
    along = np.linspace(-50, 50, 200)
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    assert 0.4 < line_noise(a, along, 3.0).std() < 1.3
    line_noise(b, along, 25.0)
    assert a.random() == b.random()


@settings(max_examples=25, deadline=None)
@given(arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=32)))
def test_upsampling_keeps_samples_and_never_leaves_their_range(field):
    fine = upsample(field)
    assert fine.shape == (10, 14)
    assert np.array_equal(fine[::2, ::2], field)
    assert fine.min() >= field.min()
    assert fine.max() <= field.max()


def test_upsampling_reproduces_a_plane():
    rows, columns = np.mgrid[0:8, 0:9].astype(np.float32)
    fine_rows, fine_columns = np.mgrid[0:14, 0:16].astype(np.float32) / 2
    assert np.allclose(upsample(2 * rows - 3 * columns)[:14, :16], 2 * fine_rows - 3 * fine_columns, atol=1e-5)


def test_shape_functions_agree_with_their_definitions():
    x = np.linspace(-3, 3, 61)
    assert np.allclose(bell(x, 1.5), np.exp(-(x**2) / (2 * 1.5**2)), atol=1e-6)
    assert np.allclose(decibel_to_amplitude(x * 10), 10 ** (x * 10 / 20), rtol=1e-6)
    assert (smoothstep(0.0, 1.0, -1.0), smoothstep(0.0, 1.0, 0.5), smoothstep(0.0, 1.0, 2.0)) == (0, 0.5, 1)
    assert np.allclose(smoothstep_field(-1.0, 2.0, x), [smoothstep(-1.0, 2.0, float(value)) for value in x], atol=1e-6)
