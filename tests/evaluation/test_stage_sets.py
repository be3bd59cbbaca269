"""Stage sets against MAPIE where both grow alike, a loop elsewhere, and the promise that they make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from fibrokd.evaluation.aggregation import mean_by_cluster
from fibrokd.evaluation.conformal.document import COLUMNS, coverage, write_sets
from fibrokd.evaluation.conformal.sets import bounds, needed, quantile, scores
from fibrokd.evaluation.conformal.stage_sets import StageSets, stage_sets
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import StageScale
from tests.evaluation.made_up import made_up_predictions

FEW = BootstrapConfig(resamples=100)
CASES = st.tuples(st.integers(2, 7), st.integers(1, 30), st.sampled_from([0.05, 0.5, 5.0]), st.integers(0, 2**32))


def _drawn(case: tuple[int, int, float, int]) -> np.ndarray:
    K, N, concentration, seed = case
    p = np.random.default_rng(seed).dirichlet(np.full(K, concentration), N)
    return np.round(p, 3) / np.round(p, 3).sum(axis=1, keepdims=True)  # rounded, so that some are alike


def _grown(row: np.ndarray) -> np.ndarray:
    """Grow one set by hand."""
    low = high = int(row.argmax())
    found, mass = np.empty(len(row)), row[low]
    found[low] = mass
    while high - low + 1 < len(row):
        down = row[low - 1] if low > 0 else -1.0
        up = row[high + 1] if high + 1 < len(row) else -1.0
        low, high = (low - 1, high) if down >= up else (low, high + 1)
        mass += max(down, up)
        found[low if down >= up else high] = 1.0 if high - low + 1 == len(row) else mass
    return found


@settings(max_examples=80, deadline=None)
@given(case=CASES)
def test_scores_are_those_of_sets_grown_one_by_one(case) -> None:
    p = _drawn(case)
    np.testing.assert_allclose(scores(p), [_grown(row) for row in p], atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(case=CASES, threshold=st.floats(0, 1))
def test_sets_have_no_gap_hold_the_most_probable_stage_and_grow_with_the_threshold(case, threshold: float) -> None:
    p = _drawn(case)
    low, high = bounds(p, threshold)
    inside = scores(p) <= threshold
    inside[np.arange(len(p)), p.argmax(axis=1)] = True
    np.testing.assert_array_equal(inside.sum(axis=1), high - low + 1)
    assert ((low <= p.argmax(axis=1)) & (p.argmax(axis=1) <= high)).all()
    wider_low, wider_high = bounds(p, min(1.0, threshold + 0.1))
    assert (wider_low <= low).all()
    assert (wider_high >= high).all()
    assert (bounds(p, 1.0)[1] - bounds(p, 1.0)[0] == p.shape[1] - 1).all()


class _Stated(ClassifierMixin, BaseEstimator):
    """A classifier whose features are its probabilities."""

    def __init__(self, stages: int = 5) -> None:
        self.stages = stages
        self.classes_ = np.arange(stages)
        self.fitted_ = True

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Stated:
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X.argmax(axis=1)


class _NoChance(np.random.RandomState):
    """MAPIE subtracts a random share of the true stage's probability from its score; ours is the score without it."""

    def uniform(self, *limits: float, size: int) -> np.ndarray:
        return np.zeros(size)


