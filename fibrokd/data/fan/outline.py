"""Moves a roughly known sector onto the outline that is seen at full resolution, and counts how much of it is seen.

Flanks and far arc go where most edge points agree: on a line, at a radius. The probe's face goes where tissue begins.
Must not decide whether the sector is a fan.
Shape letters: H W frame, N edge points or pixels, V stretches, D radii.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from fibrokd.data.fan.edges import edges, voted_lines
from fibrokd.data.fan.fit import LEAST_OPENING
from fibrokd.data.sector import Line, Sector

_SLOPES = 17  # tried, within what the roughly known flank may be off by
_STRETCHES = 0.03 * np.arange(-5, 6)
_TOO_FAR = 5  # reaches by which a grey bar under the far arc may have pushed it out
_LEAST_AGREEMENT = 0.25  # of the columns: fewer do not say where the far arc is
_ON_OUTLINE = 1.5  # pixels
_UNSEEN = 0.5  # of the pixels at one radius: more, and the fan has not begun


@dataclass(frozen=True)
class EdgePoints:
    """Where blank and tissue meet.

    Args:
        height: Rows of the frame.
        width: Columns of the frame.
        left: Row and column of every left edge.
        right: Row, and column counted from the right, of every right edge.
        below: Row and column of every lower edge.
    """

    height: int
    width: int
    left: Int[np.ndarray, "2 N"]
    right: Int[np.ndarray, "2 M"]
    below: Int[np.ndarray, "2 K"]


def edge_points(seen: Bool[np.ndarray, "H W"], run: int) -> EdgePoints:
    """Return the edges of what is seen, see :func:`fibrokd.data.fan.edges.edges`."""
    height, width = seen.shape
    left, right = (np.stack(np.nonzero(edges(side, run))) for side in (seen, seen[:, ::-1]))
    columns, lifts = np.nonzero(edges(np.ascontiguousarray(seen[::-1].T), run))
    return EdgePoints(height, width, left, right, np.stack([height - 1 - lifts, columns]))


def outlined(seen: Bool[np.ndarray, "H W"], points: EdgePoints, sector: Sector, reach: int) -> Sector:
    """Return the sector moved onto the outline.

    Args:
        seen: What differs from the background.
        points: Its edges.
        sector: Roughly where the fan is.
        reach: Pixels by which a flank may be off.
    """
    left = _flank(points.left, _span(points, sector, sector.left), sector.left, reach)
    rough = mirrored(sector.right, points.width)
    right = mirrored(_flank(points.right, _span(points, sector, rough), rough, reach), points.width)
    apex = apex_of(left, right)
    if apex is None:
        return sector
    lower = sector.apex[0] - apex[0]
    moved = Sector(left, right, apex, max(sector.near + lower, 0.0), sector.far + lower, sector.stretch)
    return _with_near(seen, _with_far(points, moved, reach), reach)


def support(points: EdgePoints, sector: Sector) -> tuple[float, float, float]:
    """Return how much of the left flank, the right flank and the far arc is an edge that is seen, each 0 … 1.

    What the frame's border cuts off is not counted.
    """
    shares: list[float] = []
    rough = mirrored(sector.right, points.width)
    for side, (slope, offset) in ((points.left, sector.left), (points.right, rough)):
        rows = np.arange(*_span(points, sector, (slope, offset)))
        column = slope * rows + offset
        shown = np.count_nonzero((column >= 1) & (column < points.width))
        on_line = np.abs(side[1] - slope * side[0] - offset) <= _ON_OUTLINE
        shares.append(min(int(np.count_nonzero(on_line)) / max(int(shown), 1), 1.0))
    down, aside = _between_flanks(points.below, sector)
    on_arc = np.abs(np.hypot(down, sector.stretch * aside) - sector.far) <= _ON_OUTLINE
    return shares[0], shares[1], min(int(np.count_nonzero(on_arc)) / max(_arc_columns(points, sector), 1), 1.0)


def mirrored(line: Line, width: int) -> Line:
    """Return the line in columns counted from the other side of the frame."""
    return -line[0], width - 1 - line[1]


def apex_of(left: Line, right: Line) -> tuple[float, float] | None:
    """Return where the flanks meet, (row, column); ``None`` where they hardly open."""
    opening = right[0] - left[0]
    if opening < LEAST_OPENING:
        return None
    row = (left[1] - right[1]) / opening
    return round(row, 2), round(left[0] * row + left[1], 2)


def _span(points: EdgePoints, sector: Sector, line: Line) -> tuple[int, int]:
    """First row and row after the last of a flank: from the near to the far arc, within the frame."""
    along = math.hypot(1, sector.stretch * line[0])  # radius per row
    top = max(0, int(sector.apex[0] + sector.near / along))
    return top, max(top, min(points.height, int(sector.apex[0] + sector.far / along)))


def _arc_columns(points: EdgePoints, sector: Sector) -> int:
    """Columns of the frame in which the far arc lies above the lowest row."""
    ends = []
    for slope, _ in (sector.left, sector.right):
        angle = math.atan(slope * sector.stretch)
        ends.append(sector.apex[1] + sector.far * math.sin(angle) / sector.stretch)
    column = np.arange(max(0, math.ceil(ends[0])), min(points.width - 1, math.floor(ends[1])) + 1)
    squared = sector.far**2 - np.square(sector.stretch * (column - sector.apex[1]))
    return int(np.count_nonzero(sector.apex[0] + np.sqrt(np.maximum(squared, 0)) < points.height - 1))


def _flank(side: Int[np.ndarray, "2 N"], span: tuple[int, int], line: Line, reach: int) -> Line:
    """The left flank on which most edge points near the given one agree."""
    slope, offset = line
    length = span[1] - span[0]
    if length < 4 * reach:
        return line
    near = (side[0] >= span[0]) & (side[0] < span[1]) & (np.abs(side[1] - slope * side[0] - offset) <= reach)
    most = 2 * reach / length
    found = voted_lines(side[:, near], np.linspace(slope - most, slope + most, _SLOPES), peaks=1, least=1)
    return found[0] if found else line


def _with_far(points: EdgePoints, sector: Sector, reach: int) -> Sector:
    """Stretch and far arc on which most lower edges of tissue agree; unchanged where few do."""
    down, aside = _between_flanks(points.below, sector)
    stretches = sector.stretch + _STRETCHES
    radii = np.sqrt(np.square(down) + np.square(stretches[:, None] * aside))
    low, room = max(int(sector.far) - _TOO_FAR * reach, 0), (_TOO_FAR + 2) * reach
    bins = np.rint(radii).astype(np.intp) - low
    places = bins + room * np.arange(len(stretches))[:, None]
    votes = np.bincount(places[(bins >= 0) & (bins < room)], minlength=room * len(stretches)).reshape(-1, room)
    votes[:, 1:-1] = votes[:, :-2] + votes[:, 1:-1] + votes[:, 2:]
    best, place = divmod(int(votes.argmax()), room)
    if votes[best, place] < max(_LEAST_AGREEMENT * _arc_columns(points, sector), 1):
        return sector
    far = float(np.median(radii[best][np.abs(bins[best] - place) <= 1]))
    return dataclasses.replace(sector, far=round(far, 2), stretch=round(float(stretches[best]), 3))


def _with_near(seen: Bool[np.ndarray, "H W"], sector: Sector, reach: int) -> Sector:
    """The radius at which most of what lies between the flanks begins to be seen."""
    shallow = seen[: max(int(sector.apex[0] + sector.near) + 3 * reach, 0)]
    low, room = max(int(sector.near) - 2 * reach, 0), 4 * reach
    counts = []
    for mask in (shallow, np.ones_like(shallow)):
        down, aside = _between_flanks(np.stack(np.nonzero(mask)), sector)
        bins = np.rint(np.hypot(down, sector.stretch * aside)).astype(np.intp) - low
        counts.append(np.bincount(bins[(bins >= 0) & (bins < room)], minlength=room))
    excess = np.concatenate([[0.0], np.cumsum(counts[0] - _UNSEEN * counts[1])])
    return dataclasses.replace(sector, near=max(low + int(excess.argmin()) - 0.5, 0.0))


def _between_flanks(
    points: Int[np.ndarray, "2 N"], sector: Sector
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Rows and columns, counted from the apex, of the points between the flanks."""
    rows, columns = points
    (left_slope, left_offset), (right_slope, right_offset) = sector.left, sector.right
    inside = (columns > left_slope * rows + left_offset) & (columns < right_slope * rows + right_offset)
    inside &= rows > sector.apex[0]
    return rows[inside] - sector.apex[0], columns[inside] - sector.apex[1]
