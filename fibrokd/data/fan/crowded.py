"""Finds the fan where burned-in marks crowd its outline, so that fan and marks look like one region.

What tells them apart is not size but shape: a flank is one straight line along which blank meets tissue in most rows,
an arc is one radius at which tissue ends. So edges vote for lines, and radii are taken from the share seen at each.
Finer and slower than the search for a clean fan. Must not decide which of the two is believed: that is ``fan``.
Shape letters: H W frame, h w small copy, N cells, D radii.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from fibrokd.data.fan.edges import edges, voted_lines
from fibrokd.data.fan.outline import apex_of, edge_points, mirrored, outlined, support
from fibrokd.data.fan.region import FULL_SHARE, LEAST_SEEN, LEAST_SHARE, contrast_of, ends, largest_part_of
from fibrokd.data.sector import Line, Sector

_LEAST_FINE = 512  # pixels along the longer side of the copy on which the outline is traced
_LEAST_CELLS = 112  # along the longer side: half the size of the cells that suffice beside a blank background
_FLOORS = (12, 5)  # grey levels from the background: JPEG rings around text by up to ten; dark tissue needs less
_ENOUGH = 0.9  # overlap at which no lower floor is tried: there, rings around text move the outline
_LEAST_THICKNESS = 8  # cells from the middle to the edge
_RUN = 6  # cells
_SLOPES = np.arange(-1.7, -0.2, 0.02)  # columns per row: a ruler or a bar stands upright
_PEAKS = 3  # lines per side: shadows have straight edges too
_LEAST_VOTES = 0.15  # of the rows
_STRETCHES = tuple(round(0.7 + 0.15 * number, 2) for number in range(7))
_THINNING = 2  # every so many cells, for radii that are taken to a few pixels only
_UNSEEN = 0.5  # of the cells at one radius
_SYMMETRY_BONUS = 0.03  # of overlap: what a symmetric fan may lose to shadows and still be preferred

# Marks can push the overlap of a disc or an ellipse with a sector up; they cannot make its outline straight.
_LEAST_FLANK = 0.3  # of either flank that must be an edge
_LEAST_ARC = 0.42
_LEAST_MEAN = 0.65
_LEAST_IN_DARK = 0.7  # overlap with what is seen at the lowest floor: below it, a dark part of the fan was cut off


def find_crowded(pixels: UInt8[np.ndarray, "H W"]) -> tuple[Sector | None, float]:
    """Find a fan whose outline is crowded by text, rulers, grey bars or logos.

    Args:
        pixels: Grey levels as decoded.

    Returns:
        The sector in pixels, and its intersection over union with the region seen; ``None`` and 0 where no sector has
        an outline that is an edge for the most part.
    """
    fine = max(1, max(pixels.shape) // _LEAST_FINE)
    sector, overlap = _find(np.asarray(Image.fromarray(pixels).reduce(fine)))
    return sector.enlarged(fine) if sector else None, overlap


@dataclass(frozen=True)
class _View:
    """What the small copy shows at one floor.

    Args:
        seen: Cells that differ from the background.
        part: The largest of their regions, small gaps closed.
    """

    seen: Bool[np.ndarray, "h w"]
    part: Bool[np.ndarray, "h w"]


def _find(pixels: UInt8[np.ndarray, "H W"]) -> tuple[Sector | None, float]:
    factor = max(1, max(pixels.shape) // _LEAST_CELLS)
    contrast = contrast_of(pixels)
    small = contrast_of(np.asarray(Image.fromarray(pixels).reduce(factor)))
    views = [_View(small > floor, largest_part_of(small > floor, _LEAST_THICKNESS)) for floor in _FLOORS]
    best: tuple[Sector | None, float] = (None, 0.0)
    for floor, view in zip(_FLOORS, views, strict=True):
        rough = _rough(view)
        if rough is None:
            continue
        seen, reach = contrast > floor, 2 * factor + 1
        points = edge_points(seen, 2 * reach)
        sector = outlined(seen, points, rough.enlarged(factor), reach)
        overlap, in_dark = (_overlap(of, sector.reduced(factor)) for of in (view, views[-1]))
        if overlap > best[1] and in_dark >= _LEAST_IN_DARK and _is_seen(support(points, sector)):
            best = sector, overlap
        if best[1] >= _ENOUGH:
            break
    return best


def _is_seen(shares: tuple[float, float, float]) -> bool:
    left, right, far = shares
    return min(left, right) >= _LEAST_FLANK and far >= _LEAST_ARC and left + right + far >= 3 * _LEAST_MEAN


def _rough(view: _View) -> Sector | None:
    """The best of the sectors between the strongest lines on the left and on the right, to about two cells."""
    own = view.part & view.seen
    width = own.shape[1]
    lefts, rights = _flanks(own), [mirrored(line, width) for line in _flanks(own[:, ::-1])]
    best, most = None, 0.0
    for left, right in itertools.product(lefts, rights):
        sector = _with_arcs(view.part, left, right)
        if sector is None:
            continue
        symmetric = abs(left[0] + right[0]) < 0.05 * (right[0] - left[0])
        overlap = _overlap(view, sector) + (_SYMMETRY_BONUS if symmetric else 0.0)
        if overlap > most:
            best, most = sector, overlap
    return best


def _flanks(own: Bool[np.ndarray, "h w"]) -> list[Line]:
    points = np.stack(np.nonzero(edges(own, _RUN)))
    return voted_lines(points, _SLOPES, _PEAKS, round(_LEAST_VOTES * len(own)))


def _with_arcs(part: Bool[np.ndarray, "h w"], left: Line, right: Line) -> Sector | None:
    """The sector between two flanks whose arcs enclose most of what is seen and least of what is not."""
    apex = apex_of(left, right)
    if apex is None:
        return None
    thin = part[::_THINNING, ::_THINNING]
    row, column = (_THINNING * np.arange(count) for count in thin.shape)
    inside = (column >= left[0] * row[:, None] + left[1]) & (column <= right[0] * row[:, None] + right[1])
    inside &= row[:, None] > apex[0]
    if not inside.any():
        return None
    rows, columns = np.nonzero(inside)
    down, aside, seen = row[rows] - apex[0], column[columns] - apex[1], thin[inside]
    squared = (np.square(down), np.square(aside))
    found = [(*_arcs(np.sqrt(squared[0] + stretch**2 * squared[1]), seen), stretch) for stretch in _STRETCHES]
    _, near, far, stretch = max(found)
    return Sector(left, right, apex, near, far, stretch)


def _arcs(radius: Float[np.ndarray, " N"], seen: Bool[np.ndarray, " N"]) -> tuple[float, float, float]:
    """Gain, near and far radius: the interval of radii with the largest surplus of seen cells."""
    bins = radius.astype(np.intp)
    every = np.bincount(bins)
    surplus = np.bincount(bins[seen], minlength=len(every)) - _UNSEEN * every
    until: Float[np.ndarray, " D"] = np.concatenate([[0.0], np.cumsum(surplus)])
    far = int(np.argmax(until - np.minimum.accumulate(until)))
    near = int(np.argmin(until[: far + 1]))
    return float(until[far] - until[near]), float(near), float(far)


def _overlap(view: _View, sector: Sector) -> float:
    """Intersection over union of the sector and what is seen, shadows within the sector filled row by row."""
    mask = sector.mask(*view.part.shape)
    own = view.part & mask
    first, last = ends(own)
    column = np.arange(own.shape[1])
    filled = mask & (column >= first[:, None]) & (column <= last[:, None]) & np.asarray(own.any(1))[:, None]
    size = np.count_nonzero(filled)
    if not LEAST_SHARE < size / mask.size < FULL_SHARE or np.count_nonzero(own) < LEAST_SEEN * size:
        return 0.0
    beside = np.count_nonzero(view.part & view.seen & ~mask)
    return float(size / (np.count_nonzero(mask) + beside))
