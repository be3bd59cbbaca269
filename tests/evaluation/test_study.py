"""Numbers of a study: pooled over seeds, paired; restricted where an arm tells fewer stages apart."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from fibrokd.errors import TableError
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.study.pooled import CALIBRATION, Trial, difference, pools, summary
from fibrokd.stages import METAVIR, StageScale

CONFIG = BootstrapConfig(resamples=400)
FACTS = {
    "parameters": 10, "deployed_bytes": 40, "latency_ms": 1.0,
    "cost": {"train_seconds": 2.0, "book_teacher_forwards": 5},
}  # fmt: skip


def answers(skill, seed, patients=60, scale=METAVIR):
    """Answers whose share of right ones is about ``skill``; two images per patient."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(patients) % len(scale), 2)
    guess = np.where(random.uniform(size=len(truth)) < skill, truth, random.integers(len(scale), size=len(truth)))
    p = np.full((len(truth), len(scale)), 0.4 / (len(scale) - 1))
    p[np.arange(len(truth)), guess] = 0.6
    names = tuple(f"i{k}" for k in range(len(truth)))
    groups = tuple(f"p{k // 2}" for k in range(len(truth)))
    return Predictions("n", "test", names, groups, truth.astype(np.int64), p, scale)


def trial(arm, seed, skill, draw=None):
    return Trial(arm, "tiny", 1.0, seed, answers(skill, 100 * seed + (draw or 0)), FACTS)


