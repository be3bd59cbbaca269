"""What trainings of one arm differ by, and tests of arms that contain it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from fibrokd.evaluation.comparisons.p_values import holm
from fibrokd.evaluation.study.trainings import ArmsTest, Side, Spread, compare_arms, spread_of, variance_apart


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_spread_is_that_of_the_trainings(seeds: int) -> None:
    drawn = np.random.default_rng(0).normal(0.5, 0.02, (4000, seeds))
    found = spread_of((float(arm.std(ddof=1)), seeds) for arm in drawn)
    assert found is not None
    assert found.deviation == pytest.approx(0.02, rel=0.05)
    assert (found.arms, found.degrees) == (4000, 4000 * (seeds - 1))


def test_an_arm_of_which_a_training_failed_does_not_decide_for_the_others() -> None:
    usual = [(0.02, 3)] * 5
    whole, failed = spread_of(usual), spread_of([*usual, (0.4, 3), (float("nan"), 3)])
    assert whole is not None
    assert failed is not None
    assert failed.deviation == whole.deviation
    assert failed.arms == 6


def test_one_training_of_every_arm_tells_nothing() -> None:
    assert spread_of([]) is None
    assert spread_of([(float("nan"), 1), (0.0, 1)]) is None


def test_what_patients_do_to_every_network_in_its_own_way_is_told_from_what_they_do_to_all() -> None:
    random = np.random.default_rng(0)
    shared, apart = random.normal(0, 0.03, 4000), random.normal(0, 0.01, (3, 4000))
    assert variance_apart(shared + apart) == pytest.approx(1e-4, rel=0.1)
    assert variance_apart(np.stack([shared] * 3)) == pytest.approx(0, abs=1e-12)
    assert variance_apart(shared[None]) == 0.0
    with_gaps = shared + apart
    with_gaps[0, :100] = np.nan
    assert variance_apart(with_gaps) == pytest.approx(1e-4, rel=0.1)


def study(random: np.random.Generator, wide: float, apart: float = 0.016, arms: int = 12) -> list[ArmsTest]:
    """Equal arms, compared with the first: 3 trainings each, patients common to all and patients of one network."""
    scale = np.where(np.arange(arms) == 1, wide, 1.0)[:, None]
    training, own = 0.016 * scale * random.normal(size=(arms, 3)), apart * random.normal(size=(arms, 3))
    figures = training + own  # what the same test patients show of every network
    deviations = [float(arm.std(ddof=1)) for arm in figures]
    spread = spread_of((deviation, 3) for deviation in deviations)
    assert spread is not None
    patients = float(np.sqrt(2 * apart**2 / 3))  # as resampling finds it: each network's own part of six networks
    sides = [Side(deviation, 3, apart**2, spread) for deviation in deviations]
    values = figures.mean(axis=1) - figures[0].mean()
    return [
        compare_arms(float(value), patients, (side, sides[0]), 3, 0.95)
        for value, side in zip(values[1:], sides[1:], strict=True)
    ]


def test_bounds_hold_what_patients_and_trainings_do_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    found = [study(random, 1.0)[1] for _ in range(1000)]
    held = np.mean([test.low <= 0 <= test.high for test in found])
    assert 0.935 <= held <= 0.975


def test_bounds_of_an_arm_that_differs_more_hold_nearly_as_often() -> None:
    random = np.random.default_rng(1)
    found = [study(random, 5.0)[0] for _ in range(1000)]
    assert np.mean([test.low <= 0 <= test.high for test in found]) >= 0.9


def test_corrected_p_values_rarely_find_a_difference_between_any_of_many_equal_arms() -> None:
    random = np.random.default_rng(2)
    families = [holm([test.p for test in study(random, 1.0)]) for _ in range(1000)]
    assert np.mean([min(family) < 0.05 for family in families]) <= 0.06


def test_a_p_value_agrees_with_the_bounds_and_with_students_t() -> None:
    spread = Spread(0.02, 10, 20)
    sides = (Side(0.01, 3, 0.0, spread), Side(0.02, 3, 0.0, spread))
    found = compare_arms(0.05, 0.01, sides, 3, 0.95)
    variance, trainings = 0.01**2 + 2 * 0.02**2 / 3, 2 * 0.02**2 / 3
    degrees = variance**2 / (trainings**2 / 20)
    assert found.p == pytest.approx(2 * student.sf(0.05 / variance**0.5, degrees))
    assert found.high - 0.05 == pytest.approx(student.ppf(0.975, degrees) * variance**0.5)
    at_bound = compare_arms(found.high - 0.05, 0.01, sides, 3, 0.95)
    assert at_bound.p == pytest.approx(0.05)


def test_an_arm_that_clearly_differs_more_counts_with_its_own() -> None:
    spread = Spread(0.02, 10, 20)
    other = Side(0.02, 3, 0.0, spread)
    narrow = compare_arms(0.1, 0.01, (Side(0.001, 3, 0.0, spread), other), 3, 0.95)
    a_little = compare_arms(0.1, 0.01, (Side(0.025, 3, 0.0, spread), other), 3, 0.95)
    wide = compare_arms(0.1, 0.01, (Side(0.2, 3, 0.0, spread), other), 3, 0.95)
    assert narrow == a_little
    assert wide.low < 0 < narrow.low < 0.1 < narrow.high < wide.high
    assert narrow.p < 0.05 < wide.p


def test_where_nothing_varies_any_difference_is_one() -> None:
    still = Side(0.0, 3, 0.0, Spread(0.0, 2, 4))
    assert compare_arms(0.1, 0.0, (still, still), 3, 0.95) == ArmsTest(0.1, 0.1, 0.0)
    assert compare_arms(0.0, 0.0, (still, still), 3, 0.95).p == 1.0


def test_trainings_that_lie_close_together_do_not_make_a_difference_surer_than_patients_do() -> None:
    close = Side(0.001, 3, 4e-4, Spread(0.001, 2, 4))
    found = compare_arms(0.05, 0.02, (close, close), 3, 0.95)
    assert found.high - found.low >= 2 * 1.95 * 0.02


def test_an_arm_that_counts_twice_brings_four_times_the_variance_and_every_study_its_own_spread() -> None:
    one, other = Spread(0.02, 10, 20), Spread(0.03, 4, 8)
    sides = (Side(0.01, 3, 0.0, one, weight=-2.0), Side(0.01, 3, 0.0, other), Side(0.01, 3, 0.0, other))
    found = compare_arms(0.05, 0.0, sides, 3, 0.95)
    parts = (4 * 0.02**2 / 3, 2 * 0.03**2 / 3)
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / 20 + parts[1] ** 2 / 8)
    assert found.high - 0.05 == pytest.approx(student.ppf(0.975, degrees) * sum(parts) ** 0.5)
