"""Calibration errors against a loop over bins, and the laws of temperature scaling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from fibrokd.evaluation.calibration.binned import (
    BINS,
    calibration_errors,
    confidence_sums,
    stage_errors,
    stage_sums,
)
from fibrokd.evaluation.calibration.document import calibration
from fibrokd.evaluation.calibration.temperature import HIGHEST, LOWEST, fit_temperature, fitted, scaled
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.fixed_beforehand import NONE_THERE
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import cluster_codes
from fibrokd.stages import METAVIR, StageScale
from tests.evaluation.made_up import made_up_predictions, of_split

FEW = BootstrapConfig(resamples=100)
CASES = st.fixed_dictionaries(
    {
        "patients": st.integers(1, 30),
        "frames": st.integers(1, 4),
        "skill": st.floats(0, 3),
        "seed": st.integers(0, 2**32),
        "scale": st.sampled_from([METAVIR, StageScale(("a", "b", "c"), (1,))]),
    }
)


def _reference(stated: np.ndarray, hit: np.ndarray, weight: np.ndarray) -> float:
    """Sort, cut into bins of equal size, keep equals together, and average the distances, image by image."""
    distances, lower = 0.0, [int((stated < own).sum()) for own in stated]
    for place in range(BINS):
        rows = [image for image in range(len(stated)) if lower[image] * BINS // len(stated) == place]
        distances += abs(sum(weight[row] * (stated[row] - hit[row]) for row in rows))
    return distances / weight.sum()


@settings(max_examples=40, deadline=None)
@given(case=CASES)
def test_errors_agree_with_a_loop_over_bins_also_on_resamples(case) -> None:
    part = made_up_predictions(**case)
    cluster = cluster_codes(part)
    weights = np.random.default_rng(len(part)).integers(0, 3, size=(2, int(cluster.max()) + 1)).astype(np.float64)
    weights[0], weights[1, 0] = 1, 1
    top, by_stage = (
        calibration_errors(confidence_sums(part), weights),
        stage_errors(stage_sums(part), weights),
    )
    for row, weight in enumerate(weights):
        of_image = weight[cluster]
        if not of_image.sum():
            continue
        confidence = np.round(part.probabilities, 12).max(axis=1)
        assert top[row] == pytest.approx(_reference(confidence, part.predicted == part.truth, of_image), abs=1e-9)
        stages = [
            _reference(np.round(part.probabilities[:, k], 12), part.truth == k, of_image)
            for k in range(len(part.scale))
        ]
        assert by_stage[row] == pytest.approx(np.mean(stages), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(case=CASES, temperature=st.floats(0.2, 5))
def test_scaling_moves_no_stage_and_is_undone_by_its_inverse(case, temperature: float) -> None:
    part = made_up_predictions(**case)
    after = scaled(part, temperature)
    np.testing.assert_array_equal(after.predicted, part.predicted)
    np.testing.assert_allclose(scaled(after, 1 / temperature).probabilities, part.probabilities, atol=1e-6)
    np.testing.assert_allclose(scaled(part, 1.0).probabilities, part.probabilities, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(case=CASES)
def test_no_other_temperature_has_a_lower_loss(case) -> None:
    part = made_up_predictions(**case)
    logits = np.log(part.probabilities)
    found = fit_temperature(part)
    assert LOWEST * 0.999 <= found <= HIGHEST * 1.001

    def loss(temperature: float) -> float:
        labels = range(len(part.scale))
        return float(log_loss(part.truth, softmax(logits / temperature, axis=1), labels=labels))

    assert all(loss(found) <= loss(other) + 1e-7 for other in (*np.geomspace(LOWEST, HIGHEST, 30), 1.0))


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_a_temperature_undoes_what_made_a_calibrated_network_too_sure(factor: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (20_000, 5))
    truth = np.array([random.choice(5, p=row) for row in softmax(logits, axis=1)])
    ids = tuple(str(image) for image in range(len(truth)))
    stated = softmax(factor * logits, axis=1)
    part = Predictions("student", "val", ids, ids, truth.astype(np.int64), stated, METAVIR)
    assert fit_temperature(part) == pytest.approx(factor, rel=0.03)
    one = np.ones((1, len(truth)))
    before, after = (calibration_errors(confidence_sums(each), one)[0] for each in (part, scaled(part, factor)))
    assert after < 0.015
    assert factor == 1.0 or before > 5 * after


def test_answers_without_evidence_against_the_most_extreme_temperature_give_none() -> None:
    sure = made_up_predictions(skill=1000.0)
    assert fit_temperature(sure) == pytest.approx(LOWEST, rel=1e-3)
    assert np.isfinite(scaled(sure, LOWEST).probabilities).all()
    wrong = replace(sure, truth=(sure.truth + 1) % 5)
    assert fit_temperature(wrong) == pytest.approx(HIGHEST, rel=1e-3)
    assert fitted(wrong).value == fitted(sure).value == 1.0
    assert fitted(wrong).refused == "the validation answers hold no evidence against 20, the most extreme one tried"
    few = made_up_predictions(patients=8, skill=0.5)
    assert fitted(few).refused == "the validation images are of 8 clusters only (at least 10 needed)"
    assert fitted(NONE_THERE).refused == NONE_THERE
    assert fitted(made_up_predictions(skill=0.5)).refused == ""


@pytest.mark.parametrize("factor", [10.0, 15.0])
def test_very_small_probabilities_are_not_cut_off(factor: float) -> None:
    part = made_up_predictions(patients=300, skill=0.7)
    own = fit_temperature(part)
    sharp = replace(part, probabilities=softmax(factor * np.log(part.probabilities), axis=1))
    assert fit_temperature(sharp) == pytest.approx(own * factor, rel=1e-4)
    hard = replace(part, probabilities=np.eye(5)[part.predicted])
    before, after = (bootstrap(each, FEW).pooled.surprise[0] for each in (hard, scaled(hard, 1.0)))
    assert after == pytest.approx(before)


def test_the_order_of_images_and_the_rounding_of_a_row_decide_nothing() -> None:
    part = made_up_predictions(skill=0.5)
    coarse = replace(
        part, probabilities=np.round(part.probabilities, 1) / np.round(part.probabilities, 1).sum(1)[:, None]
    )
    same = replace(part, probabilities=np.full((len(part), 5), 0.2))
    one = np.ones((1, 60))
    for answers in (coarse, same):
        turned = _in_order(answers, np.random.default_rng(0).permutation(len(answers)))
        for sums, errors in ((confidence_sums, calibration_errors), (stage_sums, stage_errors)):
            assert errors(sums(answers), one)[0] == pytest.approx(errors(sums(turned), one)[0], abs=1e-12)
    # One answer for all stages of equal size: exactly as sure as right.
    assert calibration_errors(confidence_sums(same), one)[0] == pytest.approx(0, abs=1e-9)
    entry = calibration(replace(part, probabilities=part.probabilities * 1.0005), NONE_THERE, FEW)["calibration"]
    assert max(each["confidence"] for each in entry["bins"]) <= 1


def _in_order(part: Predictions, order: np.ndarray) -> Predictions:
    return replace(
        part,
        image_ids=tuple(part.image_ids[row] for row in order),
        groups=tuple(part.groups[row] for row in order),
        truth=part.truth[order],
        probabilities=part.probabilities[order],
    )


@pytest.mark.slow  # a simulation
@pytest.mark.parametrize(("factor", "true_error"), [(1.0, 0.0), (1.8, None)])
def test_bounds_of_an_error_hold_the_true_one_and_chance_alone_is_told(factor: float, true_error: float | None) -> None:
    """A calibrated network's error is noise; bounds around the value alone held its truth in one cohort of ten."""
    random, inside, chance, values = np.random.default_rng(0), [], [], []
    if true_error is None:
        true_error = float(
            calibration_errors(confidence_sums(_cohort(random, 40_000, factor)), np.ones((1, 40_000)))[0]
        )
    for _ in range(50):
        part = _cohort(random, 300, factor)
        found = calibration(part, NONE_THERE, FEW)
        error = found["expected_calibration_error"]
        inside.append(error["low"] <= true_error <= error["high"])
        chance.append(found["calibration"]["by_chance"]["expected_calibration_error"]["mean"])
        values.append(error["value"])
    assert np.mean(inside) >= 0.88
    if factor == 1.0:
        assert np.mean(chance) == pytest.approx(np.mean(values), rel=0.1)
    else:
        assert np.mean(values) > 2 * np.mean(chance)


