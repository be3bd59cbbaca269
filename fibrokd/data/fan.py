"""Finds the insonation fan of one frame: mask, box, apex, and how far the fitted sector explains what is seen.

Classical geometry, no learning. Works on a copy of at most 160 px; the mask is rendered at full size.
Must not crop or decide what happens below a confidence: that is ``preprocess``.
Shape letters: H W frame, h w the small copy, R rows of the fan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

WORKING_SIDE = 160
_CONTRAST = 4  # grey levels from the background: receiver noise in deep shadows still counts as fan
_FULL_SHARE = 0.96  # of the frame: a region this large has no fan's outline
_LEAST_SHARE = 0.05  # of the frame: a smaller region is an icon or a colour bar
_LEAST_OPENING = 0.25  # columns per row between the flanks: below it a screen or a linear probe, not a liver fan
_SYMMETRY_BONUS = 0.06  # of overlap: what a symmetric fan may lose to shadows and still be preferred
_STRETCHES = np.linspace(0.7, 1.6, 19)


Line = tuple[float, float]
"""Slope and offset of column = slope · row + offset."""


@dataclass(frozen=True)
class Fan:
    """The insonation fan.

    Args:
        mask: True inside the fitted sector; all False where nothing was found.
        confidence: Intersection over union of the fitted sector and the region seen, 0 … 1.
        box: (top, left, bottom, right), half-open, around the mask; the whole frame where nothing was found.
        apex: (row, column) where the flanks meet, in pixels, often above the frame; ``None`` where nothing was found.
        stretch: Horizontal scale that makes the arcs circular: 4 / 3 where a 4:3 screen was squeezed to a square.
    """

    mask: Bool[np.ndarray, "H W"]
    confidence: float
    box: tuple[int, int, int, int]
    apex: tuple[float, float] | None
    stretch: float


@dataclass(frozen=True)
class _Sector:
    """A sector in pixels of some raster: two flanks column = slope · row + offset, and radial limits from the apex."""

    left: Line
    right: Line
    apex: tuple[float, float]
    near: float
    far: float
    stretch: float

    def scaled(self, rows: float, columns: float) -> _Sector:
        """Return the same sector on a raster with ``rows`` and ``columns`` times as many pixels."""

        def line(flank: Line) -> Line:
            # Pixel centres lie at index + 0.5: offsets move with them.
            slope, offset = flank
            return slope * columns / rows, (offset + 0.5 - 0.5 * slope) * columns - 0.5 + 0.5 * slope * columns / rows

        def centre(value: float, scale: float) -> float:
            return (value + 0.5) * scale - 0.5

        return _Sector(
            left=line(self.left),
            right=line(self.right),
            apex=(centre(self.apex[0], rows), centre(self.apex[1], columns)),
            near=self.near * rows,
            far=self.far * rows,
            stretch=self.stretch * rows / columns,
        )

    def mask(self, height: int, width: int) -> Bool[np.ndarray, "H W"]:
        """Render the sector."""
        row = np.arange(height, dtype=np.float32)[:, None]
        column = np.arange(width, dtype=np.float32)[None, :]
        squared = np.square((column - np.float32(self.apex[1])) * np.float32(self.stretch))
        squared = squared + np.square(row - np.float32(self.apex[0]))
        inside = (column >= self.left[0] * row + self.left[1]) & (column <= self.right[0] * row + self.right[1])
        if self.near > 0:
            inside &= squared >= np.float32(self.near**2)
        inside &= (squared <= np.float32(self.far**2)) & (row > self.apex[0])
        return np.asarray(inside, dtype=bool)


def find_fan(pixels: UInt8[np.ndarray, "H W"]) -> Fan:
    """Find the fan of one frame.

    Background level from the border; what differs from it, closed and opened by 5 × 5 (text and rulers vanish);
    its largest part; straight flanks by asymmetric robust fits (shadows only ever move edge points inwards), one of
    them mirrored where a shadow hides the other; arcs by a search over the horizontal stretch.

    Args:
        pixels: Grey levels as decoded.

    Returns:
        The fan; confidence 0 and an empty mask where no region with an outline was found.
    """
    height, width = pixels.shape
    small = _shrink(pixels)
    region = _region(small)
    if region is None:
        return _nothing(height, width)
    sector, confidence = _fit(region)
    if sector is None:
        return _nothing(height, width)
    full = sector.scaled(height / small.shape[0], width / small.shape[1])
    mask = full.mask(height, width)
    if not mask.any():
        return _nothing(height, width)
    return Fan(mask, confidence, mask_box(mask), full.apex, full.stretch)


def mask_box(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    """Return the half-open box (top, left, bottom, right) around the True pixels; there must be one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _nothing(height: int, width: int) -> Fan:
    return Fan(np.zeros((height, width), dtype=bool), 0.0, (0, 0, height, width), None, 1.0)


# --------------------------------------------------------------------------- the region seen
def _shrink(pixels: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "h w"]:
    height, width = pixels.shape
    scale = min(1.0, WORKING_SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BOX), dtype=np.uint8)


