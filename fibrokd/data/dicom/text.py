"""Burned-in text within the tissue: found as rows of glyphs, set to 0.

Text hides tissue, may name a patient, and is a shortcut for a network. Looks for near-saturated strokes that form at
least four pieces of one height on one line, which speckle does not. Single marks such as calipers and dim or
handwritten text are not found. Shape letters: H W frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from scipy import ndimage

from fibrokd.data.dicom.colour import Tissue
from fibrokd.data.dicom.regions import Box

_STROKE_PX = 9  # wider things than this are no strokes
_CONTRASTS = (90, 130)  # grey levels above what lies around; the higher one parts glyphs from speckle that touches them
_EIGHT = np.ones((3, 3), dtype=bool)
_HEIGHTS = (5, 24)  # of a glyph, pixels
_LEAST_GLYPHS = 4
_MOST_GLYPHS = 1000  # a screen holds a few hundred; more are no text, and pairing them would take long
_TOLERANCE_PX = 1  # by which height and base line differ within a row
_WORD_GAP = 2.0  # glyph heights between two glyphs of one row
_SIDE_MARGIN = 1.5  # glyph heights to the left and right: glyphs that melt into bright speckle are missed
_ABOVE, _BELOW = 0.35, 0.5  # glyph heights: accents, descenders
_INSIDE = 0.5  # of a row within the tissue


@dataclass(frozen=True)
class _Glyph:
    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    def is_followed_by(self, other: _Glyph) -> bool:
        gap = other.left - self.right
        return (
            abs(other.bottom - self.bottom) <= _TOLERANCE_PX
            and abs(other.height - self.height) <= _TOLERANCE_PX
            and 0 <= gap <= _WORD_GAP * self.height
        )


def without_text(grey: UInt8[np.ndarray, "H W"], tissue_of_frame: Tissue, notes: list[str]) -> UInt8[np.ndarray, "H W"]:
    """Return the frame with rows of text within the tissue set to 0; text around the tissue stays.

    Args:
        grey: The frame.
        tissue_of_frame: Where tissue is declared, and found.
        notes: Is told how many rows were found.
    """
    rows = text_rows(grey)
    if not rows:
        return grey
    tissue = tissue_of_frame.area(grey)
    hidden = np.zeros(grey.shape, dtype=bool)
    for top, left, bottom, right in rows:
        if tissue[top:bottom, left:right].mean() >= _INSIDE:
            hidden[top:bottom, left:right] = True
    _, count = ndimage.label(hidden)  # a row may have been found at several contrasts
    if not count:
        return grey
    notes.append(f"burned-in text within the tissue was set to 0 (rows: {count})")
    return np.where(hidden, np.uint8(0), grey)


def text_rows(grey: UInt8[np.ndarray, "H W"]) -> list[Box]:
    """Return a box around every row of glyphs, margins included.

    Args:
        grey: The frame.
    """
    contrast = grey - _opened(grey)
    found = {row for level in _CONTRASTS for row in _rows(_glyphs(contrast, level))}
    height, width = grey.shape
    return [(max(top, 0), max(left, 0), min(bottom, height), min(right, width)) for top, left, bottom, right in found]


def _opened(grey: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """The frame without bright things narrower than a stroke's width, by running minima and maxima."""
    reach = _STROKE_PX // 2
    opened = np.pad(grey, 2 * reach, mode="edge")
    for extreme in (np.minimum, np.maximum):
        for axis in (0, 1):
            opened = _running(opened, extreme, axis)
    return opened


def _running(values: UInt8[np.ndarray, "A B"], extreme: np.ufunc, axis: int) -> UInt8[np.ndarray, "C D"]:
    """Running extreme over a stroke's width along one axis, in doubling steps; only where the window is whole."""
    lines = np.moveaxis(values, axis, 0)
    width = 1
    while width < _STROKE_PX:
        step = min(width, _STROKE_PX - width)
        lines = extreme(lines[:-step], lines[step:])
        width += step
    return np.asarray(np.moveaxis(lines, 0, axis), dtype=np.uint8)


def _glyphs(contrast: UInt8[np.ndarray, "H W"], level: int) -> list[_Glyph]:
    """Pieces of strokes of a glyph's size, from left to right."""
    strokes = contrast >= level
    if np.count_nonzero(strokes) < _LEAST_GLYPHS * _HEIGHTS[0]:
        return []
    labels, _ = ndimage.label(strokes, _EIGHT)
    pieces = (
        _Glyph(rows.start, rows.stop, columns.start, columns.stop) for rows, columns in ndimage.find_objects(labels)
    )
    sized = (
        piece
        for piece in pieces
        if _HEIGHTS[0] <= piece.height <= _HEIGHTS[1] and piece.right - piece.left <= 2 * piece.height
    )
    glyphs = sorted(sized, key=lambda piece: (piece.left, piece.top))
    return glyphs if len(glyphs) <= _MOST_GLYPHS else []


def _rows(glyphs: list[_Glyph]) -> list[Box]:
    """Boxes of the rows: greedy chains from left to right."""
    boxes = []
    used: set[int] = set()
    for start, first in enumerate(glyphs):
        if start in used:
            continue
        chain, last = [first], first
        for number in range(start + 1, len(glyphs)):
            glyph = glyphs[number]
            if glyph.left - last.right > _WORD_GAP * last.height:
                break
            if number not in used and last.is_followed_by(glyph):
                chain.append(glyph)
                used.add(number)
                last = glyph
        if len(chain) >= _LEAST_GLYPHS:
            boxes.append(_box(chain))
    return boxes


def _box(chain: list[_Glyph]) -> Box:
    height = max(glyph.height for glyph in chain)
    side = round(_SIDE_MARGIN * height)
    top, bottom = min(glyph.top for glyph in chain), max(glyph.bottom for glyph in chain)
    return (
        top - round(_ABOVE * height) - 1,
        chain[0].left - side,
        bottom + round(_BELOW * height) + 1,
        chain[-1].right + side,
    )
