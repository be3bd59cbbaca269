"""What lies outside the fan, as 64 numbers: enough to see a shortcut, too little to read a name.

Names, dates and accession numbers are burned in beside the fan, so no picture of the outside may be kept; but a stage
that can be read off the outside (a mark, a scanner's layout) is exactly what the controls must find. Therefore the
worker that decoded a frame reduces its outside to numbers, and only these leave it. No number covers less than about
one eighth of a side times the half beside it, and positions are kept as the weights of eight broad overlapping tents:
where something is lit can be told, letters of a few pixels cannot. Must not keep, return or log pixels.

Shape letters: H W decoded frame, L cells along one side of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from fibrokd.data.border import border_level
from fibrokd.data.fan.finder import Fan
from fibrokd.data.images import UltrasoundImage
from fibrokd.errors import InputError

CELLS = 8
"""Tents along each side of the frame."""

_PROFILE, _LEVELS, _MARKS, _BACKGROUND, _BORDER, _GEOMETRY = 4 * CELLS, 4, 4, 1, 12, 11

OUTSIDE = slice(0, _PROFILE + _LEVELS + _MARKS + _BACKGROUND)
"""What lies outside the fan: profiles of lit pixels left, right, top, bottom; their mean levels; grey bars and marks
left and right; background level. All 0 but the background where no fan and no tissue box is known."""

BORDER = slice(OUTSIDE.stop, OUTSIDE.stop + _BORDER)
"""The outermost ring of the frame, whatever it shows: mean level of eight pieces, spread of the four sides."""

GEOMETRY = slice(BORDER.stop, BORDER.stop + _GEOMETRY)
"""Confidence, apex (row, column), flanks' slopes, radii, and box of the fan, as shares of the frame."""

COUNT = GEOMETRY.stop
"""Numbers per frame."""

LEAST_CONFIDENCE = 0.8
"""Below this fan confidence what seems to be outside may be tissue, and is not looked at."""

_CONTRAST = 16  # grey levels from the background: compression noise beside the fan stays below
_RAMP = 8  # largest step between neighbouring rows of a grey bar
_RING_SHARE = 32  # the border ring is a 32nd of the side wide
_FAR = 4.0  # frames: an apex farther away says no more than that flanks are parallel


def margin_numbers(image: UltrasoundImage, fan: Fan) -> Float32[np.ndarray, " 64"]:
    """Reduce everything outside the fan to :data:`COUNT` numbers.

    Args:
        image: One decoded frame.
        fan: The fan found in it, or in the tissue box that its file declares.

    Returns:
        :data:`OUTSIDE`, :data:`BORDER` and :data:`GEOMETRY` in this order; shares within 0 … 1, grey levels divided by
        255, rounded so that every machine finds the same.

    Raises:
        InputError: The fan is of neither the frame's nor the tissue box's size.
    """
    pixels = image.pixels
    origin = _origin(image, fan)
    outside = _outside(image, fan, origin)
    background = _background(pixels, outside)
    distance = np.maximum(pixels, background) - np.minimum(pixels, background)
    lit = outside & (distance > _CONTRAST)
    numbers = [
        *_profiles(lit),
        *(float(pixels[half][lit[half]].mean()) / 255 if lit[half].any() else 0.0 for half in _halves(lit.shape)),
        *_marks(pixels, lit),
        int(background) / 255,
        *_border(pixels),
        *_geometry(image, fan, origin),
    ]
    return np.array(numbers, dtype=np.float64).round(6).astype(np.float32)


# --------------------------------------------------------------------------- inside and outside
def _origin(image: UltrasoundImage, fan: Fan) -> tuple[int, int]:
    """Row and column of the frame at which the fan's own raster begins."""
    if (fan.height, fan.width) == image.pixels.shape:
        return 0, 0
    top, left, bottom, right = image.tissue or (0, 0, 0, 0)
    if (fan.height, fan.width) == (bottom - top, right - left):
        return top, left
    raise InputError(
        f"Expected a fan found in the {image.pixels.shape} frame or its tissue box, found one of "
        f"({fan.height}, {fan.width}).",
        "Pass the fan that preprocess found in this very frame.",
    )


