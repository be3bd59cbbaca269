"""The region that may be a fan: the largest thick part, shadows within its outline filled, and nothing by accident."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from scipy import ndimage

from fibrokd.data.border import border_level
from fibrokd.data.fan.region import (
    CONTRAST,
    FULL_SHARE,
    LEAST_SEEN,
    LEAST_SHARE,
    contrast_of,
    ends,
    largest_part_of,
    region_of,
)
from tests.data.sectors import draw_sector

SQUARE = np.ones((3, 3), dtype=bool)
PICTURES = st.tuples(st.integers(1, 15), st.integers(1, 15)).flatmap(lambda shape: arrays(np.uint8, shape))


@st.composite
def blobs(draw: st.DrawFn) -> np.ndarray:
    """Patches of every size, many of them cut off by the frame."""
    height, width = draw(st.integers(12, 44)), draw(st.integers(12, 44))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    field = ndimage.gaussian_filter(random.standard_normal((height, width)), draw(st.floats(0.5, 5)))
    blob: np.ndarray = field > np.quantile(field, draw(st.floats(0.1, 0.9)))
    return blob


def blank(height: int = 60, width: int = 80) -> np.ndarray:
    return np.zeros((height, width), dtype=bool)


def fan(seed: int = 0, half_angle: float = 0.55) -> np.ndarray:
    """What is seen of a speckled sector on 60 × 80 cells."""
    picture, _ = draw_sector(half_angle=half_angle, seed=seed)
    return contrast_of(np.asarray(Image.fromarray(picture).reduce(4))) > CONTRAST


def region(seen: np.ndarray) -> np.ndarray:
    found = region_of(seen)
    assert found is not None
    return found


# --------------------------------------------------------------------------- contrast
@settings(max_examples=80, deadline=None)
@given(PICTURES)
def test_contrast_is_the_distance_from_the_background_to_either_side(picture: np.ndarray) -> None:
    expected = np.abs(picture.astype(int) - int(border_level(picture)))
    np.testing.assert_array_equal(contrast_of(picture), expected)


def test_a_negative_has_the_contrast_of_its_picture() -> None:
    picture, _ = draw_sector(background=6)
    np.testing.assert_array_equal(contrast_of(255 - picture), contrast_of(picture))


# --------------------------------------------------------------------------- the largest part
@settings(max_examples=150, deadline=None)
@given(blobs(), st.integers(0, 4))
def test_the_largest_part_is_that_of_scipys_closing_opening_and_labels(seen: np.ndarray, thickness: int) -> None:
    closed = ndimage.binary_closing(np.pad(seen, 2), SQUARE)[2:-2, 2:-2]
    opened = ndimage.binary_opening(closed, SQUARE)
    core = ndimage.binary_erosion(opened, SQUARE, iterations=thickness) if thickness else opened
    labels, count = ndimage.label(opened, SQUARE)
    parts = [part for part in (labels == number for number in range(1, count + 1)) if (part & core).any()]
    most = max((int(part.sum()) for part in parts), default=0)
    expected = [part for part in parts if part.sum() == most] or [np.zeros_like(seen)]
    found = largest_part_of(seen, thickness)
    assert any(np.array_equal(found, part) for part in expected)


def test_parts_at_opposite_edges_of_the_picture_stay_two() -> None:
    seen = blank()
    seen[:, :20] = True
    seen[:, -12:] = True
    expected = blank()
    expected[:, :20] = True
    np.testing.assert_array_equal(largest_part_of(seen, 4), expected)


@pytest.mark.parametrize(("gap", "bridged"), [(1, True), (2, True), (3, False)])
@pytest.mark.parametrize("turned", [False, True])
def test_dark_gaps_up_to_two_cells_are_bridged(gap: int, bridged: bool, turned: bool) -> None:
    seen = blank()
    seen[10:50, 10:40] = True
    seen[10:50, 40 + gap : 65] = True
    found = largest_part_of(seen.T if turned else seen, 4)
    assert (found.sum() == 40 * 55) == bridged
    assert (found.sum() == 40 * 30) == (not bridged)


@pytest.mark.parametrize(("width", "tied"), [(1, False), (2, False), (3, True)])
def test_bridges_thinner_than_three_cells_tie_nothing(width: int, tied: bool) -> None:
    seen = blank()
    seen[5:55, 5:35] = True
    seen[30 : 30 + width, 35:50] = True
    seen[20:40, 50:70] = True
    assert bool(largest_part_of(seen, 4)[30, 60]) == tied


@pytest.mark.parametrize(("width", "thick"), [(8, False), (9, True)])
def test_a_bar_counts_from_nine_cells_on_however_long_it_is(width: int, thick: bool) -> None:
    seen = blank()
    seen[:, 60 : 60 + width] = True
    seen[20:35, 20:35] = True
    assert bool(largest_part_of(seen, 4)[5, 62]) == thick
    assert bool(largest_part_of(seen, 4)[25, 25]) != thick


def test_nothing_thick_is_nothing_at_all() -> None:
    seen = blank()
    seen[10, 10:70] = True
    assert not largest_part_of(seen, 4).any()
    assert not largest_part_of(blank(), 0).any()


@settings(max_examples=60, deadline=None)
@given(blobs())
def test_ends_are_the_outermost_cells_of_every_row(seen: np.ndarray) -> None:
    rows = seen[seen.any(1)]
    first, last = ends(rows)
    each = [np.flatnonzero(row) for row in rows]
    assert first.tolist() == [int(row[0]) for row in each]
    assert last.tolist() == [int(row[-1]) for row in each]


# --------------------------------------------------------------------------- shadows
@settings(max_examples=150, deadline=None)
@given(blobs())
def test_the_region_is_the_part_with_its_shadows_filled_or_refused_for_a_reason(seen: np.ndarray) -> None:
    part = largest_part_of(seen, 4)
    left, right = (np.logical_or.accumulate(side, axis=1) for side in (part, part[:, ::-1]))
    filled = left & right[:, ::-1] & np.logical_or.accumulate(part, axis=0)
    share = filled.mean()
    border = sum(int(line.sum()) for line in (filled[0], filled[-1], filled[:, 0], filled[:, -1]))
    accepted = LEAST_SHARE < share < FULL_SHARE and part.sum() >= LEAST_SEEN * filled.sum()
    accepted = accepted and border < 0.4 * 2 * sum(seen.shape)
    found = region_of(seen)
    assert (found is not None) == accepted
    if found is not None:
        np.testing.assert_array_equal(found, filled)


@pytest.mark.parametrize(
    ("shadow", "filled"),
    [
        ((slice(20, 40), slice(35, 45)), True),  # a vessel
        ((slice(30, 60), slice(38, 44)), True),  # below a rib, down to the bottom
        ((slice(10, 25), slice(10, 16)), False),  # at the flank: where the flank ran is for the fit to say
        ((slice(0, 20), slice(38, 44)), False),  # a probe that has no contact, or a face bent inwards
    ],
    ids=["hole", "to the bottom", "flank", "from the top"],
)
def test_only_what_lies_within_the_outline_is_filled(shadow: tuple[slice, slice], filled: bool) -> None:
    seen = blank()
    seen[10:55, 10:70] = True
    whole = region(seen)
    seen[shadow] = False
    inside = blank()
    inside[shadow] = True
    found = region(seen)
    assert found[inside & whole].all() == filled
    assert found[inside].any() == filled
    np.testing.assert_array_equal(found[~inside], whole[~inside])


# --------------------------------------------------------------------------- refusals
def test_nothing_and_everything_have_no_outline() -> None:
    everything = ~blank()
    assert region_of(blank()) is None
    assert region_of(everything) is None


@pytest.mark.parametrize(("margin", "refused"), [(1, True), (2, False)])
def test_what_fills_the_frame_but_for_a_thin_rim_is_refused(margin: int, refused: bool) -> None:
    seen = blank(110, 110)
    seen[margin:-margin, margin:-margin] = True  # 96.4 or 92.9 of a hundred cells, none of them on the border
    assert (region_of(seen) is None) == refused


def test_an_icon_is_refused_for_its_size() -> None:
    seen = blank()
    seen[20:34, 20:37] = True  # 238 of 4800 cells: just below a twentieth
    assert region_of(seen) is None
    seen[20:34, 37] = True
    assert region(seen).sum() == 252


def test_a_window_of_thick_lines_is_made_of_pieces_and_refused() -> None:
    seen = blank()
    seen[2:58, 2:78] = True
    seen[12:48, 12:68] = False  # half of it, once filled, was never seen
    assert region_of(seen) is None
    seen[12:48, 37:68] = True
    assert region(seen).sum() == 56 * 76


def test_the_border_may_be_touched_on_two_fifths_of_its_length() -> None:
    seen = blank()
    seen[:15] = True
    assert region(seen).sum() == 15 * 80  # 80 + 2 · 15 of 280 cells; 112 are too many
    seen[15] = True
    assert region_of(seen) is None


# --------------------------------------------------------------------------- fans
def test_text_rulers_and_bars_beside_a_fan_do_not_change_its_region() -> None:
    seen = fan()
    plain = region(seen)
    seen[3:6, 2:25] = True
    seen[10:50:5, 1:4] = True
    seen[8:50, 74:79] = True
    np.testing.assert_array_equal(region(seen), plain)


def test_a_panel_at_the_right_edge_is_not_tied_to_a_fan_cut_off_by_the_left_one() -> None:
    seen = np.ascontiguousarray(fan()[:, 14:])
    assert seen[:, 0].any()
    plain = region(seen)
    with_panel = np.pad(seen, ((0, 0), (0, 20)))
    with_panel[20:50, -12:] = True
    np.testing.assert_array_equal(region(with_panel)[:, : seen.shape[1]], plain)
    assert not region(with_panel)[:, seen.shape[1] :].any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 12), st.integers(0, 12))
def test_a_mirrored_or_moved_fan_has_the_mirrored_or_moved_region(seed: int, down: int, right: int) -> None:
    seen = fan(seed, half_angle=0.35 + 0.0003 * seed)
    plain = region(seen)
    np.testing.assert_array_equal(region(np.ascontiguousarray(seen[:, ::-1])), plain[:, ::-1])
    margins = ((down, 12 - down), (right, 12 - right))
    assert not plain[[0, -1]].any()  # else the frame's edge would have cut it
    np.testing.assert_array_equal(region(np.pad(seen, margins)), np.pad(plain, margins))


def test_the_region_of_a_speckled_fan_is_the_fan_without_its_sharpest_corners() -> None:
    picture, truth = draw_sector()
    covered = truth.reshape(60, 4, 80, 4).mean((1, 3))
    found = region(contrast_of(np.asarray(Image.fromarray(picture).reduce(4))) > CONTRAST)
    assert not found[covered == 0].any()
    assert found[covered == 1].mean() > 0.995
    np.testing.assert_array_equal(region(found), found)
