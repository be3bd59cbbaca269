from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from fibrokd.evaluation.metrics import HEADLINE, METRICS, STAGE_METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.tables import confusion_counts
from fibrokd.evaluation.totals import totals_by_group
from fibrokd.stages import METAVIR, StageScale
from tests.evaluation.made_up import made_up_predictions

ORACLES = {
    "accuracy": lambda t, y, p: oracle.accuracy_score(t, y),
    "balanced_accuracy": lambda t, y, p: oracle.recall_score(t, y, labels=sorted(set(t)), average="macro"),
    "macro_f1": lambda t, y, p: oracle.f1_score(t, y, average="macro"),
    "quadratic_kappa": lambda t, y, p: oracle.cohen_kappa_score(t, y, labels=range(p.shape[1]), weights="quadratic"),
    "mean_absolute_stage_error": lambda t, y, p: oracle.mean_absolute_error(t, y),
    "adjacent_accuracy": lambda t, y, p: np.mean(np.abs(t - y) <= 1),
    "log_loss": lambda t, y, p: oracle.log_loss(t, p, labels=range(p.shape[1])),
    "brier": lambda t, y, p: oracle.brier_score_loss(t, p, labels=range(p.shape[1]), scale_by_half=False),
}


CASES = st.tuples(
    st.integers(3, 6),  # stages of the scale
    st.integers(2, 40),  # images
    st.integers(1, 6),  # at most so many stages occur
    st.sampled_from([0.02, 0.3, 5.0]),  # concentration of the probabilities: from one-hot to flat
    st.integers(0, 2**32),  # seed
)


def _predictions(case: tuple[int, int, int, float, int]) -> Predictions:
    K, N, used, concentration, seed = case
    random = np.random.default_rng(seed)
    truth = random.choice(random.permutation(K)[:used], N).astype(np.int64)
    p = random.dirichlet(np.full(K, concentration), N)
    p = p / p.sum(axis=1, keepdims=True)
    groups = tuple(f"g{number}" for number in random.integers(0, 8, N))
    scale = StageScale(tuple(f"S{k}" for k in range(K)), ())
    return Predictions("n", "test", tuple(str(i) for i in range(N)), groups, truth, p, scale)


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=60, deadline=None)
@given(case=CASES)
def test_every_metric_agrees_with_scikit_learn(name: str, case) -> None:
    part = _predictions(case)
    value = METRICS[name].function(totals_by_group(part).pooled())[0]
    if name == "quadratic_kappa" and np.isnan(value):
        assert len({*part.truth, *part.predicted}) == 1
        return
    assert value == pytest.approx(ORACLES[name](part.truth, part.predicted, part.probabilities), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(case=CASES)
def test_every_stage_metric_agrees_with_scikit_learn_and_is_undefined_only_where_it_divides_by_zero(case) -> None:
    part = _predictions(case)
    pooled = totals_by_group(part).pooled().confusion
    labels = range(len(part.scale))
    np.testing.assert_array_equal(pooled[0], oracle.confusion_matrix(part.truth, part.predicted, labels=labels))
    np.testing.assert_array_equal(confusion_counts(part), pooled[0])
    expected = dict(
        zip(
            ("precision", "recall", "f1"),
            oracle.precision_recall_fscore_support(part.truth, part.predicted, labels=labels, zero_division=np.nan),
            strict=False,
        )
    )
    expected["specificity"] = np.array(
        [
            oracle.recall_score(part.truth != k, part.predicted != k, zero_division=np.nan)
            for k in range(len(part.scale))
        ]
    )
    for name, metric in STAGE_METRICS.items():
        found = metric.function(pooled)[0]
        np.testing.assert_allclose(found, expected[name], atol=1e-9, rtol=0, err_msg=name)
        np.testing.assert_array_equal(np.isfinite(found), metric.counted(pooled)[0])


@settings(max_examples=30, deadline=None)
@given(case=CASES)
def test_totals_of_clusters_add_up_to_the_totals_of_all_images(case) -> None:
    part = _predictions(case)
    by_group = totals_by_group(part)
    assert len(by_group.surprise) == len(set(part.groups))
    for which, group in enumerate(sorted(set(part.groups))):
        assert by_group.images[which] == part.groups.count(group)
    one = by_group.weighted(np.ones((1, len(by_group.surprise))))
    np.testing.assert_array_equal(one.confusion, by_group.pooled().confusion)
    np.testing.assert_allclose(one.surprise, by_group.pooled().surprise, rtol=1e-12)


def test_metrics_work_on_many_sets_at_once_as_on_each_alone() -> None:
    by_group = totals_by_group(made_up_predictions(patients=12, frames=5, skill=1.0))
    for metric in METRICS.values():
        together = metric.function(by_group)
        alone = [metric.function(by_group.weighted(np.eye(12)[[g]]))[0] for g in range(12)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_a_perfect_network_reaches_the_best_value_of_every_metric() -> None:
    truth = np.arange(20) % 5
    ids = tuple(str(i) for i in range(20))
    part = Predictions("n", "test", ids, ids, truth, np.eye(5)[truth], METAVIR)
    for name, metric in METRICS.items():
        assert metric.function(totals_by_group(part).pooled())[0] == pytest.approx(
            1.0 if metric.higher_is_better else 0
        ), name


def test_a_confident_error_costs_a_large_but_finite_log_loss() -> None:
    part = Predictions("n", "test", ("a",), ("a",), np.array([0]), np.eye(5)[[4]], METAVIR)
    assert METRICS["log_loss"].function(totals_by_group(part).pooled())[0] == pytest.approx(36.04, abs=0.01)


def test_every_metric_has_an_oracle_and_the_headline_is_made_of_metrics() -> None:
    assert set(ORACLES) == set(METRICS)
    assert set(HEADLINE) <= set(METRICS)
