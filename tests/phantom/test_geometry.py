"""Beam grid and screen."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.phantom.geometry import ASPECT, LINES, SAMPLES, beam_grid, screen
from fibrokd.phantom.scanners import SCANNERS

scanners = pytest.mark.parametrize("scanner", SCANNERS.values(), ids=list(SCANNERS))


@scanners
def test_every_painted_sample_lies_at_its_range_from_the_probe(scanner):
    grid = beam_grid(scanner)
    reach = np.hypot(grid.x_mm, grid.z_mm + scanner.radius_mm)
    assert np.allclose(reach - scanner.radius_mm, grid.depth_mm, atol=1e-3)


@scanners
def test_the_fan_has_the_area_of_an_annulus_sector(scanner):
    place = screen(scanner, 512)
    outer, inner = scanner.radius_mm + scanner.depth_mm, scanner.radius_mm
    area_mm2 = math.radians(scanner.opening_deg) / 2 * (outer**2 - inner**2)
    vertical, horizontal = place.pixels_per_mm
    assert place.fan.sum() / (vertical * horizontal) == pytest.approx(area_mm2, rel=0.01)
    assert vertical / horizontal == pytest.approx(ASPECT)


@scanners
@pytest.mark.parametrize("size", [64, 225, 256])
def test_the_fan_stays_on_screen_and_reads_samples_that_exist(scanner, size):
    place = screen(scanner, size)
    border = np.concatenate([place.fan[0], place.fan[-1], place.fan[:, 0], place.fan[:, -1]])
    assert not border.any()
    assert place.samples.shape == (2, place.fan.sum())
    assert place.samples.min() >= -1e-3
    assert place.samples[0].max() <= SAMPLES + 1e-3
    assert place.samples[1].max() <= LINES - 1 + 1e-3


@settings(max_examples=40, deadline=None)
@given(st.floats(-55, 55), st.floats(15, 130), st.floats(-55, 55), st.floats(15, 130), st.floats(1, 10))
def test_a_window_holds_everything_near_its_points(x0, z0, x1, z1, margin):
    grid = beam_grid(SCANNERS["sonova"])
    points = np.array([[x0, z0], [x1, z1]])
    window = grid.window(points, margin)
    near = np.zeros(grid.x_mm.shape, bool)
    for x, z in points:
        near |= np.hypot(grid.x_mm - x, grid.z_mm - z) < margin
    inside = np.zeros_like(near)
    inside[window] = True
    assert not (near & ~inside).any()