def _cohort(random: np.random.Generator, patients: int, factor: float) -> Predictions:
    """Patients with one image each, of networks that are as sure as right at ``factor`` 1."""
    logits = random.normal(0, 1.5, (patients, 5))
    cumulated = np.cumsum(softmax(logits, axis=1), axis=1)[:, :-1]
    truth = (random.random((patients, 1)) >= cumulated).sum(axis=1).astype(np.int64)
    ids = tuple(str(patient) for patient in range(patients))
    return Predictions("student", "test", ids, ids, truth, softmax(factor * logits, axis=1), METAVIR)


def test_the_temperature_comes_from_validation_answers_alone() -> None:
    test, validation = made_up_predictions(skill=0.5), replace(made_up_predictions(skill=0.5, seed=3), split="val")
    entry = calibration(test, validation, FEW)
    after = entry["calibration"]["temperature"]
    assert (after["value"], after["fixed_on"]) == (pytest.approx(fit_temperature(validation), rel=1e-5), "val")
    other = calibration(made_up_predictions(skill=2.0, seed=7), validation, FEW)
    assert other["calibration"]["temperature"]["value"] == after["value"]
    logits = log_softmax(np.log(test.probabilities) / after["value"], axis=1)
    expected = -logits[np.arange(len(test)), test.truth].mean()
    assert after["log_loss"]["value"] == pytest.approx(expected, abs=1e-4)


