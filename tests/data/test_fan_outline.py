"""A sector that is roughly right becomes exactly right, and what is no edge is not called one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.data.fan.outline import apex_of, edge_points, mirrored, outlined, support
from fibrokd.data.sector import Sector

REACH = 7
TRUE = Sector((-0.6, 150.0), (0.6, 174.0), (-20.0, 162.0), 55.0, 240.0, 1.0)
SEEN = TRUE.mask(240, 325)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    lower=st.floats(-4, 4),
    aside=st.floats(-4, 4),
    wider=st.floats(-0.02, 0.02),
    longer=st.floats(-4, 25),
    stretch=st.floats(0.9, 1.1),
)
def test_a_rough_sector_is_moved_onto_the_outline(
    lower: float, aside: float, wider: float, longer: float, stretch: float
) -> None:
    left, right = (-0.6 - wider, 150.0 + aside), (0.6 + wider, 174.0 + aside)
    apex = apex_of(left, right)
    assert apex is not None
    rough = Sector(left, right, apex, 55.0 + lower, 240.0 + longer, stretch)
    fine = outlined(SEEN, edge_points(SEEN, 2 * REACH), rough, REACH)
    assert overlap(fine.mask(240, 325), SEEN) >= 0.985
    assert overlap(fine.mask(240, 325), SEEN) >= overlap(rough.mask(240, 325), SEEN) - 0.005


def test_the_outline_of_the_true_sector_is_seen_and_that_of_another_is_not() -> None:
    points = edge_points(SEEN, 2 * REACH)
    assert min(support(points, TRUE)) >= 0.8
    assert max(support(points, TRUE.inset(8))) <= 0.1


def test_what_the_frame_cuts_off_is_not_counted() -> None:
    cut = np.ascontiguousarray(SEEN[:200])
    left, right, _ = support(edge_points(cut, 2 * REACH), TRUE)
    assert min(left, right) >= 0.8


def test_lines_mirrored_twice_are_themselves_and_parallel_ones_have_no_apex() -> None:
    line = (-0.4, 37.25)
    assert mirrored(mirrored(line, 200), 200) == pytest.approx(line)
    assert apex_of((-0.1, 50.0), (0.1, 150.0)) is None


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 9))
def test_reducing_undoes_enlarging(factor: int) -> None:
    back = TRUE.enlarged(factor).reduced(factor)
    for name in ("left", "right", "apex", "near", "far", "stretch"):
        assert getattr(back, name) == pytest.approx(getattr(TRUE, name), abs=1e-9)
