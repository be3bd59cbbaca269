"""What trainings of one arm differ by, and the bounds that contain it."""

from __future__ import annotations

import numpy as np
import pytest

from fibrokd.evaluation.study.trainings import Spread, interval_of_arms, spread_of


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


def test_bounds_hold_what_patients_and_trainings_do_about_as_often_as_they_say() -> None:
    """Arms that are equal, patients and trainings drawn anew: those of patients alone would hold 0 in six of ten."""
    random, held, alone, studies = np.random.default_rng(0), 0, 0, 2000
    for _ in range(studies):
        arms = random.normal(0.6, 0.022, (12, 3))
        patients = random.normal(0.0, 0.013)
        value = float(arms[0].mean() - arms[1].mean() + patients)
        deviations = [float(arm.std(ddof=1)) for arm in arms]
        spread = spread_of((deviation, 3) for deviation in deviations)
        assert spread is not None
        low, high = interval_of_arms(value, 0.013, (deviations[0], deviations[1]), 3, spread, 0.95)
        held += low <= 0 <= high
        alone += abs(value) <= 1.96 * 0.013
    assert 0.93 <= held / studies <= 0.99  # an arm that differs more by chance counts with its own: a little wide
    assert alone / studies < 0.8


def test_an_arm_that_differs_more_than_others_counts_with_its_own() -> None:
    spread = Spread(0.02, 10, 20)
    narrow = interval_of_arms(0.1, 0.01, (0.001, 0.02), 3, spread, 0.95)
    wide = interval_of_arms(0.1, 0.01, (0.2, 0.02), 3, spread, 0.95)
    assert narrow == interval_of_arms(0.1, 0.01, (0.02, 0.02), 3, spread, 0.95)
    assert wide[0] < 0 < narrow[0] < 0.1 < narrow[1] < wide[1]
    assert sum(wide) == pytest.approx(0.2)
