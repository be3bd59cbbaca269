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
from fibrokd.evaluation.calibration.temperature import fitted
from fibrokd.evaluation.conformal.document import COLUMNS, coverage, write_sets
from fibrokd.evaluation.conformal.sets import bounds, by_calibration, needed, quantile, scores
from fibrokd.evaluation.conformal.stage_sets import StageSets, stage_sets
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import METAVIR, StageScale

FEW = BootstrapConfig(resamples=100)
CASES = st.tuples(st.integers(2, 7), st.integers(1, 30), st.sampled_from([0.05, 0.5, 5.0]), st.integers(0, 2**32))


def _drawn(case: tuple[int, int, float, int]) -> np.ndarray:
    K, N, concentration, seed = case
    p = np.random.default_rng(seed).dirichlet(np.full(K, concentration), N)
    return np.round(p, 3) / np.round(p, 3).sum(axis=1, keepdims=True)  # rounded, so that some are alike


def _grown(row: np.ndarray) -> np.ndarray:
    """Grow one set by hand."""
    low = high = int(row.argmax())
    found, mass = np.zeros(len(row)), row[low]
    while high - low + 1 < len(row):
        down = row[low - 1] if low > 0 else -1.0
        up = row[high + 1] if high + 1 < len(row) else -1.0
        low, high = (low - 1, high) if down >= up else (low, high + 1)
        found[low if down >= up else high] = mass
        mass += max(down, up)
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
    """MAPIE subtracts a random share of the true stage's probability from its score, ours all of it."""

    def uniform(self, *limits: float, size: int) -> np.ndarray:
        return np.ones(size)


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
    theirs = oracle.predict_set(new, conformity_score_params={"include_last_label": True})[1][:, :, 0]
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
    assert np.mean(by_score) == pytest.approx(55 / 61, abs=0.02)
    assert held == by_score


def test_the_coverage_of_calibrations_is_spread_as_is_told() -> None:
    random, found = np.random.default_rng(8), []
    for _ in range(2000):
        threshold = quantile(random.random(30), 0.9)
        found.append(threshold)  # of uniform scores it is the coverage
    told = by_calibration(30, 0.9, 0.95)
    np.testing.assert_allclose(np.quantile(found, [0.025, 0.975]), told, atol=0.01)


def test_equal_answers_get_equal_sets_however_many_images_a_patient_has() -> None:
    answer = softmax(np.array([0.3, 0.1, 1.0, 0.9, 0.2]))
    truths = np.random.default_rng(0).choice(5, size=60, p=answer)
    sets = []
    for frames in (1, 3, 7):
        parts = {}
        for split, images in (("calibration", 1), ("test", frames)):
            ids = tuple(f"{split}{patient}-{frame}" for patient in range(60) for frame in range(images))
            groups = tuple(each.split("-")[0] for each in ids)
            rows = np.tile(answer, (len(ids), 1))
            stages = np.repeat(truths, images).astype(np.int64)
            parts[split] = Predictions("student", split, ids, groups, stages, rows, METAVIR)
        found = stage_sets(parts["test"], parts)
        assert isinstance(found, StageSets)
        sets.append(found.names)
        assert found.covered.mean() >= 0.9
    assert sets[0] == sets[1] == sets[2]


def test_hard_answers_that_are_mostly_right_give_sets_of_one_stage() -> None:
    random = np.random.default_rng(3)
    parts = {split: _cohort(random, 100, split) for split in ("calibration", "test")}
    right = {
        split: replace(part, probabilities=np.eye(5)[np.where(np.arange(len(part)) % 50, part.truth, 0)])
        for split, part in parts.items()
    }
    found = stage_sets(right["test"], right)
    assert isinstance(found, StageSets)
    assert found.threshold == 0
    assert (found.sizes == 1).mean() > 0.9


def test_clusters_that_are_assessed_and_calibrated_on_alike_are_refused() -> None:
    part = _cohort(np.random.default_rng(1), 40, "test")
    refused = stage_sets(part, {"calibration": replace(part, split="calibration")})
    assert refused == "40 clusters hold assessed and calibration images alike, so that nothing is promised for new ones"


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
    assert one.temperature == fitted(others["val"])
    assert isinstance(strict := stage_sets(_cohort(random, 50, "test"), others, 41), StageSets)
    assert strict.temperature.refused == "the validation images are of 40 clusters only (at least 41 needed)"
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
        if known < 20:
            assert stage["coverage"]["value"] is None
            few = f"not estimable: only {known} calibration clusters have this stage (20 needed)"
            assert stage["coverage"]["note"] == few
        else:
            assert stage["coverage"]["value"] == pytest.approx(sets.covered[sets.answers.truth == k].mean())
            assert stage["coverage"]["low"] < stage["coverage"]["high"]
    assert {each["calibration_clusters"] < 20 for each in entry["by_stage"].values()} == {True, False}
    assert entry["no_temperature" if "no_temperature" in entry else "temperature"] == pytest.approx(
        sets.temperature.value
    )
    assert entry["by_calibration"][0] < 0.9 < entry["by_calibration"][1]
    assert network["calibration"]["coverage"]["value"] is None
    assert "refused" in network["calibration"]["stage_sets"]
    alone = coverage(parts[2], {"test": parts[2]}, FEW)
    assert alone["coverage"]["note"] == "not estimable: there are no answers on calibration images"


def test_the_table_of_sets_names_them_and_says_whether_they_hold(tmp_path) -> None:
    random = np.random.default_rng(4)
    parts = [_cohort(random, patients, split) for split, patients in (("val", 40), ("calibration", 40), ("test", 50))]
    write_sets(tmp_path / "sets.csv", parts, FEW)
    table = pd.read_csv(tmp_path / "sets.csv")
    assert tuple(table.columns) == COLUMNS
    assert (len(table), set(table["split"])) == (50, {"test"})
    named = table["set"].str.split("–")
    assert (named.str[0] == table["lowest"]).all()
    assert (named.str[-1] == table["highest"]).all()
    inside = (table["lowest"] <= table["stage"]) & (table["stage"] <= table["highest"])
    assert (inside == table["covered"].astype(bool)).all()
