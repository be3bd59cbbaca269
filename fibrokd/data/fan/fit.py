"""Fits a sector to the region seen: straight flanks, arcs by a search over the horizontal stretch.

Must not look for the region, nor judge the fit.
Shape letters: h w small copy, R rows, C columns near the axis, V stretches tried.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, UInt8

from fibrokd.data.fan.region import ends
from fibrokd.data.sector import Line, Sector

LEAST_OPENING = 0.5
"""Columns per row between the flanks: below it a screen or a linear probe, not a liver fan."""

_SYMMETRY_BONUS = 0.06  # of overlap: what a symmetric fan may lose to shadows and still be preferred
_FLANK_SHARE = 0.72  # of the fan's rows: below, the far arc cuts the flanks
_AXIS_SHARE = 0.15  # of the fan's width, to either side of its axis: columns that show the arcs
_SEEN_MARGIN = 0.4  # cells by which what is seen exceeds the fan: a tenth of a cell's area makes it differ enough
_GRAIN = 0.5  # cells
_SHADOW_TRUST = 0.005  # weight of an edge point that has drawn back
_ROUNDS = 4  # of reweighting: the lines move by under a tenth of a cell afterwards
_LEAST_STRETCH = 0.7
_STRETCH_STEP = 0.15
_STRETCHES = _LEAST_STRETCH + _STRETCH_STEP * np.arange(7)
_OUTWARD = np.array([[-1.0], [1.0]])  # rows: upwards at the probe's face, downwards at the far arc


def fit(region: Bool[np.ndarray, "h w"], contrast: UInt8[np.ndarray, "h w"]) -> tuple[Sector | None, float]:
    """Return the sector in cells, and its intersection over union with the region; ``None`` and 0 without one.

    Args:
        region: The region seen, shadows filled.
        contrast: Distance of every cell from the background.
    """
    rows = np.flatnonzero(region.any(1))
    upper = rows[: int(_FLANK_SHARE * len(rows))]
    if len(upper) < 8:
        return None, 0.0
    first, last = ends(region[upper])
    left, right = _flanks(upper.astype(np.float64), np.stack([-first, last]).astype(np.float64))
    best: tuple[Sector | None, float] = (None, 0.0)
    for flanks in _hypotheses(left, right, float(rows[0])):
        apex = _apex(*flanks, float(rows[0]))
        found = _best_arcs(region, contrast, flanks, apex) if apex else (None, 0.0)
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


def _flanks(rows: Float[np.ndarray, " R"], outward: Float[np.ndarray, "2 R"]) -> tuple[Line, Line]:
    """Straight lines through the outermost points: points inside are forgiven (shadows), points outside are not.

    Args:
        rows: Rows of the edge points.
        outward: Their columns, counted outwards: the left flank's are negative.
    """
    middle = rows.mean()
    row = rows - middle
    powers = np.stack([np.ones_like(row), row, row * row], axis=1)
    # A fan only widens: where the edge draws back by more than grain does, a shadow lies.
    weight = trust = np.where(outward > np.maximum.accumulate(outward, axis=1) - _GRAIN, 1.0, _SHADOW_TRUST)
    for _ in range(_ROUNDS):
        moments = weight @ powers
        targets = (weight * outward) @ powers[:, :2]
        total, first, second = moments.T
        slope = (total * targets[:, 1] - first * targets[:, 0]) / (total * second - first * first)
        offset = (targets[:, 0] - slope * first) / total
        beyond = outward - slope[:, None] * row - offset[:, None]
        distance = 1 + np.maximum(-beyond, beyond / 6)
        weight = trust / (distance * distance)
    offset = offset - slope * middle
    # Rounded: sums differ in the last bit between processors, and no pixel may flip for that.
    slopes, offsets = slope.round(4).tolist(), offset.round(2).tolist()
    return (-slopes[0], -offsets[0]), (slopes[1], offsets[1])


def _apex(left: Line, right: Line, top: float) -> tuple[float, float] | None:
    """Where the flanks meet, at the fan's top at the lowest; ``None`` where they hardly open."""
    opening = right[0] - left[0]
    if opening < LEAST_OPENING:
        return None
    row = min((left[1] - right[1]) / opening, top)
    middle = ((left[0] + right[0]) * row + left[1] + right[1]) / 2
    return round(row, 2), round(middle, 2)


