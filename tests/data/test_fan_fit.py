"""The sector fitted to a region is the one that was drawn, wherever it lies, and there is none where nothing opens."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fibrokd.data.fan.fit import LEAST_OPENING, fit
from fibrokd.data.fan.region import CONTRAST, region_of
from fibrokd.data.sector import Sector

HEIGHT, WIDTH = 70, 80
SEEN_BEYOND = 0.4
"""Cells by which what is seen exceeds the fan: a cell of which a tenth is covered differs from the background."""


def sector(
    half_angle: float = 0.55,
    apex: tuple[float, float] = (-5.0, 40.0),
    radii: tuple[float, float] = (12.0, 58.0),
    stretch: float = 1.0,
) -> Sector:
    """A symmetric sector in cells; the opening is that on a screen without stretch."""
    slope = math.tan(half_angle) / stretch
    left, right = (-slope, apex[1] + slope * apex[0]), (slope, apex[1] - slope * apex[0])
    return Sector(left, right, apex, *radii, stretch)


def drawn(shape: Sector, height: int = HEIGHT, width: int = WIDTH, level: int = 200, fine: int = 8) -> np.ndarray:
    """Contrast of a noise-free sector: every cell by the share of it that is covered."""
    covered = shape.enlarged(fine).mask(height * fine, width * fine).reshape(height, fine, width, fine).mean((1, 3))
    contrast: np.ndarray = np.rint(level * covered).astype(np.uint8)
    return contrast


def shown(contrast: np.ndarray) -> np.ndarray:
    region = region_of(contrast > CONTRAST)
    assert region is not None
    return region


def fitted(contrast: np.ndarray) -> tuple[Sector, float]:
    found, confidence = fit(shown(contrast), contrast)
    assert found is not None
    return found, confidence


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def mirrored(shape: Sector, width: int) -> Sector:
    (left_slope, left), (right_slope, right) = shape.left, shape.right
    return Sector(
        left=(-right_slope, width - 1 - right),
        right=(-left_slope, width - 1 - left),
        apex=(shape.apex[0], width - 1 - shape.apex[1]),
        near=shape.near, far=shape.far, stretch=shape.stretch,
    )  # fmt: skip


def moved(shape: Sector, down: int, right: int) -> Sector:
    def line(flank: tuple[float, float]) -> tuple[float, float]:
        return flank[0], flank[1] + right - flank[0] * down

    apex = shape.apex[0] + down, shape.apex[1] + right
    return Sector(line(shape.left), line(shape.right), apex, shape.near, shape.far, shape.stretch)


def numbers(shape: Sector) -> np.ndarray:
    return np.array([*shape.left, *shape.right, *shape.apex, shape.near, shape.far, shape.stretch])


@st.composite
def sectors(draw: st.DrawFn) -> Sector:
    """Sectors of all openings and stretches that lie within the frame of 70 × 80 cells with a few cells to spare."""
    half_angle, stretch = draw(st.floats(0.35, 0.75)), draw(st.floats(0.75, 1.5))
    assume(2 * math.tan(half_angle) / stretch > 1.1 * LEAST_OPENING)
    above = draw(st.floats(-20, 2))
    far = min(60 - above, 0.42 * WIDTH * stretch / math.sin(half_angle))
    near = max(0.2 * far, 3 - above)
    assume(far - near > 22)
    return sector(half_angle, (above, WIDTH / 2 + draw(st.floats(-3, 3))), (near, far), stretch)


def shadowed(contrast: np.ndarray, seed: int) -> np.ndarray:
    """Grain everywhere, and a shadow across the left flank."""
    grain = np.random.default_rng(seed).uniform(0.3, 1, contrast.shape)
    darker = (contrast * grain).astype(np.uint8)
    darker[30:45, :35] = 0
    return darker


# --------------------------------------------------------------------------- what was drawn is found
@settings(max_examples=60, deadline=None)
@given(sectors())
def test_a_noise_free_sector_is_found_again(truth: Sector) -> None:
    found, confidence = fitted(drawn(truth))
    assert confidence > 0.95
    assert overlap(found.mask(HEIGHT, WIDTH), truth.mask(HEIGHT, WIDTH)) > 0.94
    assert (found.left[0], found.right[0]) == pytest.approx((truth.left[0], truth.right[0]), abs=0.07)
    assert found.stretch == pytest.approx(truth.stretch, abs=0.1)
    # Where the arcs meet the axis; radii and apex move together.
    assert found.apex[0] + found.far == pytest.approx(truth.apex[0] + truth.far, abs=0.15)
    assert found.apex[0] + found.near == pytest.approx(truth.apex[0] + truth.near, abs=0.4)


@pytest.mark.parametrize("stretch", [0.85, 1.0, 4 / 3])
@pytest.mark.parametrize("half_angle", [0.45, 0.6])
def test_on_a_plain_sector_the_fit_is_exact_to_a_fraction_of_a_cell(half_angle: float, stretch: float) -> None:
    truth = sector(half_angle, stretch=stretch)
    found, confidence = fitted(drawn(truth, width=100))
    assert confidence > 0.975
    assert (found.left[0], found.right[0]) == pytest.approx((truth.left[0], truth.right[0]), abs=0.015)
    assert found.apex == pytest.approx(truth.apex, abs=0.7)
    assert found.stretch == pytest.approx(stretch, abs=0.06)
    assert found.apex[0] + found.far == pytest.approx(53, abs=0.1)
    assert found.apex[0] + found.near == pytest.approx(7, abs=0.15)
    # Flanks lie beyond the true ones by what is seen of cells that they only touch, never within.
    for row in (15, 30):
        outward = truth.left[0] * row + truth.left[1] - found.left[0] * row - found.left[1]
        assert 0.0 < outward < SEEN_BEYOND


def test_arcs_are_placed_between_cells_by_how_much_of_the_outermost_ones_is_covered() -> None:
    depths = []
    for share in np.arange(0, 1, 0.125):
        found, _ = fitted(drawn(sector(radii=(12.0 + share, 57.0 + share))))
        depths.append((found.apex[0] + found.near, found.apex[0] + found.far))
    steps = np.diff(np.array(depths), axis=0)
    assert steps.mean(axis=0) == pytest.approx(0.125, abs=0.02)
    assert (steps > 0).all()
    assert (steps < 0.25).all()


@settings(max_examples=40, deadline=None)
@given(sectors(), st.integers(0, 1000))
def test_the_confidence_is_the_overlap_of_what_is_seen_with_the_sector(truth: Sector, seed: int) -> None:
    contrast = shadowed(drawn(truth), seed)
    found, confidence = fitted(contrast)
    outline = found.inset(-SEEN_BEYOND).mask(HEIGHT, WIDTH)
    assert confidence == pytest.approx(overlap(outline, shown(contrast)), abs=0.03)
    assert 0 < confidence <= 1


# --------------------------------------------------------------------------- laws
@settings(max_examples=40, deadline=None)
@given(sectors(), st.one_of(st.none(), st.integers(0, 1000)))
def test_a_mirrored_picture_has_the_mirrored_sector(truth: Sector, seed: int | None) -> None:
    contrast = drawn(truth) if seed is None else shadowed(drawn(truth), seed)
    found, confidence = fitted(contrast)
    turned, as_sure = fitted(np.ascontiguousarray(contrast[:, ::-1]))
    assert numbers(turned) == pytest.approx(numbers(mirrored(found, WIDTH)), abs=0.05)
    assert as_sure == pytest.approx(confidence, abs=0.005)


@settings(max_examples=40, deadline=None)
@given(sectors(), st.one_of(st.none(), st.integers(0, 1000)), st.integers(0, 9), st.integers(0, 9))
def test_a_moved_picture_has_the_moved_sector(truth: Sector, seed: int | None, down: int, right: int) -> None:
    contrast = drawn(truth) if seed is None else shadowed(drawn(truth), seed)
    assume(not contrast[[0, -1]].any())
    found, confidence = fitted(contrast)
    elsewhere, as_sure = fitted(np.pad(contrast, ((down, 9 - down), (right, 9 - right))))
    assert numbers(elsewhere) == pytest.approx(numbers(moved(found, down, right)), abs=0.05)
    assert as_sure == pytest.approx(confidence, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(sectors())
def test_on_cells_half_as_large_the_same_sector_is_found_more_precisely(truth: Sector) -> None:
    coarse, _ = fitted(drawn(truth))
    fine, _ = fitted(drawn(truth.enlarged(2), 2 * HEIGHT, 2 * WIDTH))
    masks = [each.mask(2 * HEIGHT, 2 * WIDTH) for each in (coarse.enlarged(2), fine, truth.enlarged(2))]
    assert overlap(masks[0], masks[1]) > 0.95
    assert overlap(masks[1], masks[2]) > min(overlap(masks[0], masks[2]), 0.985) - 0.005
    assert fine.stretch == pytest.approx(coarse.stretch, abs=0.1)


@pytest.mark.parametrize("level", [20, 90, 255])
def test_how_bright_the_fan_is_does_not_matter(level: int) -> None:
    bright, dim = fitted(drawn(sector()))[0], fitted(drawn(sector(), level=level))[0]
    # A dim fan's outermost cells, of which little is covered, count as background: half a cell at most.
    assert numbers(dim) == pytest.approx(numbers(bright), abs=0.5)
    assert overlap(dim.mask(HEIGHT, WIDTH), bright.mask(HEIGHT, WIDTH)) > 0.98


def test_a_bright_line_along_the_arcs_does_not_push_them_outwards() -> None:
    plain = drawn(sector())
    lined = np.where(sector().inset(1).mask(HEIGHT, WIDTH), plain // 8, plain).astype(np.uint8)
    found, bright = fitted(plain)[0], fitted(lined)[0]
    assert bright.apex[0] + bright.far == pytest.approx(found.apex[0] + found.far, abs=0.6)
    assert bright.apex[0] + bright.near == pytest.approx(found.apex[0] + found.near, abs=0.6)


def test_neither_region_nor_contrast_is_written_to() -> None:
    contrast = drawn(sector())
    region = shown(contrast)
    region.flags.writeable = contrast.flags.writeable = False
    assert fit(region, contrast)[1] > 0.95


# --------------------------------------------------------------------------- the frame's edge
@pytest.mark.parametrize(("sides", "within"), [(4, 0.01), (6, 0.02), (8, 0.04), (10, 0.07)])
def test_flanks_cut_off_by_the_frame_are_found_from_what_is_left_of_them(sides: int, within: float) -> None:
    whole = sector(apex=(-5.0, 32.0), radii=(10.0, 50.0))
    contrast = np.ascontiguousarray(drawn(whole, 56, 64)[:, 3 + sides : -3 - sides])
    assert contrast[:, [0, -1]].any(axis=0).all()
    truth = moved(whole, 0, -3 - sides)
    found, confidence = fitted(contrast)
    assert confidence > 0.95
    assert (found.left[0], found.right[0]) == pytest.approx((truth.left[0], truth.right[0]), abs=within)
    assert overlap(found.mask(*contrast.shape), truth.mask(*contrast.shape)) > 0.97


def test_a_flank_cut_off_on_one_side_leaves_the_other_alone() -> None:
    contrast = drawn(sector())
    whole, _ = fitted(contrast)
    found, _ = fitted(np.ascontiguousarray(contrast[:, 18:]))
    assert contrast[:, 18].any()
    assert found.right == pytest.approx((whole.right[0], whole.right[1] - 18), abs=0.02)
    assert found.left[0] == pytest.approx(whole.left[0], abs=0.05)
    assert found.left[0] * 20 + found.left[1] == pytest.approx(whole.left[0] * 20 + whole.left[1] - 18, abs=0.3)


def test_a_probes_face_above_the_frame_leaves_flanks_and_far_arc_where_they_are() -> None:
    contrast = np.ascontiguousarray(drawn(sector())[14:])
    assert contrast[0].any()
    truth = moved(sector(), -14, 0)
    found, confidence = fitted(contrast)
    assert confidence > 0.97
    assert overlap(found.mask(*contrast.shape), truth.mask(*contrast.shape)) > 0.97
    assert found.apex == pytest.approx(truth.apex, abs=0.6)
    assert found.apex[0] + found.far == pytest.approx(53 - 14, abs=0.15)


def test_a_far_arc_below_the_frame_leaves_the_flanks_where_they_are() -> None:
    contrast = np.ascontiguousarray(drawn(sector(radii=(12.0, 70.0)), 56))
    found, _ = fitted(contrast)
    assert contrast[-1].any()
    assert (found.left[0], found.right[0]) == pytest.approx((-math.tan(0.55), math.tan(0.55)), abs=0.02)
    assert overlap(found.mask(56, WIDTH), sector(radii=(12.0, 70.0)).mask(56, WIDTH)) > 0.93


# --------------------------------------------------------------------------- shadows
def angle() -> np.ndarray:
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    beam: np.ndarray = np.arctan2(column - 40, row + 5)
    return beam


@pytest.mark.parametrize("until", [-0.45, -0.3, -0.1, 0.0])
@pytest.mark.parametrize("turned", [False, True])
def test_a_shadow_low_on_a_flank_does_not_move_it(until: float, turned: bool) -> None:
    contrast = drawn(sector())
    rows = np.arange(HEIGHT)[:, None]
    contrast[(angle() < until) & (rows > 28) & (rows < 45)] = 0
    found, _ = fitted(np.ascontiguousarray(contrast[:, ::-1]) if turned else contrast)
    truth = sector(apex=(-5.0, 39.0)) if turned else sector()
    assert overlap(found.mask(HEIGHT, WIDTH), truth.mask(HEIGHT, WIDTH)) > 0.95
    assert (found.left[0], found.right[0]) == pytest.approx((truth.left[0], truth.right[0]), abs=0.03)


@pytest.mark.parametrize(("until", "below"), [(-0.5, 12), (-0.5, 20), (-0.2, 16), (0.0, 14)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_flank_hidden_down_to_the_bottom_is_the_other_one_mirrored(until: float, below: int, turned: bool) -> None:
    contrast = drawn(sector())
    whole, _ = fitted(contrast)
    contrast[(angle() < until) & (np.arange(HEIGHT)[:, None] > below)] = 0
    found, confidence = fitted(np.ascontiguousarray(contrast[:, ::-1]) if turned else contrast)
    found = mirrored(found, WIDTH) if turned else found
    assert confidence < 0.95  # part of it is not seen
    assert found.left[0] == -found.right[0]
    assert found.right == whole.right
    assert overlap(found.mask(HEIGHT, WIDTH), sector().mask(HEIGHT, WIDTH)) > 0.96


def test_flanks_that_truly_differ_are_not_made_alike() -> None:
    skewed = Sector((-0.2, 39.0), (0.7, 36.5), (-5.0, 40.0), 12.0, 58.0, 1.0)
    found, confidence = fitted(drawn(skewed))
    assert confidence > 0.95
    assert (found.left[0], found.right[0]) == pytest.approx((-0.2, 0.7), abs=0.02)


# --------------------------------------------------------------------------- refusals
def as_fit(mask: np.ndarray) -> tuple[Sector | None, float]:
    return fit(mask, mask.astype(np.uint8) * np.uint8(200))


@pytest.mark.parametrize(("opening", "is_fan"), [(0.3, False), (0.48, False), (0.53, True), (0.7, True)])
def test_flanks_that_open_by_less_than_half_a_column_per_row_are_no_fans(opening: float, is_fan: bool) -> None:
    slope = opening / 2
    wide = Sector((-slope, 28.0), (slope, 52.0), (-100.0, 40.0), 0.0, 160.0, 1.0)
    found, confidence = as_fit(wide.mask(HEIGHT, WIDTH))
    assert (found is not None) == is_fan
    assert (confidence > 0.9) if is_fan else confidence == 0
    if found is not None:
        assert found.right[0] - found.left[0] >= LEAST_OPENING


def test_nothing_and_rectangles_are_no_fans() -> None:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    assert as_fit(mask) == (None, 0.0)
    mask[10:60, 20:60] = True
    assert as_fit(mask) == (None, 0.0)
    assert as_fit(~np.zeros((HEIGHT, WIDTH), dtype=bool)) == (None, 0.0)


@pytest.mark.parametrize(("rows", "is_fan"), [(11, False), (12, True)])
def test_a_fan_of_too_few_rows_for_its_flanks_is_refused(rows: int, is_fan: bool) -> None:
    mask = sector(radii=(0.0, 100.0)).mask(HEIGHT, WIDTH)
    mask[:10] = mask[10 + rows :] = False
    found, confidence = as_fit(mask)
    assert (found is not None) == is_fan
    assert (confidence > 0) == is_fan


@pytest.mark.parametrize("stem", [4, 6, 8])
def test_the_apex_never_lies_below_the_top_of_what_is_seen(stem: int) -> None:
    mask = sector(apex=(16.0, 40.0), radii=(0.0, 50.0)).mask(HEIGHT, WIDTH)
    mask[16 - stem : 20, 40] = True  # the fan hangs from a thread
    found, confidence = as_fit(mask)
    assert found is not None
    assert found.apex[0] <= 16 - stem
    assert confidence > 0.8


@pytest.mark.parametrize("shape", ["upside down", "disc", "triangle on its side"])
def test_other_shapes_are_not_explained_by_a_sector(shape: str) -> None:
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    mask = {
        "upside down": sector().mask(HEIGHT, WIDTH)[::-1],
        "disc": np.hypot(row - 35, column - 40) < 28,
        "triangle on its side": (np.abs(row - 35) < 0.5 * (70 - column)) & (column > 10),
    }[shape]
    assert as_fit(np.ascontiguousarray(mask))[1] < 0.9
