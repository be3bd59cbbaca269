"""Finds the insonation fan of one frame: mask, box, apex, and how far the fitted sector explains what is seen.

Classical geometry, no learning: a fast search that a blank background suffices for, and a slower one for outlines that
are crowded by burned-in marks: where the fast one fails, or where a mark has melted into what it found.
Must not crop or decide what happens below a confidence: that is ``preprocess``.
Shape letters: H W frame.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from fibrokd.data.fan.crowded import find_crowded
from fibrokd.data.fan.fit import fit
from fibrokd.data.fan.marks import Marks, in_shadow, marks_beyond, mostly_blank
from fibrokd.data.fan.region import CONTRAST, contrast_of, region_of
from fibrokd.data.sector import Sector

LEAST_CELLS = 56
"""Cells along the longer side of the small copy, at least: 4 px each at 256 px."""

_BELIEVED = 0.9  # confidence: a fan that the fast search explains so well is not looked for again
_LIKELY = 0.85  # confidence of an outline that replaces a believed one into which marks have melted
_LEAST_OFF_PX = 2  # the fitted sector covers up to 1 px too much
_OFF_SHARE = 128  # one pixel in so many along the longer side: under half a cell of the fast search
_TILT = 0.05  # of the sum of both flanks' slopes, by which the two may differ
_CELLS_IN_DOUBT = 3  # marks that melted into the fan reach no further into its outline in nine pictures of ten


@dataclass(frozen=True)
class Fan:
    """The insonation fan.

    Args:
        height: Rows of the frame.
        width: Columns of the frame.
        confidence: Intersection over union of the fitted sector and the region seen, 0 … 1.
        sector: The fitted sector in pixels of the frame; ``None`` where nothing was found.
        off_px: Pixels by which the outline may lie beyond the true one: a share of the frame's longer side, and more
            where a mark may have moved it. What is kept must lie as much further inside.
    """

    height: int
    width: int
    confidence: float = 0.0
    sector: Sector | None = None
    off_px: int = _LEAST_OFF_PX

    @functools.cached_property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        """True inside the fitted sector; all False where nothing was found."""
        if self.sector is None:
            return np.zeros((self.height, self.width), dtype=bool)
        return self.sector.mask(self.height, self.width)

    def inner_mask(self, by: int) -> Bool[np.ndarray, "H W"]:
        """The mask without its outermost pixels; the frame's own edge counts as outside."""
        if self.sector is None:
            return self.mask
        return self.sector.inset(by).mask(self.height, self.width, edge=by)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right), half-open, around the mask; the whole frame where nothing was found."""
        return mask_box(self.mask) if self.sector else (0, 0, self.height, self.width)

    @property
    def apex(self) -> tuple[float, float] | None:
        """(row, column) where the flanks meet, in pixels, often above the frame; ``None`` where nothing was found."""
        return self.sector.apex if self.sector else None

    @property
    def stretch(self) -> float:
        """Horizontal scale that makes the arcs circular: 4 / 3 where a 4:3 screen was squeezed to a square."""
        return self.sector.stretch if self.sector else 1.0


def find_fan(pixels: UInt8[np.ndarray, "H W"]) -> Fan:
    """Find the fan of one frame.

    Background level from the border; what differs from it, closed and opened by 3 × 3 cells; its largest part that is
    thicker than text and rulers; straight flanks by asymmetric robust fits (shadows only ever move edge points
    inwards), one of them mirrored where a shadow hides the other; arcs by a search over the horizontal stretch. Where
    this explains less than nine tenths of what is seen, or where part of what is seen stands out beyond the outline as
    marks do: :func:`fibrokd.data.fan.crowded.find_crowded`.

    Args:
        pixels: Grey levels as decoded.

    Returns:
        The fan; confidence 0 and an empty mask where no region with an outline was found.
    """
    first, marks = _find_clean(pixels)
    believed = first.confidence >= _BELIEVED
    if believed and marks is None:
        return first
    sector, confidence = find_crowded(pixels)
    second = dataclasses.replace(first, confidence=confidence, sector=sector)
    if believed and marks is not None:
        return _without_marks(pixels, first, second, marks)
    return second if confidence >= _BELIEVED else first


def _without_marks(pixels: UInt8[np.ndarray, "H W"], first: Fan, second: Fan, marks: Marks) -> Fan:
    """The second outline where it leaves out a mark that the first encloses, and not merely tissue in a shadow."""
    plain = marks.plain or marks.hanging
    in_doubt = marks.plain and marks.may_be_read(pixels)
    careful = dataclasses.replace(first, off_px=_CELLS_IN_DOUBT * _cell_px(pixels)) if in_doubt else first
    if second.sector is None or second.confidence < (_LIKELY if plain else _BELIEVED):
        return careful
    taken = first.inner_mask(first.off_px) & ~second.mask
    if not marks.hanging and (_tilted(second.sector, first) or in_shadow(pixels, taken)):
        return careful
    stands_out = marks.plain and not marks.within(second.sector)
    if not (marks.hanging or stands_out or mostly_blank(pixels, taken)):
        return first
    # That there is a fan is known; the overlap of its true outline with what is seen suffers from the marks beside it.
    return dataclasses.replace(second, confidence=max(second.confidence, _BELIEVED))


def _tilted(sector: Sector, first: Fan) -> bool:
    """Whether an outline is clearly less symmetric than the first: a flank was lost to a shadow; marks push one out."""
    return first.sector is not None and sector.lopsided > first.sector.lopsided + _TILT


def _find_clean(pixels: UInt8[np.ndarray, "H W"]) -> tuple[Fan, Marks | None]:
    """The fan whose outline has a blank background beside it, on a copy of 56 … 111 cells along the longer side.

    With it, what of the region that it was fitted to stands out beyond its outline.
    """
    height, width = pixels.shape
    factor = _cell_px(pixels)
    contrast = contrast_of(np.asarray(Image.fromarray(pixels).reduce(factor)))
    off_px = max(_LEAST_OFF_PX, max(height, width) // _OFF_SHARE)
    region = region_of(contrast > CONTRAST)
    if region is None:
        return Fan(height, width, off_px=off_px), None
    sector, confidence = fit(region, contrast)
    if sector is None:
        return Fan(height, width, off_px=off_px), None
    marks = marks_beyond(region, contrast, sector, factor)
    return Fan(height, width, confidence, sector.enlarged(factor), off_px), marks


def _cell_px(pixels: UInt8[np.ndarray, "H W"]) -> int:
    return max(1, int(max(pixels.shape)) // LEAST_CELLS)


def mask_box(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    """Return the half-open box (top, left, bottom, right) around the True pixels; there must be one."""
    rows, columns = np.asarray(mask.any(1)), np.asarray(mask.any(0))
    bottom, right = len(rows) - int(rows[::-1].argmax()), len(columns) - int(columns[::-1].argmax())
    return int(rows.argmax()), int(columns.argmax()), bottom, right