def test_a_figure_is_the_mean_over_seeds_of_scikit_learns():
    trials = [trial("kd", seed, 0.7) for seed in (1, 0, 2)]
    pool = pools(trials, CONFIG)["kd", "tiny", 1.0]
    assert pool.seeds == (0, 1, 2)
    found = summary(pool)
    wanted = [balanced_accuracy_score(t.answers.truth, t.answers.predicted) for t in trials]
    kappas = [cohen_kappa_score(t.answers.truth, t.answers.predicted, weights="quadratic") for t in trials]
    assert found["balanced_accuracy"]["value"] == pytest.approx(np.mean(wanted), abs=1e-12)
    assert found["balanced_accuracy"]["seed_deviation"] == pytest.approx(np.std(wanted, ddof=1), abs=1e-12)
    assert found["quadratic_kappa"]["value"] == pytest.approx(np.mean(kappas), abs=1e-12)
    for figure in found.values():
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_calibration_error_is_that_of_equal_mass_bins():
    pool = pools([trial("kd", 0, 0.7)], CONFIG)["kd", "tiny", 1.0]
    part = pool.trials[0].answers
    hit, confidence = part.predicted == part.truth, part.probabilities.max(axis=1)
    place = np.array([np.count_nonzero(confidence < own) * 15 // len(part) for own in confidence])  # equals share a bin
    wanted = sum(abs((hit[place == k] - confidence[place == k]).sum()) for k in range(15)) / len(part)
    assert pool.values(CALIBRATION)[0] == pytest.approx(wanted, abs=1e-12)


def test_a_difference_is_paired_by_seed_and_changes_its_sign_with_the_order():
    better = pools([trial("a", s, 0.9, 1) for s in (0, 1, 2)], CONFIG)["a", "tiny", 1.0]
    worse = pools([trial("b", s, 0.4, 2) for s in (1, 2, 3)], CONFIG)["b", "tiny", 1.0]
    one, other = (difference(x, y, "balanced_accuracy") for x, y in ((better, worse), (worse, better)))
    assert one["seeds"] == [1, 2]
    assert one["value"] == pytest.approx(-other["value"])
    assert one["low"] == pytest.approx(-other["high"])
    assert one["low"] > 0
    assert one["p"] == other["p"] < 0.01
    same = difference(better, better, "quadratic_kappa")
    assert (same["value"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)


def test_without_a_common_seed_there_is_no_difference():
    one, other = (pools([trial(a, s, 0.5)], CONFIG)[a, "tiny", 1.0] for a, s in (("a", 0), ("b", 1)))
    assert difference(one, other, "balanced_accuracy")["note"] == "no seed in common"


def test_p_values_of_equal_networks_are_nearly_uniform():
    """Two networks of the same skill: the share of p below .1 stays near .1."""
    config = BootstrapConfig(resamples=200)
    small = 0
    for draw in range(60):
        one, other = (
            pools([Trial(arm, "t", 1.0, 0, answers(0.6, 1000 * k + draw), FACTS)], config)[arm, "t", 1.0]
            for k, arm in enumerate("ab", 1)
        )
        small += difference(one, other, "balanced_accuracy")["p"] < 0.1
    assert 0 < small <= 14


def test_an_arm_of_fewer_stages_is_compared_on_their_images_with_probabilities_renormalised():
    scale = StageScale(("F2", "F4"), (1,))
    full = answers(0.7, 5)
    rows = np.isin(full.truth, [2, 4])
    p = full.probabilities[rows][:, [2, 4]]
    part = Predictions(
        "n", "test",
        tuple(np.array(full.image_ids)[rows]), tuple(np.array(full.groups)[rows]),
        (full.truth[rows] == 4).astype(np.int64), p / p.sum(1, keepdims=True), scale,
    )  # fmt: skip
    arm = pools([Trial("sub", "t", 1.0, 0, part, FACTS)], CONFIG)["sub", "t", 1.0]
    whole = pools([Trial("kd", "t", 1.0, 0, full, FACTS)], CONFIG)["kd", "t", 1.0]
    found = difference(arm, whole, "log_loss")
    assert found["value"] == pytest.approx(0, abs=1e-12)


def test_other_test_images_are_not_compared():
    one = pools([Trial("a", "t", 1.0, 0, answers(0.5, 0, patients=60), FACTS)], CONFIG)["a", "t", 1.0]
    other = pools([Trial("b", "t", 1.0, 0, answers(0.5, 0, patients=50), FACTS)], CONFIG)["b", "t", 1.0]
    with pytest.raises(TableError, match="occur in one"):
        difference(one, other, "balanced_accuracy")


def test_one_result_per_seed():
    with pytest.raises(TableError, match="twice"):
        pools([trial("a", 0, 0.5), trial("a", 0, 0.6)], CONFIG)


def test_draws_in_which_a_metric_is_not_defined_are_no_evidence():
    """Kappa of one stage alone is not defined: NaN is neither above nor below 0."""
    pool = pools([trial("a", 0, 0.9, 1)], CONFIG)["a", "tiny", 1.0]
    other = pools([trial("b", 0, 0.4, 2)], CONFIG)["b", "tiny", 1.0]
    clean = difference(pool, other, "quadratic_kappa")
    figures = pool._figures[0]["quadratic_kappa"]
    figures[5:10] = np.nan  # 5 of 400
    few = difference(pool, other, "quadratic_kappa")
    assert few["p"] == pytest.approx(2 * (0 + 1) / (395 + 1))
    assert few["low"] == pytest.approx(clean["low"], abs=0.02)
    figures[5:40] = np.nan  # 35 of 400
    many = difference(pool, other, "quadratic_kappa")
    assert (many["p"], many["low"], many["high"]) == (None, None, None)
    assert "not estimable in 9%" in many["note"]
    assert many["value"] == clean["value"]
    assert summary(pool)["quadratic_kappa"]["low"] is None


def test_too_few_clusters_have_no_interval_and_no_test():
    one, other = (
        pools([Trial(arm, "t", 1.0, 0, answers(0.6, k, patients=8), FACTS)], CONFIG)[arm, "t", 1.0]
        for k, arm in enumerate("ab")
    )
    found = difference(one, other, "balanced_accuracy")
    assert (found["low"], found["high"], found["p"]) == (None, None, None)
    assert "8 clusters (at least 10 needed)" in found["note"]
    assert summary(one)["accuracy"]["low"] is None
    assert summary(one)["accuracy"]["value"] is not None


def overconfident(seed, excess, patients=350):
    """Answers that are right less often than they say, by ``excess`` at any confidence: their true error."""
    random, n = np.random.default_rng(seed), 2 * patients
    top, guess = random.uniform(0.45, 0.95, n), random.integers(5, size=n)
    p = np.repeat(((1 - top) / 4)[:, None], 5, axis=1)
    p[np.arange(n), guess] = top
    right = random.uniform(size=n) < top - excess
    truth = np.where(right, guess, (guess + random.integers(1, 5, size=n)) % 5)
    names, groups = tuple(f"i{k}" for k in range(n)), tuple(f"p{k // 2}" for k in range(n))
    return Predictions("n", "test", names, groups, truth.astype(np.int64), p, METAVIR)


@pytest.mark.parametrize("excess", [0.05, 0.1, 0.2])
def test_the_interval_of_the_calibration_error_holds_the_truth_about_as_often_as_it_says(excess):
    """In 24 simulated studies; percentiles do so in 4 of them where the error is .05."""
    held = 0
    for seed in range(24):
        pool = pools([Trial("a", "t", 1.0, 0, overconfident(seed, excess), FACTS)], CONFIG)["a", "t", 1.0]
        figure = summary(pool)[CALIBRATION]
        held += figure["low"] <= excess <= figure["high"]
    assert held >= 20


def test_the_interval_of_the_calibration_error_of_a_calibrated_network_holds_its_value_where_percentiles_do_not():
    missed = 0
    for seed in range(12):
        pool = pools([Trial("a", "t", 1.0, 0, overconfident(seed, 0.0), FACTS)], CONFIG)["a", "t", 1.0]
        figure = summary(pool)[CALIBRATION]
        missed += figure["value"] < np.quantile(pool.resampled(CALIBRATION)[0], 0.025)
        assert 0 <= figure["low"] < figure["value"] < figure["high"]
        assert figure["low"] < 0.03
    assert missed > 0


def test_the_calibration_error_is_not_tested():
    better, worse = (pools([trial(a, 0, k, 1)], CONFIG)[a, "tiny", 1.0] for a, k in (("a", 0.9), ("b", 0.3)))
    found = difference(better, worse, CALIBRATION)
    assert found["p"] is None
    assert found["low"] <= found["value"] <= found["high"]


def test_a_teacher_is_compared_with_the_mean_over_all_seeds():
    teacher = pools([trial("t", 7, 0.9)], CONFIG)["t", "tiny", 1.0]
    none = pools([trial("none", seed, 0.4) for seed in (0, 1, 2)], CONFIG)["none", "tiny", 1.0]
    found = difference(teacher, none, "balanced_accuracy", by_seed=False)
    wanted = teacher.values("balanced_accuracy")[0] - none.values("balanced_accuracy").mean()
    assert found["value"] == pytest.approx(wanted)
    assert found["low"] < found["value"] < found["high"]


def test_all_networks_share_the_draws_of_the_other_intervals_of_the_project():
    part = answers(0.6, 3)
    pool = pools([Trial("a", "t", 1.0, 0, part, FACTS)], CONFIG)["a", "t", 1.0]
    for metric in ("accuracy", "quadratic_kappa", "log_loss"):
        wanted = METRICS[metric].function(bootstrap(part, CONFIG).resampled)
        np.testing.assert_allclose(pool.resampled(metric)[0], wanted, rtol=1e-12)
