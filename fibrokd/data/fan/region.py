"""What of a frame differs from its background, and the one region of it that may be a fan.

Must not know the shape of a fan: that is ``fit``.
Shape letters: h w small copy, R rows.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int, UInt8

from fibrokd.data.bitboard import dilated, eroded, largest_part, pack, stride, unpack
from fibrokd.data.border import border_level

CONTRAST = 2
"""Grey levels from the background: receiver noise in deep shadows still counts as fan."""

LEAST_SHARE = 0.05
"""Of the frame: a smaller region is an icon or a colour bar."""

FULL_SHARE = 0.96
"""Of the frame: a region this large has no fan's outline."""

LEAST_SEEN = 0.7
"""Of the region with its shadows filled: below it the region is made of pieces."""

_BORDER_SHARE = 0.4  # of the frame's border: a region that touches more of it has been cut off all around
_LEAST_THICKNESS = 4  # cells from the middle to the edge: text, rulers and grey bars are thinner


def contrast_of(small: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Distance of every cell from the background, the most frequent level along the border."""
    background = border_level(small)
    return np.asarray(np.maximum(small, background) - np.minimum(small, background))


def region_of(seen: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"] | None:
    """The largest thick part of what is seen, shadows filled; ``None`` without an outline."""
    height, width = seen.shape
    part = largest_part_of(seen, _LEAST_THICKNESS)
    # Below the first cell of its column and between the first and the last of its row: within the outline.
    first, last = ends(part)
    row, column = np.arange(height, dtype=np.int16), np.arange(width, dtype=np.int16)
    region = np.logical_and(column >= first[:, None], column <= last[:, None])
    region &= row[:, None] >= np.where(part.any(0), part.argmax(0), height).astype(np.int16)
    region &= np.asarray(part.any(1))[:, None]
    size = np.count_nonzero(region)
    if not LEAST_SHARE < size / seen.size < FULL_SHARE or np.count_nonzero(part) < LEAST_SEEN * size:
        return None
    on_border = sum(np.count_nonzero(line) for line in (region[0], region[-1], region[:, 0], region[:, -1]))
    return region if on_border < _BORDER_SHARE * 2 * (height + width) else None


def largest_part_of(seen: Bool[np.ndarray, "h w"], thickness: int) -> Bool[np.ndarray, "h w"]:
    """Return the largest connected part so many cells thick from its middle, closed and opened by 3 × 3 cells."""
    height, width = seen.shape
    step = stride(width)
    # Closing bridges dark speckle without moving the outline; a blur would move it outwards by its own width.
    board = eroded(dilated(pack(seen), step), step)
    # The blank cells beside the rows are used up: filled, they would tie the left edge of a picture to its right one.
    board &= pack(np.ones_like(seen))
    board = dilated(eroded(board, step), step)
    return unpack(largest_part(board, step, thickness), height, width)


def ends(part: Bool[np.ndarray, "R w"]) -> tuple[Int[np.ndarray, " R"], Int[np.ndarray, " R"]]:
    """Return the first and last True column of every row."""
    return part.argmax(1).astype(np.int16), (part.shape[1] - 1 - part[:, ::-1].argmax(1)).astype(np.int16)
