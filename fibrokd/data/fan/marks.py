"""Tells whether a burned-in mark has melted into the region through which a fan was fitted.

A fan's outline is straight or one arc; a word, a ruler, a bar or a logo is not aligned with it. So part of a mark that
melted into the region stands out beyond the outline that it moved. One thing does not: a word under the far arc, which
moves all of it; then the arc hangs below what is seen elsewhere. Works on the cells of the fast search: beside a blank
background nothing is looked at twice. Must not search a fan nor decide which one is taken: that is ``fan``.
Shape letters: H W frame, h w small copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from fibrokd.data.fan.region import CONTRAST, contrast_of
from fibrokd.data.sector import Sector

_BEYOND = 0.5  # cells from the outline: so far the fit itself may be off
_BRIGHT = 12  # grey levels from the background: JPEG rings around text by up to ten, and the rim of tissue is dark
_LEAST = 30  # grey levels, added up over bright cells beyond the outline: ticks of a ruler leave hardly more
_PLAIN = 60  # as much is not left by the speckle of a fan that was fitted a little too small
_HANGING = 0.9  # cells below what is seen
_HANGING_SHARE = 0.1  # of the columns that end in the far arc: without marks it is under a fiftieth
_BLANK_SHARE = 1 / 3
_SHADOW_BLANK_SHARES = (0.3, 0.45)  # a shadow holds the receiver's noise; surely, and where nothing is written
_WRITTEN_SHARE = 0.01  # of pixels as bright as writing
_TAKEN = (4e-4, 0.02)  # of the frame: fewer pixels say nothing, and weak marks move the outline by no more
_READABLE = 110  # grey levels from the background


@dataclass(frozen=True)
class Marks:
    """What of the region stands out beyond the outline.

    Args:
        cells: Bright cells of the region beyond the outline.
        factor: Pixels along a cell.
        plain: Whether it is more than speckle leaves.
        hanging: Whether the far arc hangs below what is seen: then a mark under it may lie wholly within the outline.
    """

    cells: Bool[np.ndarray, "h w"]
    factor: int
    plain: bool
    hanging: bool = False

    def within(self, sector: Sector) -> bool:
        """Tell whether another sector, in pixels, encloses all of it: then it may be tissue that was cut off."""
        return not (self.cells & ~_grown(sector.reduced(self.factor), self.cells)).any()

    def may_be_read(self, pixels: UInt8[np.ndarray, "H W"]) -> bool:
        """Tell whether any pixel of it is as bright as writing: the rim of tissue beside a shadow is darker."""
        height, width = pixels.shape
        cells = self.cells.view(np.uint8).repeat(self.factor, 0).repeat(self.factor, 1)[:height, :width]
        return int((contrast_of(pixels) * cells).max(initial=0)) >= _READABLE


def marks_beyond(
    region: Bool[np.ndarray, "h w"], contrast: UInt8[np.ndarray, "h w"], sector: Sector, factor: int
) -> Marks | None:
    """Return what of the region stands out beyond the outline; ``None`` where it is too little for a mark.

    Args:
        region: The region through which the sector was fitted.
        contrast: Distance of every cell from the background.
        sector: The fitted sector in cells.
        factor: Pixels along a cell.
    """
    cells = region & (contrast > _BRIGHT) & ~_grown(sector, region)
    total = int(contrast[cells].sum(dtype=np.int64))
    hanging = _arc_hangs(region, sector)
    return Marks(cells, factor, total > _PLAIN, hanging) if hanging or total > _LEAST else None


def _arc_hangs(region: Bool[np.ndarray, "h w"], sector: Sector) -> bool:
    """Tell whether part of the far arc lies below the region, where the frame does not cut it off."""
    height, width = region.shape
    column = np.arange(width)
    aside = sector.stretch * (column - sector.apex[1])
    arc = sector.apex[0] + np.sqrt(np.maximum(sector.far**2 - aside * aside, 0))
    ends = sector.left[0] * arc + sector.left[1] < column
    ends &= (column < sector.right[0] * arc + sector.right[1]) & (arc < height - 1)
    below = height - 1 + _HANGING - region[::-1].argmax(0)
    hanging = np.count_nonzero(ends & (arc > below))
    return bool(hanging > _HANGING_SHARE * np.count_nonzero(ends))


def mostly_blank(pixels: UInt8[np.ndarray, "H W"], taken: Bool[np.ndarray, "H W"]) -> bool:
    """Tell whether pixels are a seam of background with marks on it: in a shadow the receiver's noise is still seen.

    Args:
        pixels: Grey levels as decoded.
        taken: What one outline encloses and another does not.
    """
    levels = contrast_of(pixels)[taken]
    least, most = (share * pixels.size for share in _TAKEN)
    return bool(least < levels.size < most and np.count_nonzero(levels <= CONTRAST) > _BLANK_SHARE * levels.size)


def in_shadow(pixels: UInt8[np.ndarray, "H W"], taken: Bool[np.ndarray, "H W"]) -> bool:
    """Tell whether pixels are a flank in a shadow: more of them than weak marks move an outline by, and hardly blank.

    Args:
        pixels: Grey levels as decoded.
        taken: What one outline encloses and another does not.
    """
    levels = contrast_of(pixels)[taken]
    if levels.size < _TAKEN[1] * pixels.size:
        return False
    written = np.count_nonzero(levels >= _READABLE) >= _WRITTEN_SHARE * levels.size
    surely, unwritten = _SHADOW_BLANK_SHARES
    return bool(np.count_nonzero(levels <= CONTRAST) < (surely if written else unwritten) * levels.size)


def _grown(sector: Sector, like: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    height, width = like.shape
    return sector.inset(-_BEYOND).mask(height, width)