def _best_arcs(
    region: Bool[np.ndarray, "h w"],
    contrast: UInt8[np.ndarray, "h w"],
    flanks: tuple[Line, Line],
    apex: tuple[float, float],
) -> tuple[Sector | None, float]:
    """Radial limits from the columns around the axis, stretch by search."""
    half = max(2, round(_AXIS_SHARE * np.count_nonzero(region.any(0))))
    centre = min(max(round(apex[1]), half), region.shape[1] - 1 - half)
    shown = slice(centre - half, centre + half + 1)
    near, far = _radii(region[:, shown], contrast[:, shown], centre - half - apex[1], apex[0])
    scores = _overlaps(region, flanks, apex, near, far)
    best = int(scores.argmax())
    place = _peak(scores, best)
    low = min(int(place), len(scores) - 2)
    near_best, far_best = (round(float(r[low] + (place - low) * (r[low + 1] - r[low])), 2) for r in (near, far))
    stretch = round(_LEAST_STRETCH + _STRETCH_STEP * place, 3)
    return Sector(*flanks, apex, near_best, far_best, stretch), float(scores[best])


def _peak(scores: Float[np.ndarray, " V"], best: int) -> float:
    """Index, between whole numbers, of the top of the parabola through the best score and its neighbours."""
    if not 0 < best < len(scores) - 1:
        return float(best)
    before, top, after = (float(score) for score in scores[best - 1 : best + 2])
    return best + 0.5 * (before - after) / min(before - 2 * top + after, -1e-6)


def _radii(
    part: Bool[np.ndarray, "h C"],
    contrast: UInt8[np.ndarray, "h C"],
    start: float,
    apex_row: float,
) -> tuple[Float[np.ndarray, " V"], Float[np.ndarray, " V"]]:
    """Radii of the probe's face and of the deepest echoes, for every stretch.

    Args:
        part: The region in the columns around the axis.
        contrast: Distance from the background there.
        start: Their first column, counted from the apex.
        apex_row: Row of the apex.
    """
    count = part.shape[1]
    each = np.arange(count)
    top, bottom = part.argmax(0), len(part) - 1 - part[::-1].argmax(0)
    # The outermost cell is partly covered: its share is its level over the next cell's.
    ends, inner = np.stack([top, bottom]), np.stack([top + 1, bottom - 1])
    levels = contrast[np.stack([ends, inner.clip(0, len(part) - 1)]), each]
    share = np.minimum(levels[0] / np.maximum(levels[1], 1), 1)
    edge = ends + _OUTWARD * (share - 0.5)
    aside = np.square(_STRETCHES[:, None] * (each + start))
    radius = np.sqrt(np.square(edge - apex_row)[:, None] + aside)
    radius.sort(axis=-1)
    return radius[0, :, count // 3], radius[1, :, count - 1 - count // 3]


def _overlaps(
    region: Bool[np.ndarray, "h w"],
    flanks: tuple[Line, Line],
    apex: tuple[float, float],
    near: Float[np.ndarray, " V"],
    far: Float[np.ndarray, " V"],
) -> Float[np.ndarray, " V"]:
    """Intersection over union of the region and the sector, for every stretch: counted per row, nothing is drawn."""
    top = max(0, math.floor(apex[0]) + 1)
    height, width = region[top:].shape
    until = np.zeros((height, width + 1), dtype=np.int16)  # cells of the region to the left of a column
    np.cumsum(region[top:], axis=1, out=until[:, 1:])
    row = np.arange(top, top + height)
    limits = np.stack([np.maximum(near - _SEEN_MARGIN, 0), far + _SEEN_MARGIN])[:, :, None]
    reach = np.sqrt(np.maximum(limits * limits - np.square(row - apex[0]), 0)) / _STRETCHES[:, None]
    # Edges, not centres, of cells; both circles at once: what the near one cuts out is taken off again.
    (left_slope, left_offset), (right_slope, right_offset) = flanks
    middle, bounds = apex[1] + 0.5, np.empty((2, *reach.shape))
    np.maximum(middle - reach, left_slope * row + (left_offset + 0.5 - _SEEN_MARGIN), out=bounds[0])
    np.minimum(middle + reach, right_slope * row + (right_offset + 0.5 + _SEEN_MARGIN), out=bounds[1])
    np.maximum(bounds[0], bounds[1], out=bounds[1])
    cells = (bounds.clip(0, width) + 0.5).astype(np.intp)
    (near_size, far_size) = (cells[1] - cells[0]).sum(axis=-1)
    counted = until.ravel()[cells + np.arange(height) * (width + 1)]
    (near_common, far_common) = (counted[1] - counted[0]).sum(axis=-1, dtype=np.intp)
    size, common = far_size - near_size, far_common - near_common
    union = np.maximum(size + np.count_nonzero(region) - common, 1)
    return np.asarray(common / union)