def test_every_split_has_its_errors_and_bins_and_only_others_than_val_a_temperature() -> None:
    parts = [of_split(made_up_predictions(skill=0.5, seed=seed), split) for split, seed in (("val", 1), ("test", 2))]
    network = metrics_document(parts, {"student_kd": {"parameters": 1}}, config=FEW)["networks"]["student_kd"]
    assert network["val"]["calibration"]["no_temperature"] == "it would be fitted on these very images"
    known = network["test"]["calibration"]["temperature"]["validation"]
    assert known == {"images": 180, "clusters": 60}
    for split, part in zip(("val", "test"), parts, strict=True):
        entry = network[split]
        assert 0 <= entry["expected_calibration_error"]["low"] < entry["expected_calibration_error"]["high"] <= 1
        assert entry["classwise_calibration_error"]["note"].startswith("no interval: the noise of its bins")
        bins = entry["calibration"]["bins"]
        assert sum(each["images"] for each in bins) == len(part)
        stated = [each["confidence"] for each in bins]
        assert stated == sorted(stated)
        right = sum(each["images"] * each["accuracy"]["value"] for each in bins) / len(part)
        assert right == pytest.approx(entry["accuracy"]["value"])
        told = sum(each["images"] * each["confidence"] for each in bins) / len(part) - right
        assert entry["calibration"]["overconfidence"]["value"] == pytest.approx(told)


def test_fewer_images_than_bins_and_few_clusters_are_said_not_estimated() -> None:
    few = made_up_predictions(patients=4, frames=2)
    entry = calibration(few, NONE_THERE, FEW)
    assert len(entry["calibration"]["bins"]) == 8
    assert entry["expected_calibration_error"]["low"] is None
    assert entry["expected_calibration_error"]["note"] == "no interval from 4 clusters (at least 10 needed)"
    assert "temperature" not in entry["calibration"]
