"""Where things are: the beam grid in which echoes are made, and the screen on which they are shown.

Beam space is (range r along the beam, steering angle). The *world* is wider than the field of view by a margin, so
that rocking or pressing the probe is a shift. Tissue is painted on every second sample of the world.

Shape letters: R world range samples, T world lines, h w painted samples (half of R, T), S side of the screen,
P pixels inside the fan.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from fibrokd.phantom.scanners import Scanner

SAMPLES, LINES = 448, 176
"""Samples along a beam and beams of one frame."""

MARGIN_SAMPLES, MARGIN_LINES = 24, 16
"""World margin on each side."""

ASPECT = 4 / 3
"""Width over height of the scanner's screen. The stored square is that screen squeezed, as a resized export is."""


@dataclass(frozen=True, eq=False)
class BeamGrid:
    """World grid of one scanner.

    Args:
        step_mm: Distance between range samples.
        step_rad: Angle between lines.
        range_mm: Range of the painted rows from the probe face; negative in the margin.
        angle_rad: Angle of the painted columns.
        arc_mm: Distance of the painted columns along the abdominal wall, 30 mm deep.
        x_mm: Lateral position of every painted sample.
        z_mm: Depth below the probe's apex of every painted sample.
        radius_mm: Radius of the array.
    """

    step_mm: float
    step_rad: float
    range_mm: Float32[np.ndarray, " h"]
    angle_rad: Float32[np.ndarray, " w"]
    arc_mm: Float[np.ndarray, " w"]
    x_mm: Float32[np.ndarray, "h w"]
    z_mm: Float32[np.ndarray, "h w"]
    radius_mm: float

    @functools.cached_property
    def bounds_mm(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Smallest and largest lateral position, and smallest and largest depth."""
        return (float(self.x_mm.min()), float(self.x_mm.max())), (float(self.z_mm.min()), float(self.z_mm.max()))

    @functools.cached_property
    def depth_mm(self) -> Float32[np.ndarray, "h w"]:
        """Range of every painted sample from the probe face."""
        return np.broadcast_to(self.range_mm[:, None], self.x_mm.shape)

    def window(self, points_mm: Float[np.ndarray, "K 2"], margin_mm: float) -> tuple[slice, slice]:
        """Return the painted rows and columns that hold every place within ``margin_mm`` of the points (x, z)."""
        z = points_mm[:, 1] + self.radius_mm
        reach = np.hypot(points_mm[:, 0], z)
        angle = np.arctan2(points_mm[:, 0], z)
        aside = margin_mm / max(float(reach.min()) - margin_mm, 1.0)
        depth = reach - self.radius_mm
        rows = np.searchsorted(self.range_mm, [depth.min() - margin_mm, depth.max() + margin_mm])
        columns = np.searchsorted(self.angle_rad, [angle.min() - aside, angle.max() + aside])
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))


@dataclass(frozen=True, eq=False)
class Screen:
    """Where beam samples land on the square screen.

    Args:
        fan: Pixels inside the insonation fan.
        samples: (range sample, line) of every pixel inside the fan.
        pixels_per_mm: Vertical and horizontal pixels per millimetre; they differ, see :data:`ASPECT`.
        centre_px: Column of the fan's axis.
        skin_px: Row of the probe face on the axis.
    """

    fan: Bool[np.ndarray, "S S"]
    samples: Float32[np.ndarray, "2 P"]
    pixels_per_mm: tuple[float, float]
    centre_px: float
    skin_px: float


@functools.lru_cache(maxsize=8)
def beam_grid(scanner: Scanner) -> BeamGrid:
    """Return the world grid of a scanner."""
    step_mm = scanner.depth_mm / SAMPLES
    opening = math.radians(scanner.opening_deg)
    step_rad = opening / (LINES - 1)
    range_mm = (np.arange(0, SAMPLES + 2 * MARGIN_SAMPLES, 2) - MARGIN_SAMPLES) * step_mm
    angle_rad = (np.arange(0, LINES + 2 * MARGIN_LINES, 2) - MARGIN_LINES) * step_rad - opening / 2
    reach = (scanner.radius_mm + range_mm)[:, None]
    return BeamGrid(
        step_mm=step_mm,
        step_rad=step_rad,
        range_mm=range_mm.astype(np.float32),
        angle_rad=angle_rad.astype(np.float32),
        arc_mm=(scanner.radius_mm + 30) * angle_rad,
        x_mm=(reach * np.sin(angle_rad)).astype(np.float32),
        z_mm=(reach * np.cos(angle_rad) - scanner.radius_mm).astype(np.float32),
        radius_mm=scanner.radius_mm,
    )


@functools.lru_cache(maxsize=16)
def screen(scanner: Scanner, size: int) -> Screen:
    """Return the screen of a scanner, ``size`` pixels square."""
    grid = beam_grid(scanner)
    half = math.radians(scanner.opening_deg) / 2
    radius, depth = scanner.radius_mm, scanner.depth_mm
    chord = radius * math.cos(half)
    width_mm, height_mm = 2 * (radius + depth) * math.sin(half), radius + depth - chord
    top, right, bottom, left = (share * size for share in scanner.margins)
    vertical = min((size - left - right) * ASPECT / width_mm, (size - top - bottom) / height_mm)
    horizontal = vertical / ASPECT
    centre = left + (size - left - right) / 2
    row, column = np.mgrid[0:size, 0:size].astype(np.float64)
    x = (column - centre) / horizontal
    z = (row - top) / vertical + chord
    depth_mm, angle = np.hypot(x, z) - radius, np.arctan2(x, z)
    fan = (depth_mm >= 0) & (depth_mm <= depth) & (np.abs(angle) <= half)
    samples = np.stack([depth_mm[fan] / grid.step_mm, (angle[fan] + half) / grid.step_rad])
    return Screen(
        fan=fan,
        samples=samples.astype(np.float32),
        pixels_per_mm=(vertical, horizontal),
        centre_px=centre,
        skin_px=top + (radius - chord) * vertical,
    )
