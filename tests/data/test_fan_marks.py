"""What stands out beyond an outline is a mark when it is bright and much, and tissue when it is not."""

from __future__ import annotations

import dataclasses
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fan_material import crowd
from fibrokd.data.fan import finder as fan_module
from fibrokd.data.fan.finder import Fan, find_fan
from fibrokd.data.fan.marks import Marks, in_shadow, marks_beyond, mostly_blank
from fibrokd.data.sector import Sector
from tests.data.sectors import draw_sector

SECTOR = Sector((-0.6, 28.0), (0.6, 32.0), (-3.33, 30.0), 9.0, 52.0, 1.0)
SHAPE = (60, 60)
INSIDE = SECTOR.mask(*SHAPE)


def region_with(cells: list[tuple[int, int]], level: int) -> tuple[np.ndarray, np.ndarray]:
    region, contrast = INSIDE.copy(), np.where(INSIDE, np.uint8(80), np.uint8(0))
    for cell in cells:
        region[cell], contrast[cell] = True, level
    return region, contrast


def test_a_region_that_its_sector_explains_has_no_marks() -> None:
    region, contrast = region_with([], 0)
    assert marks_beyond(region, contrast, SECTOR, 4) is None


@pytest.mark.parametrize(
    ("level", "count", "found", "plain"),
    [(12, 6, False, False), (13, 2, False, False), (13, 3, True, False), (60, 1, True, False), (61, 1, True, True)],
)
def test_levels_of_bright_cells_beyond_the_outline_are_added_up(
    level: int, count: int, found: bool, plain: bool
) -> None:
    marks = marks_beyond(*region_with([(30, 1 + column) for column in range(count)], level), SECTOR, 4)
    assert (marks is not None) is found
    if marks is not None:
        assert marks.plain is plain
        assert np.count_nonzero(marks.cells) == count


def test_what_does_not_touch_the_region_is_no_concern() -> None:
    region, contrast = region_with([], 0)
    contrast[2, 2:20] = 255
    assert marks_beyond(region, contrast, SECTOR, 4) is None


@pytest.mark.parametrize(("lower", "found"), [(-0.3, False), (1.5, True), (3.0, True)])
def test_an_arc_that_a_word_pushed_down_hangs_below_what_is_seen(lower: float, found: bool) -> None:
    region, contrast = region_with([], 0)
    pushed = dataclasses.replace(SECTOR, far=SECTOR.far + lower)
    region[46:52, 22:36] |= pushed.mask(*SHAPE)[46:52, 22:36]
    marks = marks_beyond(region, contrast, pushed, 4)
    assert (marks is not None) is found
    if marks is not None:
        assert marks.hanging
        assert not marks.cells.any()


def test_an_arc_that_the_frame_cuts_off_does_not_hang() -> None:
    region, contrast = region_with([], 0)
    assert marks_beyond(region[:40], contrast[:40], dataclasses.replace(SECTOR, far=SECTOR.far + 3.0), 4) is None


def test_marks_lie_within_a_sector_that_was_drawn_around_them() -> None:
    marks = marks_beyond(*region_with([(30, 8), (30, 9)], 90), SECTOR, 4)
    assert marks is not None
    assert not marks.within(SECTOR.enlarged(4))
    assert marks.within(SECTOR.inset(-4).enlarged(4))


