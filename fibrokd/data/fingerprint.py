"""The fingerprint of one frame: what two pictures of one moment share and two patients on one scanner do not.

Grey levels are brought to a grid in the fan's own coordinates (radius × angle), so that crops, margins, burned-in text
and the outline itself are gone, and a mirrored picture is the same grid with its angles reversed. Without a
confident fan the grid lies over what is not background. Band-passed, freed of what all pictures of a scanner share
(the mean of every radius and of every beam) and of local contrast, then quantised. Pixels are not needed again.
Must not compare pictures: that is ``integrity.near_duplicates``.

Shape letters: H W frame, F fine grid side, G stored grid side.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from jaxtyping import Bool, Float, Int8, UInt8
from PIL import Image

from fibrokd.data.border import border_level
from fibrokd.data.fan.finder import Fan, mask_box
from fibrokd.data.sector import Sector

SIDE = 48
"""Radii and angles of the stored grid."""

LENGTH = SIDE * SIDE
"""Numbers of one fingerprint; reshaped to ``SIDE`` × ``SIDE`` its rows are radii and its columns angles."""

LARGEST = 30
"""No number is larger. So small, sums of products of two fingerprints are exact in single precision, in any order."""

_FINE = 2 * SIDE  # the grid that is filtered and thinned out
_FRAME = 160  # the fan's box is brought to this many pixels squared, whatever the frame's size
_CONFIDENCE = 0.8  # of the fan; below it the grid lies over the frame
_INSET = 0.05  # of the fan's depth and opening: outlines of two copies differ by about a pixel
_FINEST, _COARSEST, _LOCAL = 1.5, 4.5, 8.0  # standard deviations on the fine grid: pass band, local contrast
_GRAIN = 2.0  # grey levels: contrast below it is compression or receiver noise and is not amplified
_LEAST_SEEN = 0.5  # of a cell's neighbourhood
_CLIP = 2.5  # standard deviations that become LARGEST: steps this coarse cost 0.001 of a correlation
_CONTRAST = 2  # grey levels from the background


def fingerprint(pixels: UInt8[np.ndarray, "H W"], fan: Fan) -> Int8[np.ndarray, " L"]:
    """Return the fingerprint of one frame.

    Args:
        pixels: Grey levels as decoded.
        fan: The fan of the very same frame.

    Returns:
        :data:`LENGTH` numbers with mean about 0; all 0 where nothing varies, such as in a blank frame.
    """
    if fan.sector is not None and fan.confidence >= _CONFIDENCE:
        levels, seen = _in_fan(pixels, fan.sector)
    else:
        levels, seen = _in_frame(pixels)
    return _quantised(_flattened(levels, seen))


def mirrored(fingerprints: Int8[np.ndarray, "N L"]) -> Int8[np.ndarray, "N L"]:
    """Return the fingerprints that the pictures would have if they were mirrored left and right."""
    grids = fingerprints.reshape(len(fingerprints), SIDE, SIDE)
    return np.ascontiguousarray(grids[:, :, ::-1]).reshape(fingerprints.shape)


def _in_fan(
    pixels: UInt8[np.ndarray, "H W"], sector: Sector
) -> tuple[Float[np.ndarray, "F F"], Float[np.ndarray, "F F"]]:
    """Grey levels on radius × angle inside the sector, and 1 where the frame holds them."""
    share = _INSET + (1 - 2 * _INSET) * (np.arange(_FINE) + 0.5) / _FINE
    left, right = (math.atan(sector.stretch * flank[0]) for flank in (sector.left, sector.right))
    angle = left + (right - left) * share
    radius = sector.near + (sector.far - sector.near) * share
    row = sector.apex[0] + radius[:, None] * np.cos(angle)
    column = sector.apex[1] + radius[:, None] * np.sin(angle) / sector.stretch
    height, width = pixels.shape
    box = (
        max(float(column.min()), 0.0),
        max(float(row.min()), 0.0),
        min(float(column.max()) + 1, float(width)),
        min(float(row.max()) + 1, float(height)),
    )
    if box[2] - box[0] < 2 or box[3] - box[1] < 2:
        return _in_frame(pixels)
    small = np.asarray(Image.fromarray(pixels).resize((_FRAME, _FRAME), Image.Resampling.BILINEAR, box=box))
    x = (column + 0.5 - box[0]) * (_FRAME / (box[2] - box[0])) - 0.5
    y = (row + 0.5 - box[1]) * (_FRAME / (box[3] - box[1])) - 0.5
    seen = (column > -0.5) & (column < width - 0.5) & (row > -0.5) & (row < height - 0.5)
    return _sampled(small.astype(np.float64), y, x), seen.astype(np.float64)


def _in_frame(pixels: UInt8[np.ndarray, "H W"]) -> tuple[Float[np.ndarray, "F F"], Float[np.ndarray, "F F"]]:
    """Grey levels on rows × columns of the part of the frame that is not background, and how much of it is not."""
    seen = np.asarray(np.abs(pixels.astype(np.int16) - int(border_level(pixels))) > _CONTRAST)
    if not seen.any():
        return np.zeros((_FINE, _FINE)), np.zeros((_FINE, _FINE))
    top, left, bottom, right = mask_box(seen)
    return _shrunk(pixels, (left, top, right, bottom)), _shrunk(_as_levels(seen), (left, top, right, bottom)) / 255


def _as_levels(mask: Bool[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    return mask.astype(np.uint8) * np.uint8(255)


def _shrunk(pixels: UInt8[np.ndarray, "H W"], box: tuple[int, int, int, int]) -> Float[np.ndarray, "F F"]:
    shrunk = Image.fromarray(pixels).resize((_FINE, _FINE), Image.Resampling.BILINEAR, box=box)
    return np.asarray(shrunk, dtype=np.float64)


def _sampled(
    small: Float[np.ndarray, "S S"], row: Float[np.ndarray, "F F"], column: Float[np.ndarray, "F F"]
) -> Float[np.ndarray, "F F"]:
    """Bilinear samples; beyond the edge the edge itself."""
    last = len(small) - 1
    row, column = row.clip(0, last - 1e-6), column.clip(0, last - 1e-6)
    above, before = row.astype(np.intp), column.astype(np.intp)
    down, across = row - above, column - before
    flat, place = small.ravel(), above * len(small) + before
    upper = flat[place] + across * (flat[place + 1] - flat[place])
    place += len(small)
    lower = flat[place] + across * (flat[place + 1] - flat[place])
    return np.asarray(upper + down * (lower - upper))


@functools.cache
def _blur(sigma: float) -> Float[np.ndarray, "G F"]:
    """Gaussian weights that smooth the fine grid and keep every second place; rows do not sum to 1 at the edges."""
    kept = 2 * np.arange(SIDE) + 0.5
    return np.asarray(np.exp(-0.5 * np.square((kept[:, None] - np.arange(_FINE)) / sigma)))


@functools.cache
def _spread() -> Float[np.ndarray, "G G"]:
    """Gaussian weights of the neighbourhood whose contrast is evened out."""
    place = 2 * np.arange(SIDE)
    return np.asarray(np.exp(-0.5 * np.square((place[:, None] - place) / _LOCAL)))


def _flattened(levels: Float[np.ndarray, "F F"], seen: Float[np.ndarray, "F F"]) -> Float[np.ndarray, "G G"]:
    """Pass band of the levels with profiles and local contrast taken out; 0 where little was seen.

    Every mean is a masked one, of what was seen alone: filters that count the unseen as black would make all fans of
    a scanner resemble each other along their outline.
    """
    fine, coarse, local = _blur(_FINEST), _blur(_COARSEST), _spread()
    held = levels * seen
    weight = fine @ seen @ fine.T
    there = weight > _LEAST_SEEN * fine.sum(1)[:, None] * fine.sum(1)
    passed = fine @ held @ fine.T / np.maximum(weight, 1e-9)
    passed -= coarse @ held @ coarse.T / np.maximum(coarse @ seen @ coarse.T, 1e-9)
    passed *= there
    for axis in (0, 1):
        passed -= passed.sum(axis, keepdims=True) / np.maximum(there.sum(axis, keepdims=True), 1)
        passed *= there
    power = local @ np.square(passed) @ local.T / np.maximum(local @ there @ local.T, 1e-9)
    return np.asarray(passed / np.sqrt(power + _GRAIN**2))


def _quantised(grid: Float[np.ndarray, "G G"]) -> Int8[np.ndarray, " L"]:
    there = grid != 0
    spread = float(np.sqrt(np.square(grid).sum() / max(np.count_nonzero(there), 1)))
    if spread < 1e-6:
        return np.zeros(LENGTH, dtype=np.int8)
    steps = np.clip(grid / spread, -_CLIP, _CLIP) * (LARGEST / _CLIP)
    return np.rint(steps).astype(np.int8).ravel()
