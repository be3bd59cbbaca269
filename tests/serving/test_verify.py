import math
from dataclasses import replace

import pytest

from fibrokd.errors import BundleError
from fibrokd.serving.predictor import Staging
from fibrokd.serving.verify import deviation, verify
from tests.serving.bundles import bundle_in_memory


@pytest.fixture(scope="module")
def bundle():
    return bundle_in_memory()


def test_an_untouched_bundle_repeats_its_golden_cases(bundle):
    result = verify(bundle)
    assert result.passed
    assert result.worst.deviation <= 1e-6
    assert [case.name for case in result.cases] == ["case_F0.png", "case_F2.png", "case_F4.png"]
    result.require_passed()


def shifted(bundle, by):
    case = bundle.golden[1]
    probabilities = {**case.probabilities, "F3": case.probabilities["F3"] + by}
    return replace(bundle, golden=(bundle.golden[0], replace(case, probabilities=probabilities), bundle.golden[2]))


def test_a_deviation_beyond_the_tolerance_fails_and_says_where(bundle):
    result = verify(shifted(bundle, 2e-4))
    assert not result.passed
    assert result.worst.name == "case_F2.png"
    assert result.worst.where == "F3"
    assert result.worst.deviation == pytest.approx(2e-4, rel=0.01)
    with pytest.raises(BundleError, match=r"case_F2\.png.*F3"):
        result.require_passed()


def test_a_deviation_within_the_tolerance_passes_and_is_reported(bundle):
    result = verify(shifted(bundle, 5e-5))
    assert result.passed
    assert result.worst.deviation == pytest.approx(5e-5, rel=0.01)


def test_another_outcome_or_other_stages_or_nan_deviate_infinitely(bundle):
    case = bundle.golden[0]
    assert deviation(Staging("a", "re-acquire"), case).deviation == math.inf
    assert deviation(Staging("a", "stage", "F0", {"F0": 1.0}), case).deviation == math.inf
    broken = {**case.probabilities, "F1": math.nan}
    assert deviation(Staging("a", "stage", "F0", broken), case).deviation == math.inf


def test_the_figures_are_json_even_where_a_case_cannot_be_compared(bundle):
    other = replace(bundle, golden=(replace(bundle.golden[0], outcome="refer"),))
    result = verify(other)
    assert not result.passed
    assert result.as_json()["cases"][0]["deviation"] is None


def test_a_bundle_without_golden_cases_cannot_be_verified(bundle):
    with pytest.raises(BundleError, match="golden"):
        verify(replace(bundle, golden=()))
