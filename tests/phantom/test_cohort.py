"""Cohort configuration, stage quotas, single cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.config import parse_config
from fibrokd.errors import ConfigError
from fibrokd.phantom.cohort import CohortConfig, assign_stages, cohort_patients, render_case
from fibrokd.phantom.hazards import HazardConfig
from fibrokd.phantom.patients import Difficulty


@given(st.integers(1, 400), st.integers(0, 1000))
def test_stages_are_balanced_to_within_one_patient(patients, seed):
    counts = np.bincount(assign_stages(CohortConfig(patients=patients, seed=seed)), minlength=5)
    assert counts.sum() == patients
    assert counts.max() - counts.min() <= 1


@settings(max_examples=50)
@given(
    st.integers(1, 300),
    st.tuples(*[st.floats(0, 10, allow_subnormal=False)] * 5).filter(lambda weights: sum(weights) > 1e-3),
)
def test_prevalence_is_met_to_within_one_patient(patients, prevalence):
    counts = np.bincount(assign_stages(CohortConfig(patients=patients, prevalence=prevalence)), minlength=5)
    assert counts.sum() == patients
    assert np.abs(counts - np.array(prevalence) / sum(prevalence) * patients).max() < 1 + 1e-6


def test_stages_are_in_random_order_and_do_not_alias_with_counting():
    stages = np.array(assign_stages(CohortConfig(patients=500)))
    for period in (2, 3, 4, 5, 10):
        held = {tuple(np.bincount(stages[start::period], minlength=5) > 0) for start in range(period)}
        assert held == {(True,) * 5}
    assert assign_stages(CohortConfig(patients=500, seed=1)) != stages.tolist()


def test_patients_carry_the_labels_they_were_assigned():
    config = CohortConfig(patients=20, scanners=("handix", "sonova"))
    patients = cohort_patients(config)
    assert [patient.stage for patient in patients] == assign_stages(config)
    assert {patient.scanner for patient in patients} == {"handix", "sonova"}


def test_knobs_replace_the_preset():
    assert CohortConfig(difficulty="hard").resolved_difficulty.effect == 0.65
    assert CohortConfig(difficulty="hard", knobs=Difficulty(effect=0.0)).resolved_difficulty.effect == 0.0


def test_the_number_of_workers_is_not_part_of_the_identity():
    assert CohortConfig(workers=1).identity() == CohortConfig(workers=2).identity()
    assert CohortConfig(seed=1).identity() != CohortConfig(seed=2).identity()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"scanners": []}, "scanners"),
        ({"scanners": ["sonova", "sonova"]}, "distinct"),
        ({"scanners": ["acme"]}, "scanners"),
        ({"prevalence": [0, 0, 0, 0, 0]}, "prevalence"),
        ({"prevalence": [1, 2]}, "prevalence"),
        ({"format": "dicom", "hazards": {"resaved": 0.5}}, "image"),
        ({"size": 16}, "size"),
        ({"patient": 3}, "unknown key"),
    ],
)
def test_wrong_configurations_are_refused_with_the_reason(data, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(data, CohortConfig)


def test_plain_data_makes_a_configuration():
    config = parse_config({"hazards": {"exact_copies": [1, 0, 0, 0, 2.5]}, "prevalence": [1, 1, 1, 1, 6]}, CohortConfig)
    assert config.hazards == HazardConfig(exact_copies=(1, 0, 0, 0, 2.5))


def test_a_case_is_reproducible_and_depends_on_every_argument():
    case = render_case(3, 11, 4, 96, "easy")
    assert case.shape == (96, 96)
    assert case.dtype == np.uint8
    assert np.array_equal(case, render_case(3, 11, 4, 96, "easy"))
    for other in [(4, 11, 4, 96, "easy"), (3, 12, 4, 96, "easy"), (3, 11, 0, 96, "easy"), (3, 11, 4, 96, "hard")]:
        assert not np.array_equal(case, render_case(*other))
