"""Lines are found where most edge points lie, whatever the others do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.data.fan.edges import edges, voted_lines

SLOPES = np.arange(-1.7, -0.2, 0.02)


def by_definition(seen: np.ndarray, run: int) -> np.ndarray:
    found = np.zeros_like(seen)
    for row in range(seen.shape[0]):
        for column in range(1, seen.shape[1]):
            if seen[row, column] and not seen[row, column - 1]:
                found[row, column] = seen[row, column : column + run].sum() >= 0.75 * run
    return found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 9), st.floats(0.1, 0.95))
def test_edges_are_the_defined_ones(seed: int, run: int, share: float) -> None:
    seen = np.random.default_rng(seed).random((7, 23)) < share
    np.testing.assert_array_equal(edges(seen, run), by_definition(seen, run))


def test_strokes_of_letters_have_no_edge_and_tissue_has() -> None:
    seen = np.zeros((1, 40), bool)
    seen[0, 3:5] = True
    seen[0, 20:] = True
    assert np.flatnonzero(edges(seen, 6)).tolist() == [20]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    slope=st.floats(-1.5, -0.3),
    offset=st.floats(150, 250),
    hidden=st.floats(0, 0.5),
    noise=st.integers(0, 120),
    seed=st.integers(0, 10**6),
)
def test_the_strongest_line_is_the_one_that_was_drawn(
    slope: float, offset: float, hidden: float, noise: int, seed: int
) -> None:
    """Up to half of its rows are hidden and as many points again lie anywhere: least squares alone would be lost."""
    random = np.random.default_rng(seed)
    rows = np.flatnonzero(random.random(140) >= hidden)
    own = np.stack([rows, np.rint(slope * rows + offset).astype(np.int64)])
    stray = np.stack([random.integers(0, 140, noise), random.integers(0, 260, noise)])
    (found,) = voted_lines(np.concatenate([own, stray], axis=1), SLOPES, peaks=1, least=20)
    row = np.array([0, 139])
    assert np.abs(found[0] * row + found[1] - slope * row - offset).max() < 1.0


def test_two_lines_are_two_peaks_and_too_few_votes_are_none() -> None:
    rows = np.arange(100)
    one, other = (np.stack([rows, np.rint(slope * rows + 180).astype(np.int64)]) for slope in (-1.0, -0.4))
    lines = voted_lines(np.concatenate([one, other[:, ::2]], axis=1), SLOPES, peaks=3, least=40)
    assert [round(slope, 1) for slope, _ in lines] == [-1.0, -0.4]
    assert voted_lines(one, SLOPES, peaks=3, least=301) == []
    assert voted_lines(one[:, :5], SLOPES, peaks=3, least=1) == []
