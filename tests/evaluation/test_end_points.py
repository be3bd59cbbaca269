"""Clinical end points against scikit-learn, and the laws that thresholds and decisions obey."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.end_points.decisions import (
    DECISION_METRICS,
    Decisions,
    net_benefit,
    npv_at,
    ppv_at,
)
from fibrokd.evaluation.end_points.document import PREVALENCES, PROBABILITIES, end_points
from fibrokd.evaluation.end_points.ranking import rank
from fibrokd.evaluation.end_points.sample import end_point_samples, has_end_point, probability_of
from fibrokd.evaluation.end_points.table import COLUMNS, write_end_points
from fibrokd.evaluation.end_points.thresholds import RULES, curve, threshold
from fibrokd.evaluation.fixed_beforehand import NONE_THERE
from fibrokd.evaluation.intervals import BootstrapConfig, Estimate, draw_counts, interval_of
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import cluster_codes
from fibrokd.stages import METAVIR, StageScale
from tests.evaluation.made_up import made_up_predictions, of_split

FEW = BootstrapConfig(resamples=100)
CASES = st.tuples(
    st.integers(2, 60),  # images
    st.integers(1, 12),  # distinct scores: few of them make ties
    st.integers(1, 7),  # clusters
    st.integers(0, 2**32),  # seed
)


def _scored(case: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    N, levels, clusters, seed = case
    random = np.random.default_rng(seed)
    cluster = np.concatenate([np.arange(clusters), random.integers(clusters, size=N)])
    scores = random.integers(levels, size=len(cluster)) / levels
    return scores, random.random(len(cluster)) < 0.4, cluster.astype(np.int64)


@settings(max_examples=150, deadline=None)
@given(case=CASES)
def test_areas_agree_with_scikit_learn_with_ties_and_with_weights(case) -> None:
    scores, positive, cluster = _scored(case)
    weights = np.random.default_rng(case[3]).integers(0, 4, size=(3, int(cluster.max()) + 1))
    weights[0] = 1
    auroc, precision = rank(scores, positive, cluster).areas(weights)
    for row, weight in enumerate(weights):
        of_image = weight[cluster]
        used = of_image > 0
        classes = set(positive[used].tolist())
        if len(classes) < 2:
            assert np.isnan(auroc[row])
            assert np.isnan(precision[row])
            continue
        weighed = {"sample_weight": of_image[used]}
        assert auroc[row] == pytest.approx(oracle.roc_auc_score(positive[used], scores[used], **weighed), abs=1e-9)
        expected = oracle.average_precision_score(positive[used], scores[used], **weighed)
        assert precision[row] == pytest.approx(expected, abs=1e-9)


def test_an_area_of_every_resample_is_that_of_the_images_it_repeats() -> None:
    part = made_up_predictions(patients=20, skill=0.5)
    sample = end_point_samples(part, {2: []}, FEW)[2]
    cluster = cluster_codes(part)
    scores, positive = probability_of(part, 2), has_end_point(part, 2)
    drawn = np.concatenate(list(draw_counts(20, FEW)))
    for number in range(0, 100, 9):
        rows = np.repeat(np.arange(len(part)), drawn[number][cluster].astype(int))
        assert sample.auroc.resampled[number] == pytest.approx(oracle.roc_auc_score(positive[rows], scores[rows]))
        expected = oracle.average_precision_score(positive[rows], scores[rows])
        assert sample.average_precision.resampled[number] == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(case=CASES, name=st.sampled_from(sorted(RULES)))
def test_a_threshold_keeps_its_promise_on_the_images_that_it_was_fixed_on(case, name: str) -> None:
    scores, positive, _ = _scored(case)
    found = curve(scores, positive)
    if positive.all() or not positive.any():
        assert found is None
        return
    limit = threshold(RULES[name], found)
    called = scores >= limit
    sensitivity, specificity = called[positive].mean(), (~called[~positive]).mean()
    every = [(scores >= score) for score in np.unique(scores)] + [np.zeros(len(scores), dtype=bool)]
    if name == "youden":
        best = max(each[positive].mean() + (~each[~positive]).mean() for each in every)
        # Calling none positive is worth 1, as calling all is; the latter is what a tie falls to.
        assert sensitivity + specificity == pytest.approx(best)
    else:
        assert sensitivity >= 0.95
        stricter = [each for each in every if each.sum() < called.sum()]
        assert all(each[positive].mean() < 0.95 for each in stricter)


def test_of_equally_good_thresholds_the_more_sensitive_one_is_taken() -> None:
    scores, positive = np.array([0.9, 0.7, 0.5, 0.3]), np.array([True, False, True, False])
    found = curve(scores, positive)
    assert found is not None
    assert threshold(RULES["youden"], found) == pytest.approx(0.4)


def test_a_threshold_that_calls_all_positive_is_zero() -> None:
    found = curve(np.array([0.2, 0.4, 0.6]), np.array([True, False, False]))
    assert found is not None
    assert threshold(RULES["sensitivity_95"], found) == 0.0


@settings(max_examples=100, deadline=None)
@given(counts=st.tuples(*[st.integers(0, 30)] * 4), prevalence=st.floats(0.01, 0.99))
def test_decisions_agree_with_scikit_learn_and_with_bayes(counts, prevalence: float) -> None:
    hits, misses, alarms, passes = counts
    found = Decisions(*(np.array([float(each)]) for each in counts))
    truth = np.repeat([1, 1, 0, 0], counts)
    called = np.repeat([1, 0, 1, 0], counts)
    expected = {
        "sensitivity": oracle.recall_score(truth, called, zero_division=np.nan) if hits + misses else np.nan,
        "specificity": oracle.recall_score(1 - truth, 1 - called, zero_division=np.nan) if passes + alarms else np.nan,
        "ppv": oracle.precision_score(truth, called, zero_division=np.nan) if hits + alarms else np.nan,
        "npv": oracle.precision_score(1 - truth, 1 - called, zero_division=np.nan) if passes + misses else np.nan,
    }
    if hits + misses and passes and alarms:
        above, below = oracle.class_likelihood_ratios(truth, called)
        expected |= {"lr_positive": above, "lr_negative": below}
    elif hits + misses and passes:
        expected |= {"lr_positive": np.inf if hits else np.nan, "lr_negative": misses / (hits + misses)}
    elif hits + misses and alarms:
        expected |= {"lr_positive": hits / (hits + misses), "lr_negative": np.inf if misses else np.nan}
    for name, value in expected.items():
        answer = DECISION_METRICS[name].function(found)[0]
        assert answer == pytest.approx(value, abs=1e-9, nan_ok=True), name
    own = (hits + misses) / max(sum(counts), 1)
    if 0 < own < 1:
        for at, name in ((ppv_at, "ppv"), (npv_at, "npv")):
            same = at(found, own)[0]
            assert same == pytest.approx(DECISION_METRICS[name].function(found)[0], abs=1e-9, nan_ok=True)
        if hits and hits + alarms and passes:
            sensitivity, false_alarms = hits / (hits + misses), alarms / (alarms + passes)
            by_bayes = sensitivity * prevalence / (sensitivity * prevalence + false_alarms * (1 - prevalence))
            assert ppv_at(found, prevalence)[0] == pytest.approx(by_bayes)


def test_net_benefit_is_that_of_all_or_none_where_all_or_none_are_called() -> None:
    everybody = Decisions(*(np.array([each]) for each in (30.0, 0.0, 70.0, 0.0)))
    nobody = Decisions(*(np.array([each]) for each in (0.0, 30.0, 0.0, 70.0)))
    assert net_benefit(everybody, 0.2)[0] == pytest.approx(0.3 - 0.7 * 0.25)
    assert net_benefit(nobody, 0.2)[0] == 0
    perfect = Decisions(*(np.array([each]) for each in (30.0, 0.0, 0.0, 70.0)))
    assert net_benefit(perfect, 0.9)[0] == pytest.approx(0.3)


def test_decisions_of_clusters_add_up_whatever_the_order_of_thresholds() -> None:
    part = made_up_predictions(skill=0.5)
    limits = [0.7, 0.1, 0.4, 0.1]
    sample = end_point_samples(part, {3: limits, 2: [0.5]}, FEW)[3]
    scores, positive = probability_of(part, 3), has_end_point(part, 3)
    for place, limit in enumerate(limits):
        called = scores >= limit
        assert sample.pooled.hits[0, place] == (called & positive).sum() == sample.by_group.hits[:, place].sum()
        assert sample.pooled.misses[0, place] == (~called & positive).sum()
        assert sample.pooled.alarms[0, place] == (called & ~positive).sum()
        assert sample.pooled.passes[0, place] == (~called & ~positive).sum()
    np.testing.assert_array_equal(sample.resampled.images[:, 0], np.full(100, len(part)))


# --------------------------------------------------------------------------- metrics.json
def _split(part: Predictions, **options: object) -> Predictions:
    return replace(part, **options)  # type: ignore[arg-type]  # names of its fields


def _validation(**options) -> Predictions:
    return of_split(made_up_predictions(seed=9, **options), "val")


def test_thresholds_come_from_validation_answers_and_are_left_alone_on_test_images() -> None:
    test, validation = made_up_predictions(skill=0.8), _validation(skill=0.8)
    found = end_points(test, validation, FEW)
    scores, positive = probability_of(test, 2), has_end_point(test, 2)
    for name, rule in RULES.items():
        point = found["end_points"]["≥F2"]["operating_points"][name]
        known = curve(probability_of(validation, 2), has_end_point(validation, 2))
        assert known is not None
        assert point["threshold"] == pytest.approx(threshold(rule, known))
        assert point["sensitivity"]["value"] == pytest.approx((scores >= point["threshold"])[positive].mean())
    # Other test answers move no threshold; other validation answers do.
    other = end_points(made_up_predictions(skill=0.8, seed=5), validation, FEW)
    moved = end_points(test, _split(made_up_predictions(seed=11, skill=0.8), split="val"), FEW)
    limits = [each["end_points"]["≥F2"]["operating_points"]["youden"]["threshold"] for each in (found, other, moved)]
    assert limits[0] == limits[1] != limits[2]


def test_every_end_point_has_its_area_and_bounds() -> None:
    found = end_points(made_up_predictions(skill=0.8), _validation(), FEW)
    assert list(found["auroc"]) == list(found["end_points"]) == ["≥F2", "≥F3", "≥F4"]
    for area in found["auroc"].values():
        assert 0.5 < area["low"] <= area["value"] <= area["high"] <= 1
    entry = found["end_points"]["≥F3"]
    assert (entry["positive"], entry["negative"]) == ({"images": 72, "clusters": 24}, {"images": 108, "clusters": 36})
    assert found["auroc"]["≥F3"]["clusters"] == 24
    assert [row["probability"] for row in entry["decision_curve"]] == list(PROBABILITIES)
    ppv = [row["ppv"]["value"] for row in entry["operating_points"]["youden"]["by_prevalence"]]
    assert len(ppv) == len(PREVALENCES)
    assert ppv == sorted(ppv)


def test_why_there_is_no_threshold_is_said() -> None:
    part = made_up_predictions()
    entry = end_points(part, NONE_THERE, FEW)["end_points"]["≥F2"]
    assert (entry["operating_points"], "validation" in entry) == ({}, False)
    assert set(entry["no_threshold"].values()) == {NONE_THERE}
    own = end_points(_validation(), _validation(), FEW)["end_points"]["≥F2"]
    assert set(own["no_threshold"].values()) == {"thresholds are fixed on these very images"}
    healthy = _some(_validation(), lambda truth: truth < 2)
    entry = end_points(part, healthy, FEW)["end_points"]["≥F2"]
    why = "one of the two classes has validation images of 0 clusters only (at least 10 needed)"
    assert entry["no_threshold"] == dict.fromkeys(RULES, why)
    assert entry["validation"] == {"positive": {"images": 0, "clusters": 0}, "negative": {"images": 72, "clusters": 24}}
    few = end_points(part, _validation(patients=40), FEW)["end_points"]
    assert "of 8 clusters only" in few["≥F4"]["no_threshold"]["youden"]
    assert "no_threshold" not in few["≥F3"]


def test_a_rule_that_would_call_every_image_positive_gives_no_threshold() -> None:
    blind = _validation()
    p = blind.probabilities[::-1].copy()
    lowest = np.flatnonzero(blind.truth == 4)[:6]
    p[lowest] = [1.0, 0.0, 0.0, 0.0, 0.0]
    entry = end_points(made_up_predictions(), replace(blind, probabilities=p), FEW)["end_points"]["≥F4"]
    assert entry["no_threshold"]["sensitivity_95"] == "the rule would call every image positive"
    assert "sensitivity_95" not in entry["operating_points"]


def test_a_missing_class_a_handful_of_patients_and_perfect_answers_are_said_not_estimated() -> None:
    healthy = _some(made_up_predictions(), lambda truth: truth < 2)
    found = end_points(healthy, _validation(), FEW)
    assert found["auroc"]["≥F2"]["value"] is None
    assert found["auroc"]["≥F2"]["note"] == "not estimable: every image has the end point, or none"
    assert found["end_points"]["≥F2"]["operating_points"]["youden"]["sensitivity"]["value"] is None
    assert found["end_points"]["≥F2"]["operating_points"]["youden"]["specificity"]["value"] is not None
    assert found["end_points"]["≥F2"]["average_precision"]["value"] is None
    few = end_points(made_up_predictions(patients=20), _validation(), FEW)
    assert few["auroc"]["≥F4"]["note"] == "no interval from 4 clusters (at least 10 needed)"
    perfect = end_points(made_up_predictions(skill=60.0), _validation(skill=60.0), FEW)
    point = perfect["end_points"]["≥F3"]["operating_points"]["youden"]
    assert point["sensitivity"]["note"] == "exact bound: all 24 clusters gave the same answer"
    assert point["lr_positive"]["note"].startswith("not estimable: without a false alarm it is infinite")
    screening = point["by_prevalence"][0]["ppv"]
    edge = point["specificity"]["low"]
    # All 24 negative clusters were right: a specificity as low as this is compatible with them (Clopper and Pearson).
    assert edge == pytest.approx(0.025 ** (1 / 36))
    assert (screening["value"], screening["high"]) == (1.0, 1.0)
    found = 0.01 * point["sensitivity"]["low"]
    assert screening["low"] == pytest.approx(found / (found + (1 - edge) * 0.99))
    assert perfect["auroc"]["≥F3"] == {
        "value": 1.0,
        "low": None,
        "high": None,
        "clusters": 24,
        "note": "no interval: every resample gave the same value",
    }


def test_likelihood_ratios_rest_on_the_smaller_class_and_are_not_bounded_where_they_may_be_infinite() -> None:
    part = made_up_predictions(patients=60, skill=1.0)
    keep = np.flatnonzero((part.truth < 4) | (np.arange(len(part)) < 45))  # three patients of the last stage
    few = _some(part, lambda truth: np.isin(np.arange(len(truth)), keep))
    point = end_points(few, _validation(skill=1.0), FEW)["end_points"]["≥F4"]["operating_points"]["youden"]
    assert point["lr_positive"]["clusters"] == point["lr_negative"]["clusters"] == 3
    assert point["lr_positive"]["low"] is None
    seldom = Estimate(9.0, np.array([*np.linspace(4, 30, 95), *[np.inf] * 5]), 60, "")
    found = interval_of(seldom, FEW)
    assert (found.low, found.high) == (None, None)
    assert found.note == "no interval: infinite in 5.0% of the resamples"
    once = interval_of(replace(seldom, resampled=np.array([*np.linspace(4, 30, 99), np.inf])), FEW)
    assert once.low == pytest.approx(4.66, abs=0.1)
    assert once.high == pytest.approx(29.5, abs=0.5)


def test_sums_of_equal_probabilities_are_ties_and_thresholds_do_what_is_written() -> None:
    rows = [[0.2, 0.0, 0.1, 0.0, 0.7], [0.2, 0.0, 0.0, 0.1, 0.7], [0.2, 0.0, 0.7, 0.1, 0.0]]
    part = replace(_some(made_up_predictions(), lambda truth: np.arange(len(truth)) < 3), probabilities=np.array(rows))
    assert probability_of(part, 2).tolist() == [0.8, 0.8, 0.8]
    near = curve(np.array([1 - 1e-12, 1 - 2e-12, 0.5]), np.array([True, False, False]))
    assert near is not None
    limit = threshold(RULES["youden"], near)
    assert float(repr(limit)) == limit
    assert 1 - 2e-12 < limit <= 1 - 1e-12
    touching = curve(np.array([1 - 2**-53, 1 - 2**-52]), np.array([True, False]))
    assert touching is not None
    assert threshold(RULES["youden"], touching) > 1 - 2**-52


def test_other_scales_have_their_own_end_points_or_none() -> None:
    binary = StageScale(("below", "cirrhosis"), (1,))
    found = end_points(made_up_predictions(scale=binary), _validation(scale=binary), FEW)
    assert list(found["auroc"]) == ["≥cirrhosis"]
    assert end_points(made_up_predictions(scale=StageScale(("a", "b"), ())), NONE_THERE, FEW) == {}


def test_the_document_fixes_every_network_on_its_own_validation_answers() -> None:
    parts = [
        of_split(made_up_predictions(name, skill=skill, seed=seed), split)
        for name, skill in (("teacher", 1.5), ("student", 0.5))
        for split, seed in (("val", 3), ("test", 4))
    ]
    document = metrics_document(parts, {name: {"parameters": 1} for name in ("teacher", "student")})
    for part in parts[1::2]:
        own = next(each for each in parts if (each.network, each.split) == (part.network, "val"))
        told = document["networks"][part.network]["test"]["end_points"]["≥F2"]["operating_points"]["youden"]
        known = curve(probability_of(own, 2), has_end_point(own, 2))
        assert known is not None
        assert told["threshold"] == pytest.approx(threshold(RULES["youden"], known))


def test_the_table_for_other_programs_holds_every_figure_of_the_document(tmp_path) -> None:
    parts = [made_up_predictions("teacher", skill=0.8), replace(_validation(skill=0.8), network="teacher")]
    document = metrics_document(parts, {"teacher": {"parameters": 1}}, config=FEW)
    write_end_points(tmp_path / "end_points.csv", document)
    table = pd.read_csv(tmp_path / "end_points.csv")
    assert list(table.columns) == list(COLUMNS)
    areas, others = 2, 2 * len(PROBABILITIES) + 2
    point = len(DECISION_METRICS) + 2 * len(PREVALENCES)
    by_split = table.groupby("split").size()
    assert by_split["test"] == 3 * (areas + others + 2 + len(RULES) * point)
    assert by_split["val"] == 3 * (areas + others + len(RULES))
    assert table["clusters"].dropna().map(float.is_integer).all()
    row = table[(table["split"] == "test") & (table["end_point"] == "≥F3") & (table["rule"] == "sensitivity_95")]
    told = row[row["quantity"] == "specificity"].iloc[0]
    point = document["networks"]["teacher"]["test"]["end_points"]["≥F3"]["operating_points"]["sensitivity_95"]
    assert (told["at"], told["value"]) == pytest.approx((point["threshold"], point["specificity"]["value"]))
    assert (told["low"], told["high"]) == pytest.approx((point["specificity"]["low"], point["specificity"]["high"]))


def _some(part: Predictions, wanted) -> Predictions:
    rows = np.flatnonzero(wanted(part.truth))
    return replace(
        part,
        image_ids=tuple(part.image_ids[row] for row in rows),
        groups=tuple(part.groups[row] for row in rows),
        truth=part.truth[rows],
        probabilities=part.probabilities[rows],
        scale=METAVIR,
    )
