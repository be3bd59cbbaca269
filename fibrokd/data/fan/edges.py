"""Edges between blank and tissue, and the straight lines on which most of them lie.

A vote, not a fit: a mark or a shadow costs the rows that it hides, and moves nothing. Must not know what a fan is.
Shape letters: h w mask, N edge points, A slopes, B offsets.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fibrokd.data.sector import Line

_SEEN_SHARE = 0.75  # of the run behind an edge: strokes of letters are thinner than tissue, and speckle has holes
_TOLERANCES = (2.5, 1.5, 1.0)  # cells from the line, round by round: farther points belong to something else
_LEAST_POINTS = 8
_APART = (5, 4)  # slopes and offsets between two peaks: closer ones are one line


def edges(seen: Bool[np.ndarray, "h w"], run: int) -> Bool[np.ndarray, "h w"]:
    """Return where, read from the left, blank ends and tissue begins.

    Args:
        seen: What differs from the background.
        run: Cells behind the edge of which three quarters must be seen.
    """
    height, width = seen.shape
    before = np.zeros((height, width + run), dtype=np.int16)  # cells seen to the left of a column
    np.cumsum(seen, axis=1, out=before[:, 1 : width + 1])
    before[:, width + 1 :] = before[:, width : width + 1]
    found = before[:, run:] - before[:, :width] >= _SEEN_SHARE * run
    found[:, 1:] &= seen[:, 1:] & ~seen[:, :-1]
    found[:, 0] = False  # tissue that the frame cuts off has no edge
    return np.asarray(found)


def voted_lines(points: Int[np.ndarray, "2 N"], slopes: Float[np.ndarray, " A"], peaks: int, least: int) -> list[Line]:
    """Return the lines through most points, most votes first (Hough; votes of three neighbouring offsets are added).

    Args:
        points: Rows and columns.
        slopes: Columns per row to be tried, evenly spaced.
        peaks: Lines at most.
        least: Votes at least.
    """
    if points.shape[1] < _LEAST_POINTS:
        return []
    rows, columns = points
    middle = int(rows.mean())
    offsets = np.rint(columns - slopes[:, None] * (rows - middle)).astype(np.intp)
    first = int(offsets.min()) - 1
    span = int(offsets.max()) - first + 2
    places = offsets - first + span * np.arange(len(slopes))[:, None]
    votes = np.bincount(places.ravel(), minlength=span * len(slopes)).reshape(len(slopes), span)
    votes[:, 1:-1] = votes[:, :-2] + votes[:, 1:-1] + votes[:, 2:]
    lines = []
    for _ in range(peaks):
        slope, offset = divmod(int(votes.argmax()), span)
        if votes[slope, offset] < least:
            break
        start = float(slopes[slope])
        lines.append(_through(rows, columns, (start, offset + first - start * middle)))
        around = (slice(max(at - room, 0), at + room + 1) for at, room in zip((slope, offset), _APART, strict=True))
        votes[tuple(around)] = 0
    return lines


def _through(rows: Int[np.ndarray, " N"], columns: Int[np.ndarray, " N"], line: Line) -> Line:
    """Least squares through the points near a line, nearer ones in every round."""
    slope, offset = line
    for tolerance in _TOLERANCES:
        near = np.abs(columns - slope * rows - offset) <= tolerance
        row, column = rows[near], columns[near]
        if len(row) < _LEAST_POINTS or np.ptp(row) == 0:
            break
        centre = row.mean()
        aside = row - centre
        slope = float(aside @ column / (aside @ aside))
        offset = float(column.mean() - slope * centre)
    # Rounded: sums differ in the last bit between processors, and no pixel may flip for that.
    return round(slope, 4), round(offset, 2)
