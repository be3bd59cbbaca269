"""The shape of an insonation fan, and how it is drawn: row by row as an interval of columns, never pixel by pixel.

Geometry alone; must not look at grey levels.
Shape letters: H W raster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

Line = tuple[float, float]
"""Slope and offset of column = slope · row + offset."""


@dataclass(frozen=True)
class Sector:
    """A sector in pixels.

    Args:
        left: Left flank.
        right: Right flank.
        apex: (row, column) of the arcs' common centre, often above the frame.
        near: Radius of the probe's face, in rows.
        far: Radius of the deepest echoes, in rows.
        stretch: Horizontal scale that makes the arcs circular: 4 / 3 where a 4:3 screen was squeezed to a square.
    """

    left: Line
    right: Line
    apex: tuple[float, float]
    near: float
    far: float
    stretch: float

    @property
    def lopsided(self) -> float:
        """How far the flanks are from symmetric: 0 where both have the same slope, 1 where one is upright."""
        return abs(self.left[0] + self.right[0]) / (self.right[0] - self.left[0])

    def enlarged(self, factor: int) -> Sector:
        """Return the same sector on a raster with ``factor`` times as many pixels on each side."""
        return self._scaled(factor, (factor - 1) / 2)

    def reduced(self, factor: int) -> Sector:
        """Return the sector whose :meth:`enlarged` this is."""
        return self._scaled(1 / factor, (1 / factor - 1) / 2)

    def _scaled(self, factor: int | float, shift: float) -> Sector:
        # Pixel centres lie at index + 0.5: offsets move with them.
        def line(flank: Line) -> Line:
            return flank[0], flank[1] * factor + shift * (1 - flank[0])

        return Sector(
            left=line(self.left),
            right=line(self.right),
            apex=(self.apex[0] * factor + shift, self.apex[1] * factor + shift),
            near=self.near * factor,
            far=self.far * factor,
            stretch=self.stretch,
        )

    def inset(self, by: int | float) -> Sector:
        """Return the sector with its whole outline moved inwards by so many pixels; outwards where negative."""

        def aside(slope: float) -> float:
            return by * math.hypot(1, slope)

        return Sector(
            left=(self.left[0], self.left[1] + aside(self.left[0])),
            right=(self.right[0], self.right[1] - aside(self.right[0])),
            apex=self.apex,
            near=max(self.near + by, 0.0) if self.near > 0 else 0.0,
            far=self.far - by,
            stretch=self.stretch,
        )

    def mask(self, height: int, width: int, edge: int = 0) -> Bool[np.ndarray, "H W"]:
        """Render the sector; ``edge`` pixels along the raster's border stay False."""
        mask = np.zeros((height, width), dtype=bool)
        top = max(edge, math.floor(self.apex[0]) + 1)
        bottom = min(height - edge, math.floor(self.apex[0] + self.far) + 1)
        if top >= bottom:
            return mask
        row = np.arange(top, bottom, dtype=np.float64)
        squared = np.square(row - self.apex[0])
        # The last row may miss the far arc by a rounding error.
        reach = np.sqrt(np.maximum(self.far**2 - squared, 0)) / self.stretch
        first = np.maximum(self.left[0] * row + self.left[1], self.apex[1] - reach)
        last = np.minimum(self.right[0] * row + self.right[1], self.apex[1] + reach)
        start = np.minimum(np.ceil(np.maximum(first, edge)), width).astype(np.int16)[:, None]
        stop = np.maximum(np.floor(np.minimum(last, width - 1 - edge)), -1).astype(np.int16)[:, None]
        column = np.arange(width, dtype=np.int16)
        inside = mask[top:bottom]
        np.logical_and(column >= start, column <= stop, out=inside)
        shallow = min(math.ceil(self.apex[0] + self.near), bottom) - top  # rows that the probe's face touches
        if shallow > 0:
            face = (np.sqrt(np.maximum(self.near**2 - squared[:shallow], 0)) / self.stretch)[:, None]
            inside[:shallow] &= (column <= self.apex[1] - face) | (column >= self.apex[1] + face)
        return mask
