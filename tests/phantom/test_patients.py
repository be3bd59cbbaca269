"""The severity model and the independence of everything else."""

import numpy as np
import pytest

from fibrokd.errors import LabelError
from fibrokd.phantom.patients import DIFFICULTIES, Difficulty, make_patient
from fibrokd.phantom.scanners import SCANNERS

MEDIUM = DIFFICULTIES["medium"]


def cohort(difficulty, count=400):
    return [make_patient(number, 7, number % 5, difficulty) for number in range(count)]


def test_a_patient_depends_on_seed_and_number_only():
    assert make_patient(3, 1, 2, MEDIUM) == make_patient(3, 1, 2, MEDIUM)
    assert make_patient(3, 1, 2, MEDIUM).fat_mm != make_patient(4, 1, 2, MEDIUM).fat_mm
    assert make_patient(3, 1, 2, MEDIUM).fat_mm != make_patient(3, 2, 2, MEDIUM).fat_mm
    assert make_patient(3, 1, 0, MEDIUM).fat_mm == make_patient(3, 1, 4, MEDIUM).fat_mm


def test_severity_follows_the_stage_and_label_noise_moves_the_true_stage():
    patients = cohort(MEDIUM)
    severity = [np.mean([p.severity for p in patients if p.stage == stage]) for stage in range(5)]
    assert np.allclose(severity, (np.arange(5) + 0.5) / 5, atol=0.04)
    agreement = {name: np.mean([p.stage == p.stage_true for p in cohort(d)]) for name, d in DIFFICULTIES.items()}
    assert agreement["easy"] > agreement["medium"] > agreement["hard"] > 0.5


def test_without_noise_the_label_is_the_truth():
    quiet = Difficulty(label_noise=0.0, appearance_noise=0.0)
    for patient in cohort(quiet, 100):
        assert patient.stage == patient.stage_true == int(5 * patient.severity)


def test_nothing_else_about_the_body_knows_the_stage():
    patients = cohort(MEDIUM, 1000)
    stage = np.array([p.stage for p in patients])
    for name in ("steatosis", "fat_mm", "muscle_mm", "gain_db", "nodule_factor"):
        values = np.array([getattr(p, name) for p in patients])
        assert values.std() > 0
        assert abs(np.corrcoef(stage, values)[0, 1]) < 0.1, name


def test_scanners_are_even_and_independent_of_the_stage_by_default():
    patients = cohort(MEDIUM, 1000)
    shares = np.array(
        [[np.mean([p.scanner == s for p in patients if p.stage == k]) for s in SCANNERS] for k in range(5)]
    )
    assert np.abs(shares - 0.25).max() < 0.1


def test_full_site_confound_makes_the_scanner_follow_the_stage():
    patients = cohort(Difficulty(site_confound=1.0), 200)
    scanner_of_stage = {stage: {p.scanner for p in patients if p.stage == stage} for stage in range(5)}
    assert all(len(scanners) == 1 for scanners in scanner_of_stage.values())
    assert set().union(*scanner_of_stage.values()) == set(SCANNERS)


def test_only_the_scanners_asked_for_are_used():
    assert {make_patient(n, 0, n % 5, MEDIUM, ("handix",)).scanner for n in range(20)} == {"handix"}


def test_overlay_leak_is_the_share_of_patients_with_betraying_marks():
    assert not any(p.leak for p in cohort(MEDIUM))
    assert all(p.leak for p in cohort(Difficulty(overlay_leak=1.0)))
    assert 0.4 < np.mean([p.leak for p in cohort(Difficulty(overlay_leak=0.5))]) < 0.6


def test_a_stage_off_the_scale_is_refused():
    with pytest.raises(LabelError, match="0 to 4"):
        make_patient(0, 0, 5, MEDIUM)
