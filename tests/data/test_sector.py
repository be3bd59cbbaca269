"""The sector drawn row by row equals its definition, pixel by pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.data.sector import Sector

SECTORS = st.builds(
    Sector,
    left=st.tuples(st.floats(-1.2, -0.1), st.floats(10, 60)),
    right=st.tuples(st.floats(0.1, 1.2), st.floats(40, 90)),
    apex=st.tuples(st.floats(-60, 30), st.floats(20, 80)),
    near=st.floats(0, 60),
    far=st.floats(20, 200),
    stretch=st.floats(0.7, 1.6),
)


def by_definition(sector: Sector, height: int, width: int) -> np.ndarray:
    row, column = np.mgrid[:height, :width].astype(float)
    radius = np.hypot(row - sector.apex[0], sector.stretch * (column - sector.apex[1]))
    inside = (column >= sector.left[0] * row + sector.left[1]) & (column <= sector.right[0] * row + sector.right[1])
    return inside & (radius >= sector.near) & (radius <= sector.far) & (row > sector.apex[0])


@settings(max_examples=150, deadline=None, derandomize=True)
@given(SECTORS, st.integers(30, 120), st.integers(30, 120))
def test_the_drawn_sector_is_the_defined_one(sector: Sector, height: int, width: int) -> None:
    drawn = sector.mask(height, width)
    # A row that only just grazes the far arc may round either way.
    assert np.count_nonzero(drawn != by_definition(sector, height, width)) <= 2


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SECTORS, st.integers(1, 4))
def test_a_smaller_sector_lies_within_and_keeps_off_the_border(sector: Sector, by: int) -> None:
    whole, inner = sector.mask(90, 110), sector.inset(by).mask(90, 110, edge=by)
    assert not (inner & ~whole).any()
    frame = np.ones((90, 110), dtype=bool)
    frame[by:-by, by:-by] = False
    assert not (inner & frame).any()


def test_enlarging_keeps_the_covered_share() -> None:
    sector = Sector((-0.5, 30.0), (0.5, 40.0), (-10.0, 35.0), 20.0, 70.0, 4 / 3)
    share, enlarged = sector.mask(80, 90).mean(), sector.enlarged(4).mask(320, 360)
    assert abs(enlarged.mean() - share) < 0.005