def _one_peak(random: np.random.Generator, N: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with one peak, where the likeliest stages are neighbours, and truths drawn from them."""
    centre, width = random.uniform(0, 4, (N, 1)), random.uniform(0.5, 3.0, (N, 1))
    p = softmax(-((np.arange(5) - centre) ** 2) / width, axis=1)
    return p, np.array([random.choice(5, p=row) for row in p])


@pytest.mark.parametrize("level", [0.7, 0.9])
def test_where_probabilities_have_one_peak_sets_are_those_of_mapie(level: float) -> None:
    random = np.random.default_rng(1)
    p, truth = _one_peak(random, 300)
    new, _ = _one_peak(random, 500)
    oracle = SplitConformalClassifier(
        _Stated(), confidence_level=level, conformity_score="aps", prefit=True, random_state=_NoChance()
    )
    oracle.conformalize(p, truth)
    theirs = oracle.predict_set(new, conformity_score_params={"include_last_label": False})[1][:, :, 0]
    threshold = quantile(scores(p)[np.arange(len(p)), truth], level)
    low, high = bounds(new, threshold)
    ours = (np.arange(5) >= low[:, None]) & (np.arange(5) <= high[:, None])
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("level", "least"), [(0.9, 9), (0.95, 19), (0.5, 1), (0.8, 4)])
def test_too_few_patients_leave_no_stage_out(level: float, least: int) -> None:
    assert needed(level) == least
    assert quantile(np.linspace(0.1, 0.2, least), level) == pytest.approx(0.2 if least > 1 else 0.1)
    assert quantile(np.full(least - 1, 0.1), level) == 1.0


def _cohort(random: np.random.Generator, patients: int, split: str) -> Predictions:
    """Patients of one to four frames that share an error: frames of a patient are not exchangeable with others."""
    frames = random.integers(1, 5, patients)
    truth = random.integers(5, size=patients)
    logits = -1.2 * np.abs(truth[:, None] - np.arange(5)) + random.normal(0, 1.2, (patients, 5))
    of_frame = np.repeat(logits, frames, axis=0) + random.normal(0, 0.4, (frames.sum(), 5))
    groups = tuple(f"{split}{patient:05d}" for patient in np.repeat(np.arange(patients), frames))
    ids = tuple(f"{split}{image:06d}" for image in range(len(groups)))
    stages = np.repeat(truth, frames).astype(np.int64)
    return Predictions(
        "student", split, ids, groups, stages, softmax(of_frame, axis=1), StageScale(("a", "b", "c", "d", "e"), ())
    )


def test_sets_hold_the_true_stage_of_the_promised_share_of_new_patients() -> None:
    random, by_score, held = np.random.default_rng(5), [], []
    for _ in range(80):
        others = {split: _cohort(random, 60, split) for split in ("val", "calibration")}
        sets = stage_sets(_cohort(random, 200, "test"), others)
        assert isinstance(sets, StageSets)
        own = scores(sets.answers.probabilities)[np.arange(len(sets.answers)), sets.answers.truth]
        by_score.append((own <= sets.threshold).mean())
        held.append(sets.covered.mean())
    # 55 of 60 scores lie at or below the threshold, so that 55 / 61 = .902 of new ones do; the standard error is .005.
    assert np.mean(by_score) == pytest.approx(55 / 61, abs=0.015)
    # The most probable stage is in every set, also where its own score lies above: never fewer than that.
    assert np.mean(held) >= np.mean(by_score)


def test_frames_counted_as_if_they_were_patients_would_promise_too_much() -> None:
    random, by_patient, by_frame = np.random.default_rng(6), [], []
    for _ in range(80):
        known, new = (_cohort(random, 25, split) for split in ("calibration", "test"))
        means = [mean_by_cluster(part).answers for part in (known, new)]
        for parts, found in ((means, by_patient), ((known, new), by_frame)):
            of_truth = [scores(part.probabilities)[np.arange(len(part)), part.truth] for part in parts]
            found.append((of_truth[1] <= quantile(of_truth[0], 0.9)).mean())
    assert np.mean(by_patient) >= 0.9
    assert np.mean(by_frame) < 0.9


def test_one_score_per_patient_however_many_frames() -> None:
    part = _cohort(np.random.default_rng(0), 40, "calibration")
    found = mean_by_cluster(part)
    assert found.answers is not None
    assert (len(found.answers), found.left_out) == (40, 0)
    table = pd.DataFrame(part.probabilities).groupby(list(part.groups)).mean()
    np.testing.assert_allclose(found.answers.probabilities, table.to_numpy(), atol=1e-9)
    assert list(table.index) == list(found.answers.groups)
    mixed = part.truth.copy()
    twice = next(row for row in range(1, len(part)) if part.groups[row] == part.groups[row - 1])
    mixed[twice] = (mixed[twice] + 1) % 5
    again = mean_by_cluster(replace(part, truth=mixed))
    assert again.answers is not None
    assert (len(again.answers), again.left_out) == (39, 1)
    assert part.groups[twice] not in again.answers.groups


def test_what_sets_rest_on_comes_from_other_splits_alone() -> None:
    random = np.random.default_rng(2)
    others = {split: _cohort(random, 40, split) for split in ("val", "calibration")}
    one, two = (stage_sets(_cohort(random, 50, "test"), others) for _ in range(2))
    assert isinstance(one, StageSets)
    assert isinstance(two, StageSets)
    assert (one.threshold, one.temperature) == (two.threshold, two.temperature)
    for split in ("val", "calibration"):
        assert "fixed on" in str(stage_sets(others[split], others))
    assert stage_sets(_cohort(random, 50, "test"), {}) == "there are no answers on calibration images"
    few = others | {"calibration": _cohort(random, 8, "calibration")}
    assert stage_sets(_cohort(random, 50, "test"), few) == (
        "a coverage of 90% needs 9 calibration clusters or more, found 8"
    )


def test_the_document_tells_coverage_size_and_stages_and_says_where_it_cannot() -> None:
    random = np.random.default_rng(3)
    parts = [_cohort(random, patients, split) for split, patients in (("val", 60), ("calibration", 90), ("test", 120))]
    network = metrics_document(parts, {"student": {"parameters": 1}}, config=FEW)["networks"]["student"]
    test, sets = network["test"], stage_sets(parts[2], {part.split: part for part in parts})
    assert isinstance(sets, StageSets)
    assert test["coverage"]["value"] == pytest.approx(sets.covered.mean())
    assert test["coverage"]["clusters"] == 120
    entry = test["stage_sets"]
    assert entry["calibration_clusters"] == 90
    assert sum(entry["sizes"]) == 120
    assert entry["size"]["value"] == pytest.approx(np.dot(entry["sizes"], range(1, 6)) / 120)
    assert entry["single"]["value"] == pytest.approx(entry["sizes"][0] / 120)
    for k, name in enumerate("abcde"):
        stage, known = entry["by_stage"][name], int((sets.calibrated == k).sum())
        assert stage["calibration_clusters"] == known
        if known >= 20:
            assert stage["coverage"]["value"] == pytest.approx(sets.covered[sets.answers.truth == k].mean())
        else:
            assert stage["coverage"]["note"].startswith(f"not estimable: {known} calibration clusters have this stage")
    assert network["calibration"]["coverage"]["value"] is None
    assert "refused" in network["calibration"]["stage_sets"]
    alone = coverage(parts[2], {"test": parts[2]}, FEW)
    assert alone["coverage"]["note"] == "not estimable: there are no answers on calibration images"


def test_the_table_of_sets_names_them_and_says_whether_they_hold(tmp_path) -> None:
    random = np.random.default_rng(4)
    parts = [_cohort(random, patients, split) for split, patients in (("val", 40), ("calibration", 40), ("test", 50))]
    write_sets(tmp_path / "sets.csv", parts)
    table = pd.read_csv(tmp_path / "sets.csv")
    assert tuple(table.columns) == COLUMNS
    assert (len(table), set(table["split"])) == (50, {"test"})
    named = table["set"].str.split("–")
    assert (named.str[0] == table["lowest"]).all()
    assert (named.str[-1] == table["highest"]).all()
    inside = (table["lowest"] <= table["stage"]) & (table["stage"] <= table["highest"])
    assert (inside == table["covered"].astype(bool)).all()


def test_made_up_answers_of_every_split_have_sets_of_the_scale() -> None:
    part = made_up_predictions(patients=50)
    sets = stage_sets(part, {"calibration": replace(part, split="calibration")})
    assert isinstance(sets, StageSets)
    assert sets.temperature == 1.0
    assert set("".join(sets.names)) <= set("F01234–")
