"""Candidates: the hashing search misses nothing that is really alike, and what it finds is real."""

from __future__ import annotations

import numpy as np
import pytest

from fibrokd.data.fingerprint import LENGTH, mirrored
from fibrokd.integrity.candidates import TABLES, candidate_pairs, reduce
from fibrokd.integrity.correlation import Pairs
from fibrokd.integrity.strongest import gathered
from tests.integrity.planted import noise, planted, quantised


def search(prints: np.ndarray, tables: int = TABLES) -> Pairs:
    return gathered(candidate_pairs(prints, 0.65, tables), len(prints), 8)


def test_copies_among_thousands_are_found() -> None:
    prints, pairs = planted(2000, 400, 0.92)
    found = search(prints)
    assert len(set(zip(found.first.tolist(), found.second.tolist(), strict=True)) & set(pairs)) >= 0.995 * len(pairs)
    assert (found.value >= 0.65).all()


@pytest.mark.slow
def test_more_tables_find_more_of_what_is_hardly_alike() -> None:
    prints, pairs = planted(700, 200, 0.75)
    found = [len(search(prints, tables)) for tables in (1, 3, 9)]
    assert found[0] < found[1] < found[2] <= len(pairs)


def test_independent_pictures_give_no_pairs() -> None:
    assert len(search(quantised(noise(1200)))) == 0


@pytest.mark.slow
def test_reducing_keeps_mirroring_a_change_of_signs() -> None:
    prints = quantised(noise(200))
    reduced, turned = reduce(prints), reduce(np.concatenate([mirrored(prints), prints]))
    straight = reduced.values.copy()
    straight[:, reduced.even :] *= -1
    again = reduce(np.concatenate([prints, mirrored(prints)]))
    np.testing.assert_allclose(again.values[200:, : again.even], again.values[:200, : again.even], atol=1e-4)
    np.testing.assert_allclose(again.values[200:, again.even :], -again.values[:200, again.even :], atol=1e-4)
    assert turned.values.shape[1] == again.values.shape[1]
    np.testing.assert_allclose(np.linalg.norm(straight, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 17])
def test_a_handful_of_pictures_can_be_searched(count: int) -> None:
    prints = quantised(noise(count))
    assert len(search(prints)) == 0
    alike = np.concatenate([prints, np.where(np.arange(LENGTH) % 9 == 0, 0, prints)]).astype(np.int8)
    found = search(alike)
    assert {(a, b) for a, b in zip(found.first, found.second, strict=True)} == {(n, n + count) for n in range(count)}