def _region(small: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"] | None:
    """The largest connected part that differs from the background, holes filled; ``None`` without an outline."""
    border = np.concatenate([small[:3].ravel(), small[-3:].ravel(), small[:, :3].ravel(), small[:, -3:].ravel()])
    background = int(np.bincount(border, minlength=256).argmax())
    # Closing bridges dark speckle without moving the outline; a blur would move it outwards by its own width.
    seen = _close(np.abs(small.astype(np.int16) - background) > _CONTRAST, 5)
    opened = _dilate(_erode(seen, 5), 5)
    labels, count = ndimage.label(opened)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    region = np.asarray(ndimage.binary_fill_holes(_close(labels == sizes.argmax(), 7)), dtype=bool)
    share = region.mean()
    return region if _LEAST_SHARE < share < _FULL_SHARE else None


def _close(mask: Bool[np.ndarray, "h w"], side: int) -> Bool[np.ndarray, "h w"]:
    """Closing that treats what lies beyond the frame as background."""
    return _erode(_dilate(np.pad(mask, side), side), side)[side:-side, side:-side]


def _erode(mask: Bool[np.ndarray, "h w"], side: int) -> Bool[np.ndarray, "h w"]:
    return np.asarray(ndimage.minimum_filter(mask.view(np.uint8), side, mode="nearest")).view(bool)


def _dilate(mask: Bool[np.ndarray, "h w"], side: int) -> Bool[np.ndarray, "h w"]:
    return np.asarray(ndimage.maximum_filter(mask.view(np.uint8), side, mode="nearest")).view(bool)


# --------------------------------------------------------------------------- the sector
def _fit(region: Bool[np.ndarray, "h w"]) -> tuple[_Sector | None, float]:
    rows = np.flatnonzero(region.any(1))
    first = region.argmax(1)[rows].astype(np.float64)
    last = (region.shape[1] - 1 - region[:, ::-1].argmax(1))[rows].astype(np.float64)
    upper = rows < rows[0] + 0.72 * (rows[-1] - rows[0])  # below, the far arc cuts the flanks
    if upper.sum() < 8:
        return None, 0.0
    left = _flank(rows[upper].astype(np.float64), first[upper], outward=-1)
    right = _flank(rows[upper].astype(np.float64), last[upper], outward=1)
    best: tuple[_Sector | None, float] = (None, 0.0)
    for flanks in _hypotheses(left, right, float(rows[0])):
        apex = _apex(*flanks, float(rows[0]))
        found = _best_arcs(region, *flanks, apex) if apex else (None, 0.0)
        if found[1] > best[1] - (_SYMMETRY_BONUS if best[0] else 0.0):
            best = found
    return best


def _hypotheses(left: Line, right: Line, top: float) -> list[tuple[Line, Line]]:
    """The flanks as seen; and where they differ, the wider one mirrored: a rib shadow may hide the other."""
    if abs(left[0] + right[0]) < 0.05 * (right[0] - left[0]):
        return [(left, right)]
    axis = ((left[0] + right[0]) * top + left[1] + right[1]) / 2
    wider = left if -left[0] > right[0] else right
    mirrored = (-wider[0], 2 * axis - wider[1])
    return [(left, right), (left, mirrored) if wider is left else (mirrored, right)]


def _flank(rows: Float[np.ndarray, " R"], columns: Float[np.ndarray, " R"], outward: int) -> Line:
    """Straight line through the outermost points: points inside it are forgiven (shadows), points outside are not."""
    weight = np.ones_like(rows)
    slope, offset = 0.0, 0.0
    for _ in range(25):
        total = weight.sum()
        row, column = (weight * rows).sum() / total, (weight * columns).sum() / total
        spread = (weight * np.square(rows - row)).sum()
        slope = float((weight * (rows - row) * (columns - column)).sum() / max(spread, 1e-9))
        offset = float(column - slope * row)
        beyond = (columns - slope * rows - offset) * outward
        weight = (1 + np.abs(beyond) / np.where(beyond < 0, 1.0, 6.0)) ** -1.5
    # Rounded: sums differ in the last bit between processors, and no pixel may flip for that.
    return round(slope, 4), round(offset, 2)


def _apex(left: Line, right: Line, top: float) -> tuple[float, float] | None:
    """Where the flanks meet, at the fan's top at the lowest; ``None`` where they hardly open."""
    opening = right[0] - left[0]
    if opening < _LEAST_OPENING:
        return None
    row = min((left[1] - right[1]) / opening, top)
    middle = ((left[0] + right[0]) * row + left[1] + right[1]) / 2
    return round(row, 2), round(middle, 2)


def _best_arcs(
    region: Bool[np.ndarray, "h w"], left: Line, right: Line, apex: tuple[float, float]
) -> tuple[_Sector | None, float]:
    """Radial limits from the columns below the apex, stretch by search."""
    height, width = region.shape
    centre = int(np.clip(round(apex[1]), 3, width - 4))
    column = np.flatnonzero(region[:, centre - 3 : centre + 4].any(1))
    if len(column) == 0:
        return None, 0.0
    near, far = max(float(column[0]) - apex[0] - 0.5, 0.0), float(column[-1]) - apex[0] + 0.5
    best: tuple[_Sector | None, float] = (None, 0.0)
    for stretch in _STRETCHES:
        sector = _Sector((left[0], left[1] - 0.5), (right[0], right[1] + 0.5), apex, near, far, float(stretch))
        score = _overlap(sector.mask(height, width), region)
        if score > best[1]:
            best = (sector, score)
    return best


def _overlap(one: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"]) -> float:
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 0.0