@pytest.mark.parametrize(("level", "readable"), [(80, False), (109, False), (110, True), (255, True)])
def test_writing_is_as_bright_as_can_be_read(level: int, readable: bool) -> None:
    cells = np.zeros((11, 13), bool)
    cells[4, 3] = True
    pixels = np.zeros((43, 50), np.uint8)
    pixels[0:4, 20:30] = 255
    pixels[18, 14] = level
    assert Marks(cells, 4, True).may_be_read(pixels) is readable


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(1, 400), st.floats(0, 1), st.integers(0, 10**6))
def test_a_seam_is_blank_where_over_a_third_of_it_is(size: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = np.zeros((100, 100), np.uint8)
    taken = np.zeros((100, 100), bool)
    taken[30 + np.arange(size) // 40, 30 + np.arange(size) % 40] = True
    pixels[taken] = np.where(random.random(size) < share, random.integers(0, 3, size), random.integers(3, 256, size))
    blank = np.count_nonzero(pixels[taken] <= 2)
    assert mostly_blank(pixels, taken) is bool(4 < size < 200 and blank > size / 3)


@pytest.mark.parametrize(
    ("size", "blank", "written", "shadow"),
    [
        (200, 0.29, 0.5, True),  # tissue, however bright
        (200, 0.31, 0.02, False),  # words with background between them
        (200, 0.31, 0.0, True),
        (200, 0.44, 0.005, True),
        (200, 0.46, 0.0, False),
        (199, 0.0, 0.0, False),  # weak marks move an outline by as much
    ],
)
def test_a_flank_in_a_shadow_is_neither_blank_nor_written_on(
    size: int, blank: float, written: float, shadow: bool
) -> None:
    pixels, taken = np.zeros((100, 100), np.uint8), np.zeros((100, 100), bool)
    taken.ravel()[4000 : 4000 + size] = True
    levels = np.full(size, 20, np.uint8)
    levels[: round(blank * size)] = 0
    levels[size - round(written * size) :] = 200
    pixels[taken] = levels
    assert in_shadow(pixels, taken) is shadow


@pytest.mark.parametrize(
    ("left", "right", "blank", "taken"),
    [
        ((-0.25, 110.0), (0.25, 146.0), False, False),  # what it takes away is tissue, dim as in a shadow
        ((-0.25, 110.0), (0.25, 146.0), True, True),
        ((-0.35, 108.0), (0.6, 152.0), True, False),  # a fan that was symmetric before: a flank was lost
    ],
    ids=["in a shadow", "blank", "lopsided"],
)
def test_a_second_outline_that_cuts_off_a_flank_in_a_shadow_is_not_taken(left, right, blank: bool, taken: bool) -> None:
    pixels, _ = draw_sector(256, 256, 0.6, (-20.0, 128.0), (45.0, 235.0))
    first, _ = fan_module._find_clean(pixels)
    assert first.sector is not None
    second = dataclasses.replace(first.sector, left=left, right=right)
    inside = second.mask(256, 256)
    shadowed = np.where(inside, pixels, 0 if blank else (pixels * 0.12).astype(np.uint8)).astype(np.uint8)
    marks = Marks(np.zeros((64, 64), bool), 4, plain=True, hanging=False)
    marks.cells[30, 60] = True
    with (
        patch.object(fan_module, "_find_clean", lambda _: (first, marks)),
        patch.object(fan_module, "find_crowded", lambda _: (second, 0.95)),
    ):
        found = find_fan(shadowed)
    assert found.sector == (second if taken else first.sector)


def test_where_the_outline_stays_in_doubt_more_is_cut_off_for_writing_and_no_more_for_dark_tissue() -> None:
    """A word melted into the outline, and no second opinion."""
    pixels, truth = draw_sector(256, 256, 0.6, (-20.0, 128.0), (45.0, 235.0))
    written = next(
        picture
        for picture in (crowd(pixels, truth, seed, ("text",)) for seed in range(200))
        if (first := fan_module._find_clean(picture.pixels))[0].confidence >= 0.9
        and first[1] is not None
        and first[1].plain
        and not first[1].hanging
    )
    dim = (written.pixels * 0.4).astype(np.uint8)
    dim_first, dim_marks = fan_module._find_clean(dim)
    assert dim_marks is not None
    assert dim_marks.plain
    with patch.object(fan_module, "find_crowded", lambda _: (None, 0.0)):
        doubtful, dark = find_fan(written.pixels), find_fan(dim)
    assert doubtful.off_px == 12
    assert doubtful.confidence >= 0.9
    assert dark == dim_first
    assert dark.off_px == 2


@pytest.mark.parametrize(("confidence", "taken"), [(0.84, False), (0.86, True), (0.97, True)])
def test_a_likely_outline_replaces_the_one_that_plain_marks_moved(confidence: float, taken: bool) -> None:
    """It overlaps less with what is seen, for the marks beside it are seen; that there is a fan is known."""
    pixels, _ = draw_sector(256, 256, 0.6, (-20.0, 128.0), (45.0, 235.0))
    first, _ = fan_module._find_clean(pixels)
    assert first.sector is not None
    marks = Marks(pixels.reshape(64, 4, 64, 4).max((1, 3)) > 110, 4, plain=True, hanging=True)
    narrow = first.sector.inset(10)
    with (
        patch.object(fan_module, "_find_clean", lambda _: (first, marks)),
        patch.object(fan_module, "find_crowded", lambda _: (narrow, confidence)),
    ):
        fan = find_fan(pixels)
    assert fan.sector == (narrow if taken else first.sector)
    assert fan.off_px == (2 if taken else 12)
    assert fan.confidence == (max(confidence, 0.9) if taken else first.confidence)


def test_tissue_that_a_tight_outline_cut_off_is_no_mark() -> None:
    """The second outline encloses what stood out beyond the first: the first is kept, pixel for pixel."""
    pixels, _ = draw_sector(256, 256, 0.6, (-20.0, 128.0), (45.0, 235.0))
    first, _ = fan_module._find_clean(pixels)
    assert first.sector is not None
    cells = np.zeros((64, 64), bool)
    cells[50:54, 10:12] = True
    around = first.sector.inset(-40)
    found = (first, Marks(cells, 4, True))
    with (
        patch.object(fan_module, "_find_clean", lambda _: found),
        patch.object(fan_module, "find_crowded", lambda _: (around, 0.95)),
    ):
        assert find_fan(pixels) is first
    beside = Sector((-0.2, 110.0), (0.2, 146.0), first.sector.apex, first.sector.near, first.sector.far, 1.0)
    with (
        patch.object(fan_module, "_find_clean", lambda _: found),
        patch.object(fan_module, "find_crowded", lambda _: (beside, 0.95)),
    ):
        blank_around = np.where(beside.mask(256, 256), pixels, 0).astype(np.uint8)
        assert find_fan(blank_around) == Fan(256, 256, 0.95, beside)
