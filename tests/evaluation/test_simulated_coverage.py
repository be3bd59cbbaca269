"""What intervals of few clusters promise, and what they keep: the figures that reports quote are found again."""

import numpy as np
import pytest

from benchmarks.coverage import coverage, truths
from benchmarks.coverage_of_all import held
from fibrokd.evaluation.metrics import HEADLINE
from fibrokd.evaluation.simulated_coverage import ENOUGH, SIMULATED, simulated_coverage


@pytest.fixture(scope="module")
def known():
    return truths(np.random.default_rng(5), 100_000)


@pytest.mark.parametrize("patients", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_the_figures_that_reports_quote_are_found_again(known, patients):
    cohorts = 150
    found = coverage(np.random.default_rng(patients), patients, cohorts, known, 300)["clusters"]
    for name, share in SIMULATED[patients].items():
        deviation = (share * (1 - share) / cohorts) ** 0.5
        assert abs(found[name] - share) <= 3.5 * deviation + 0.01, name


@pytest.mark.slow
def test_two_hundred_patients_are_enough_and_pictures_are_no_patients(known):
    found = coverage(np.random.default_rng(0), ENOUGH, 500, known, 400)
    for name in HEADLINE:
        assert 0.92 <= found["clusters"][name] <= 0.98, name  # nominal .95, standard error .01
        assert found["images"][name] < 0.88, name


def test_more_clusters_than_were_simulated_quote_the_next_smaller_number():
    assert simulated_coverage(60) == (50, SIMULATED[50])
    assert simulated_coverage(12) == (20, SIMULATED[20])
    assert simulated_coverage(199) == (100, SIMULATED[100])
    assert simulated_coverage(ENOUGH) is None
    assert all(set(figures) == set(HEADLINE) for figures in SIMULATED.values())


@pytest.mark.slow
def test_of_every_kind_of_figure_some_are_simulated():
    found = held(seed=1, patients=60, cohorts=2, resamples=100)
    kinds = {name.split("/")[0] for name in found}
    assert kinds >= {"auroc", "end_points", "per_stage", "coverage", "stage_sets", "calibration", "difference"}
    assert all(0 <= entry["held"] <= 1 and 0 < entry["told"] <= 1 for entry in found.values())
    assert "difference/sensitivity/≥F3/youden" in found
