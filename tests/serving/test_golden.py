import numpy as np
import pytest

from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.errors import BundleError
from fibrokd.serving import golden
from fibrokd.serving.golden import golden_cases
from tests.serving.bundles import bundle_in_memory, oracle


def on_paper(views):
    return np.stack([oracle(float(view.mean()) / 255) for view in views])


@pytest.fixture(scope="module")
def bundle():
    return bundle_in_memory()


def test_every_stage_gets_its_cases_and_one_picture_is_refused(bundle):
    cases = golden_cases(bundle, on_paper, per_stage=2, seed=1)
    assert [case.name for case in cases[:3]] == ["case_F0_0.png", "case_F0_1.png", "case_F1_0.png"]
    assert [case.outcome for case in cases] == ["stage"] * 10 + ["re-acquire"]
    assert len({case.png for case in cases}) == 11
    assert cases == golden_cases(bundle, on_paper, per_stage=2, seed=1)


def test_a_network_that_answered_otherwise_before_export_gives_no_golden_case(bundle):
    with pytest.raises(BundleError, match="deviates"):
        golden_cases(bundle, lambda views: on_paper(views) + 2e-4, per_stage=1, seed=1)
    with pytest.raises(BundleError, match="deviates"):
        golden_cases(bundle, lambda views: on_paper(views) * np.nan, per_stage=1, seed=1)


def test_phantoms_that_never_pass_the_gates_are_an_error_not_an_endless_search(monkeypatch):
    monkeypatch.setattr(golden, "ATTEMPTS", 2)
    picky = bundle_in_memory(preprocess=PreprocessSpec(size=64, crop="fan", min_confidence=1.0))
    with pytest.raises(BundleError, match="found 0 in 2 attempts"):
        golden_cases(picky, on_paper, per_stage=1, seed=1)
