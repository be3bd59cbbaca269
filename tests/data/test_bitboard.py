"""Morphology on integers equals morphology on arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from fibrokd.data.bitboard import dilated, eroded, largest_part, pack, stride, thick, unpack

SQUARE = np.ones((3, 3), dtype=bool)
MASKS = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(lambda shape: arrays(np.bool_, shape))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASKS)
def test_growing_and_shrinking_equal_scipys(mask: np.ndarray) -> None:
    step = stride(mask.shape[1])
    assert (unpack(pack(mask), *mask.shape) == mask).all()
    np.testing.assert_array_equal(unpack(dilated(pack(mask), step), *mask.shape), ndimage.binary_dilation(mask, SQUARE))
    np.testing.assert_array_equal(unpack(eroded(pack(mask), step), *mask.shape), ndimage.binary_erosion(mask, SQUARE))
    np.testing.assert_array_equal(
        unpack(eroded(dilated(pack(mask), step), step), *mask.shape),
        ndimage.binary_closing(np.pad(mask, 2), SQUARE)[2:-2, 2:-2],
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASKS, st.integers(0, 3))
def test_thick_places_are_those_that_survive_as_many_erosions(mask: np.ndarray, reach: int) -> None:
    expected = mask if reach == 0 else ndimage.binary_erosion(mask, SQUARE, iterations=reach)
    np.testing.assert_array_equal(unpack(thick(pack(mask), stride(mask.shape[1]), reach), *mask.shape), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MASKS)
def test_the_largest_part_has_the_size_of_scipys(mask: np.ndarray) -> None:
    labels, count = ndimage.label(mask, SQUARE)
    part = unpack(largest_part(pack(mask), stride(mask.shape[1]), 0), *mask.shape)
    assert part.sum() == (np.bincount(labels.ravel())[1:].max() if count else 0)
    assert not count or len(np.unique(labels[part])) == 1


def test_thin_parts_do_not_count_however_large() -> None:
    mask = np.zeros((40, 60), dtype=bool)
    mask[2:4] = True
    mask[10:20, 10:20] = True
    part = unpack(largest_part(pack(mask), stride(60), 3), 40, 60)
    assert part.sum() == 100
    assert part[15, 15]
