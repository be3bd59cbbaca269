"""Near-duplicates: planted ones are found, in any order and block, mirrored or not; nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.data.fan.finder import find_fan
from fibrokd.data.fingerprint import LENGTH, SIDE, fingerprint
from fibrokd.integrity.correlation import alike, even_and_odd, measured, norms
from fibrokd.integrity.links import Link
from fibrokd.integrity.near_duplicates import NearConfig, near_links, near_pairs, percolation
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig, cohort_patients
from tests.integrity.planted import noise, planted, quantised


def ends(links: list[Link]) -> list[tuple[int, int]]:
    return [(link.a, link.b) for link in links]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Oracle: plain and mirrored Pearson-like correlation in double precision, the larger."""
    a = one.astype(float)
    both = [a @ two.astype(float) / np.linalg.norm(a) / np.linalg.norm(two) for two in (other, _turned(other))]
    return max(both)


def _turned(one: np.ndarray) -> np.ndarray:
    return one.reshape(SIDE, SIDE)[:, ::-1].ravel().astype(float)


def test_planted_copies_are_found_and_nothing_else() -> None:
    prints, pairs = planted(300, 40, 0.8)
    assert ends(near_links(prints)) == pairs


def test_mirrored_copies_are_named_so() -> None:
    prints, _ = planted(50, 10, 0.8)
    assert ["mirrored" in link.value for link in near_links(prints)] == [False, True] * 5


def test_the_value_is_the_correlation() -> None:
    prints, _ = planted(60, 20, 0.8)
    for link in near_links(prints):
        assert link.evidence == "near"
        assert float(link.value.split()[0]) == pytest.approx(correlation(prints[link.a], prints[link.b]), abs=0.0051)


def test_independent_pictures_have_no_links() -> None:
    assert near_links(quantised(noise(1500))) == []


@pytest.mark.parametrize("exact_up_to", [0, 20_000])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_hardly_any_pictures_are_no_trouble(count: int, exact_up_to: int) -> None:
    config = NearConfig(exact_up_to=exact_up_to)
    assert near_links(quantised(noise(count)), config) == []
    same = np.repeat(quantised(noise(1)), count, axis=0)
    assert ends(near_links(same, config)) == [(0, row) for row in range(1, count)]


def test_blank_pictures_tie_nothing() -> None:
    prints = quantised(noise(20))
    prints[[3, 7, 11]] = 0
    assert near_links(prints) == []
    assert near_links(np.zeros((5, LENGTH), dtype=np.int8)) == []


def test_equal_fingerprints_are_tied_to_the_first_and_compared_once() -> None:
    prints, _ = planted(6, 1, 0.9)
    repeated = prints[[4, 0, 0, 6, 4, 6, 0]]
    assert near_links(repeated) == [
        Link(0, 4, "near", "1.00"),
        Link(1, 2, "near", "1.00"),
        Link(1, 3, "near", near_links(prints)[0].value),
        Link(1, 6, "near", "1.00"),
        Link(3, 5, "near", "1.00"),
    ]


def test_below_the_threshold_nothing_is_tied() -> None:
    prints, pairs = planted(100, 20, 0.75)
    assert ends(near_links(prints, NearConfig(threshold=0.7))) == pairs
    assert near_links(prints, NearConfig(threshold=0.8)) == []


def test_switched_off_it_finds_nothing() -> None:
    assert near_links(planted(10, 5, 0.9)[0], NearConfig(enabled=False)) == []


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), exact=st.booleans())
@pytest.mark.slow
def test_the_order_of_pictures_does_not_matter(seed: int, exact: bool) -> None:
    prints, _ = planted(80, 30, 0.85, seed)
    config = NearConfig(exact_up_to=20_000 if exact else 0)
    order = np.random.default_rng(seed).permutation(len(prints))
    found = {(min(order[a], order[b]), max(order[a], order[b])) for a, b in ends(near_links(prints[order], config))}
    assert found == set(ends(near_links(prints, config)))


@pytest.mark.parametrize("block", [9, 32, 77, 129, 130])
def test_the_size_of_blocks_does_not_matter(block: int) -> None:
    prints, _ = planted(90, 40, 0.8)
    config = NearConfig(threshold=0.3, most_per_image=2)
    one, other = near_pairs(prints, config, block), near_pairs(prints, config)
    for name in ("first", "second", "value", "mirrored"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), kept=st.floats(0.9, 0.99))
def test_candidates_give_the_same_links_as_all_pairs(seed: int, kept: float) -> None:
    prints, pairs = planted(200, 40, kept, seed)
    assert ends(near_links(prints, NearConfig(exact_up_to=0))) == pairs
    assert near_links(prints, NearConfig(exact_up_to=0)) == near_links(prints)


def test_correlation_is_symmetric_and_that_of_the_definition() -> None:
    prints, _ = planted(12, 6, 0.7)
    norm, parts = norms(prints), even_and_odd(prints)
    value, odd = alike(parts, norm, parts, norm)
    np.testing.assert_array_equal(value, value.T)
    expected = [[correlation(a, b) for b in prints] for a in prints]
    np.testing.assert_allclose(value, expected, atol=1e-6)
    first, second = np.triu_indices(len(prints), 1)
    pairs = measured(prints, norm, first, second)
    np.testing.assert_array_equal(pairs.value, value[first, second])
    np.testing.assert_array_equal(pairs.mirrored, odd[first, second] < 0)


def test_bounded_links_keep_every_group_together() -> None:
    """Thirty pictures of one moment, and a second such set that a single weaker pair ties to it."""
    base = noise(2)
    base[1] = 0.72 * base[0] + np.sqrt(1 - 0.72**2) * base[1]
    prints = quantised(np.concatenate([0.97 * centre + 0.24 * noise(30, seed) for seed, centre in enumerate(base, 5)]))
    everything = near_links(prints, NearConfig(most_per_image=10_000))
    few = near_links(prints, NearConfig(most_per_image=1))
    assert len(everything) > 10 * len(few)
    assert set(few) <= set(everything)
    assert percolation([str(row) for row in range(60)], few).images == 60


def test_percolation_counts_what_only_near_duplicates_join() -> None:
    names = ["a", "a", "b", "c", "d", "e"]
    links = [
        Link(0, 2, "near", "0.70"),
        Link(1, 2, "near", "0.71"),
        Link(2, 3, "near", "0.72 mirrored"),
        Link(4, 5, "content", "x"),
    ]
    found = percolation(names, links)
    assert (found.merges, found.groups, found.images) == (2, 3, 4)
    empty = percolation([], [])
    assert (empty.merges, empty.groups, empty.images) == (0, 0, 0)
    assert percolation(["a", "b"], []).groups == 1


@pytest.mark.slow
@pytest.mark.parametrize("difficulty", ["medium", "hard"])
def test_no_two_patients_of_a_clean_cohort_are_tied(difficulty: str) -> None:
    config = CohortConfig.model_validate({"patients": 2000, "difficulty": difficulty, "seed": 11})
    pictures = (Clip(patient).frame() for patient in cohort_patients(config))
    prints = np.stack([fingerprint(pixels, find_fan(pixels)) for pixels in pictures])
    assert near_links(prints) == []
