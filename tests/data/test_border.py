"""The background of a picture is what its border mostly shows, whatever is written, drawn or seen there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fibrokd.data.border import WIDE, border_level
from fibrokd.data.fan.finder import find_fan
from tests.data.sectors import draw_sector

PICTURES = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 4))
)


def flat(level: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width), level, dtype=np.uint8)


@settings(max_examples=150, deadline=None)
@given(PICTURES)
def test_it_is_the_most_frequent_level_along_the_border_the_darkest_of_equals(picture: np.ndarray) -> None:
    height, width = picture.shape
    counts: Counter[int] = Counter()
    for row in range(height):
        for column in range(width):
            near = [row < WIDE, row >= height - WIDE, column < WIDE, column >= width - WIDE]
            counts[int(picture[row, column])] += sum(near)  # corners lie on two sides
    most = max(counts.values())
    assert border_level(picture) == min(level for level, count in counts.items() if count == most)


@settings(max_examples=60, deadline=None)
@given(PICTURES)
def test_turning_mirroring_and_brightening_a_picture_change_nothing_else(picture: np.ndarray) -> None:
    level = border_level(picture)
    assert {int(border_level(turned)) for turned in (picture.T, picture[::-1], picture[:, ::-1])} == {int(level)}
    brighter = np.array([7, 30, 31, 128, 255], dtype=np.uint8)  # keeps the order, so that the darkest stays it
    assert border_level(brighter[picture]) == brighter[level]


@pytest.mark.parametrize("level", [0, 6, 128, 250, 255])
def test_what_lies_within_the_border_says_nothing(level: int) -> None:
    picture = flat(level)
    picture[WIDE:-WIDE, WIDE:-WIDE] = 255 - level
    assert border_level(picture) == level
    # Paper around a dark screen is background, too, even where the screen is much larger than it.
    assert border_level(np.pad(picture, WIDE, constant_values=40)) == 40


@pytest.mark.parametrize(("background", "ink"), [(0, 255), (255, 0), (14, 200)])
def test_text_a_fan_and_a_panel_at_the_border_do_not_outvote_it(background: int, ink: int) -> None:
    picture = flat(background)
    picture[:9, 4:40:2] = ink  # letters along the top
    picture[20:, 77:] = ink  # a grey bar at the right
    picture[54:, 30:50] = np.random.default_rng(0).integers(90, 160, (6, 20))  # tissue, many levels
    assert border_level(picture) == background


def test_of_two_halves_the_darker_is_the_background() -> None:
    halves = np.concatenate([flat(90), flat(30)], axis=1)
    assert border_level(halves) == 30
    assert border_level(halves[:, ::-1]) == 30
    assert border_level(halves[:, : 80 + 70]) == 90


@pytest.mark.parametrize("shape", [(40, 40), (60, 80), (8, 200), (9, 9)])
def test_a_line_drawn_around_the_picture_is_not_its_background(shape: tuple[int, int]) -> None:
    picture = flat(5, *shape)
    picture[[0, -1]] = 255
    picture[:, [0, -1]] = 255
    assert border_level(picture) == 5


@pytest.mark.parametrize("level", [90, 255])
@pytest.mark.parametrize("shape", [(240, 320), (97, 111), (256, 256), (480, 640)])
def test_the_fan_of_a_picture_with_a_line_around_it_is_found(shape: tuple[int, int], level: int) -> None:
    height, width = shape
    radii = (0.19 * height, 0.9 * height)
    picture, _ = draw_sector(height, width, half_angle=0.45, apex=(-height / 12, width / 2), radii=radii)
    bare = find_fan(picture)
    picture[[0, -1]] = level
    picture[:, [0, -1]] = level
    framed = find_fan(picture)
    assert bare.confidence > 0.95
    assert framed.sector == bare.sector