def _outside(image: UltrasoundImage, fan: Fan, origin: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """True where neither fan nor tissue lies, a little apart from both; all False where neither is known."""
    inside = np.zeros(image.pixels.shape, dtype=bool)
    if fan.sector is not None and fan.confidence >= LEAST_CONFIDENCE:
        gap = max(2, min(image.pixels.shape) // 100)  # blurred and compressed edges still belong to the fan
        mask = fan.sector.inset(-gap).mask(fan.height, fan.width)
        inside[origin[0] : origin[0] + fan.height, origin[1] : origin[1] + fan.width] = mask
        return ~inside
    if image.tissue is None:
        return inside
    top, left, bottom, right = image.tissue
    inside[top:bottom, left:right] = True
    return ~inside


def _background(pixels: UInt8[np.ndarray, "H W"], outside: Bool[np.ndarray, "H W"]) -> np.uint8:
    """The most frequent grey level outside, or along the border where nothing is known to be outside."""
    if outside.any():
        return np.uint8(np.bincount(pixels[outside]).argmax())
    return border_level(pixels)


# --------------------------------------------------------------------------- numbers
def _halves(shape: tuple[int, ...]) -> tuple[tuple[slice, slice], ...]:
    """Left, right, top and bottom half of the frame."""
    rows, columns = (shape[0] + 1) // 2, (shape[1] + 1) // 2
    every = slice(None)
    return (every, slice(columns)), (every, slice(columns, None)), (slice(rows), every), (slice(rows, None), every)


def _profiles(lit: Bool[np.ndarray, "H W"]) -> Iterator[float]:
    """Share of each half that is lit, under eight tents along its side: a position becomes linear in the numbers."""
    for number, half in enumerate(_halves(lit.shape)):
        counts = lit[half].sum(axis=1 if number < 2 else 0)
        yield from (_tents(len(counts)) @ counts * (CELLS / max(lit[half].size, 1))).tolist()


def _tents(length: int) -> Float[np.ndarray, "L length"]:
    """Weights of the tents over the pixels of one side; those of each pixel sum to 1."""
    place = ((np.arange(length) + 0.5) * (CELLS / max(length, 1)) - 0.5).clip(0, CELLS - 1)
    tents: np.ndarray = np.maximum(0.0, 1.0 - np.abs(place - np.arange(CELLS)[:, None]))
    return tents


def _marks(pixels: UInt8[np.ndarray, "H W"], lit: Bool[np.ndarray, "H W"]) -> Iterator[float]:
    """Grey bars (lit pixels whose level glides from row to row) and marks (runs of lit rows), left and right."""
    for half in _halves(lit.shape)[:2]:
        shown, level = lit[half], pixels[half]
        step = np.maximum(level[1:], level[:-1]) - np.minimum(level[1:], level[:-1])
        glides = (step > 0) & (step <= _RAMP) & shown[1:] & shown[:-1]
        yield float(glides.sum()) * CELLS / max(shown.size, 1)
        rows = np.asarray(shown.any(axis=1))
        yield float((rows[1:] & ~rows[:-1]).sum() + rows[:1].sum()) / 64


def _border(pixels: UInt8[np.ndarray, "H W"]) -> Iterator[float]:
    """Mean level of eight pieces of the border ring, then the spread along each of its sides."""
    wide = max(1, min(pixels.shape) // _RING_SHARE)
    sides = (pixels[:wide].T, pixels[-wide:].T, pixels[:, :wide], pixels[:, -wide:])
    for side in sides:
        middle = (len(side) + 1) // 2
        yield float(side[:middle].mean()) / 255
        yield float(side[middle:].mean()) / 255 if len(side) > middle else 0.0
    for side in sides:
        yield float(side.std()) / 255


def _geometry(image: UltrasoundImage, fan: Fan, origin: tuple[int, int]) -> Iterator[float]:
    """How the fan lies in its frame; without one, the tissue box or the whole frame."""
    height, width = image.pixels.shape
    top, left = origin
    sector = fan.sector
    yield fan.confidence
    if sector is None:
        yield from (0.0,) * 6
        box = image.tissue or (0, 0, height, width)
    else:
        yield float(np.clip((sector.apex[0] + top) / height, -_FAR, _FAR))
        yield float(np.clip((sector.apex[1] + left) / width, -_FAR, _FAR))
        yield float(np.clip(sector.left[0], -_FAR, _FAR))
        yield float(np.clip(sector.right[0], -_FAR, _FAR))
        yield float(np.clip(sector.near / height, -_FAR, _FAR))
        yield float(np.clip(sector.far / height, -_FAR, _FAR))
        box = fan.box if fan.mask.any() else (0, 0, fan.height, fan.width)
        box = (box[0] + top, box[1] + left, box[2] + top, box[3] + left)
    yield from (box[0] / height, box[1] / width, box[2] / height, box[3] / width)
