"""Tests of differences between networks: against references where one exists, and by how often they are wrong."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, chi2, norm
from sklearn.metrics import roc_auc_score

from fibrokd.errors import TableError
from fibrokd.evaluation.comparisons import signs
from fibrokd.evaluation.comparisons.delong import compare_areas
from fibrokd.evaluation.comparisons.document import BOOTSTRAP, DELONG, SIGNS, comparisons
from fibrokd.evaluation.comparisons.p_values import bootstrap_p, holm
from fibrokd.evaluation.comparisons.signs import sign_test
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap, paired_draws
from fibrokd.evaluation.metrics import METRICS
from tests.evaluation.made_up import made_up_predictions


# --------------------------------------------------------------------------- signs of clusters
@pytest.mark.parametrize(("better", "worse", "same"), [(9, 2, 5), (1, 0, 0), (30, 30, 3), (40, 12, 100)])
def test_one_image_per_cluster_is_mcnemars_exact_test(better, worse, same):
    differences = np.array([1] * better + [-1] * worse + [0] * same)
    wanted = binomtest(better, better + worse).pvalue
    assert sign_test(differences) == pytest.approx(wanted, abs=1e-12)
    assert sign_test(-differences) == pytest.approx(wanted, abs=1e-12)


def test_clusters_are_held_against_all_ways_to_choose_their_signs():
    differences = np.array([3, -1, 2, 2, -2, 1, 0, 4])
    sizes = [size for size in np.abs(differences) if size]
    sums = [abs(np.dot(signs, sizes)) for signs in itertools.product((-1, 1), repeat=len(sizes))]
    assert sign_test(differences) == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum())), abs=1e-12)


def test_many_clusters_go_by_mcnemars_chi_square(monkeypatch):
    better, worse = 700, 600
    differences = np.array([1] * better + [-1] * worse)
    assert sign_test(differences) == pytest.approx(binomtest(better, better + worse).pvalue, rel=1e-9)
    monkeypatch.setattr(signs, "EXACT_UP_TO", 0)
    assert sign_test(differences) == pytest.approx(chi2.sf((better - worse) ** 2 / (better + worse), 1), rel=1e-9)


@pytest.mark.parametrize("sizes", [[1500] + [60] * 10, [1200, 900] + [20] * 10, [300] * 7])
def test_few_or_unequal_clusters_are_not_taken_for_normal(sizes, monkeypatch):
    differences = np.array(sizes)
    exact = 2 / 2 ** len(sizes)  # all on one side: one way of each sign
    assert sign_test(differences) == pytest.approx(exact, rel=1e-9)
    monkeypatch.setattr(signs, "EXACT_UP_TO", 0)
    assert sign_test(differences) == pytest.approx(exact, abs=0.003)


def test_networks_that_stage_the_same_images_right_do_not_differ():
    assert sign_test(np.zeros(7, dtype=np.int64)) == 1.0
    assert sign_test(np.array([2, -2])) == 1.0


# --------------------------------------------------------------------------- areas
def cohort(random, clusters=40, size=3, gain=0.0, shared=1.0, between=1.0):
    """Scores of two networks: what a cluster adds is shared by its images, and by both networks in part."""
    images = np.repeat(np.arange(clusters), size)
    positive = np.repeat(random.uniform(size=clusters) < 0.5, size)
    positive[:size], positive[-size:] = True, False
    own = between * np.repeat(random.normal(size=clusters), size)
    signal = positive + own + shared * random.normal(size=len(images))
    first, second = (signal + random.normal(0, 0.7, len(images)) for _ in range(2))
    return np.round(first + gain * positive, 1), np.round(second, 1), positive, images


def reference(first, second, positive, clusters):
    """Obuchowski's covariance of two areas, written down as it stands in the paper."""
    networks = []
    for scores in (first, second):
        kernel = np.greater.outer(scores[positive], scores[~positive]) + 0.5 * np.equal.outer(
            scores[positive], scores[~positive]
        )
        networks.append((kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)))
    names = np.unique(clusters)
    M, N = positive.sum(), (~positive).sum()
    own, others = clusters[positive], clusters[~positive]
    I10, I01, total = len(np.unique(own)), len(np.unique(others)), len(names)

    def excess(network, name):
        area, x, y = network
        return (x[own == name] - area).sum(), (y[others == name] - area).sum()

    def covariance(r, s):
        rows = [(excess(networks[r], name), excess(networks[s], name)) for name in names]
        S10 = I10 / ((I10 - 1) * M) * sum(a[0] * b[0] for a, b in rows)
        S01 = I01 / ((I01 - 1) * N) * sum(a[1] * b[1] for a, b in rows)
        S11 = total / (total - 1) * sum(a[0] * b[1] for a, b in rows)
        S11_ = total / (total - 1) * sum(b[0] * a[1] for a, b in rows)
        return S10 / M + S01 / N + (S11 + S11_) / (M * N)

    variance = covariance(0, 0) + covariance(1, 1) - 2 * covariance(0, 1)
    return networks[0][0] - networks[1][0], math.sqrt(variance)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("mixed", [False, True])
def test_areas_are_compared_as_obuchowski_does(size, mixed):
    random = np.random.default_rng(size)
    first, second, positive, clusters = cohort(random, size=size)
    if mixed:  # images of one cluster that differ in whether they have the end point
        positive = random.uniform(size=len(positive)) < 0.5
    found = compare_areas(first, second, positive, clusters)
    value, deviation = reference(first, second, positive, clusters)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.value == pytest.approx(roc_auc_score(positive, first) - roc_auc_score(positive, second), abs=1e-12)
    assert found.deviation == pytest.approx(deviation, abs=1e-12)
    assert found.p == pytest.approx(2 * norm.sf(abs(value) / deviation), abs=1e-12)
    low, high = found.bounds(0.95)
    assert (low <= 0 <= high) == (found.p >= 0.05)


def test_one_image_per_cluster_is_delongs_test():
    first, second, positive, clusters = cohort(np.random.default_rng(3), clusters=90, size=1)
    shares = []
    for scores in (first, second):
        kernel = np.sign(np.subtract.outer(scores[positive], scores[~positive])) / 2 + 0.5
        shares.append((kernel.mean(axis=1), kernel.mean(axis=0)))
    variance = sum(
        np.var(shares[0][k] - shares[1][k], ddof=1) / len(shares[0][k]) for k in range(2)
    )  # of the differences: the covariance is in them
    assert compare_areas(first, second, positive, clusters).deviation == pytest.approx(math.sqrt(variance), abs=1e-12)


def test_equal_areas_of_clustered_images_are_rarely_called_different_unless_clusters_are_ignored():
    """Each network errs in its own way about whole patients: five images of a patient tell little more than one."""
    random = np.random.default_rng(0)
    clustered, single = [], []
    for _ in range(400):
        positive = np.repeat(np.arange(60) % 2 == 0, 5)
        clusters = np.repeat(np.arange(60), 5)
        first, second = (positive + np.repeat(random.normal(size=60), 5) + random.normal(0, 0.5, 300) for _ in range(2))
        clustered.append(compare_areas(first, second, positive, clusters).p)
        single.append(compare_areas(first, second, positive, np.arange(300)).p)
    assert 0.02 <= np.mean(np.array(clustered) < 0.05) <= 0.08
    assert np.mean(np.array(single) < 0.05) > 0.25


def test_where_nothing_varies_nothing_is_tested():
    scores, positive = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    same = compare_areas(scores, scores, positive, np.arange(4))
    assert (same.value, same.deviation, same.p) == (0.0, 0.0, 1.0)
    opposite = compare_areas(scores, -scores, positive, np.arange(4))
    assert (opposite.value, opposite.p) == (1.0, None)
    assert compare_areas(scores, scores, positive, np.array([0, 1, 2, 2])) is None


# --------------------------------------------------------------------------- p-values
def test_a_bootstrap_p_agrees_with_percentile_bounds_and_is_never_nothing():
    drawn = np.random.default_rng(0).normal(1.0, 0.5, 4000)
    low = float(np.quantile(drawn, 0.025))
    assert bootstrap_p(drawn, low - 0.01) < 0.05 < bootstrap_p(drawn, low + 0.01)
    assert bootstrap_p(drawn - 9) == 2 / 4001
    assert bootstrap_p(np.append(drawn, np.nan), low) == pytest.approx(0.05, abs=1e-3)


# --------------------------------------------------------------------------- the document
CONFIG = BootstrapConfig(resamples=400)


def samples(*parts):
    return [bootstrap(part, CONFIG) for part in parts]


def test_every_pair_of_networks_has_its_p_values_corrected_within_a_metric():
    parts = [made_up_predictions(name, skill=skill, seed=3) for skill, name in enumerate(("a", "b", "c"), 1)]
    found = comparisons(samples(*parts))
    assert {entry["test"] for entry in found if entry["metric"] == "accuracy"} == {SIGNS}
    assert {entry["test"] for entry in found if entry["metric"] == "auroc"} == {DELONG}
    assert {entry["test"] for entry in found if entry["metric"] == "macro_f1"} == {BOOTSTRAP}
    families = {}
    for entry in found:
        families.setdefault((entry["metric"], entry.get("end_point")), []).append(entry)
    assert {point for metric, point in families if metric == "auroc"} == {"≥F2", "≥F3", "≥F4"}
    for members in families.values():
        assert {entry["family_size"] for entry in members} == {3}
        assert [entry["p_holm"] for entry in members] == pytest.approx(holm([entry["p"] for entry in members]))
    accuracy = families["accuracy", None][0]
    right = [(part.predicted == part.truth).reshape(60, 3).sum(axis=1) for part in parts[:2]]
    assert accuracy["p"] == pytest.approx(sign_test(right[1] - right[0]))


def test_the_order_of_the_second_networks_images_is_of_no_account():
    first, second = made_up_predictions("a"), made_up_predictions("b", skill=1.0, seed=2)
    turned = second.rows(np.random.default_rng(0).permutation(len(second)))
    assert comparisons(samples(first, turned)) == comparisons(samples(first, second))
    with pytest.raises(TableError, match="images"):
        comparisons(samples(first, replace(second, image_ids=tuple(f"x{k}" for k in range(len(second))))))


def test_differences_without_an_interval_are_not_tested_and_make_no_family_larger():
    few = [made_up_predictions(name, patients=8, seed=k) for k, name in enumerate(("a", "b"))]
    assert all("p" not in entry and "test" not in entry for entry in comparisons(samples(*few)))
    twins = [made_up_predictions("a"), made_up_predictions("b")]
    found = comparisons(samples(*twins))
    assert all("p" not in entry for entry in found)
    assert {entry["difference"]["value"] for entry in found} == {0.0}


def test_splits_are_families_of_their_own():
    parts = [made_up_predictions(name, seed=k) for k, name in enumerate(("a", "b"))]
    found = comparisons(samples(*parts, *(replace(part, split="val") for part in parts)))
    assert {entry["split"] for entry in found} == {"test", "val"}
    tested = [entry for entry in found if "p" in entry]
    assert {entry["family_size"] for entry in tested} == {1}
    assert {entry["metric"] for entry in found} == {*METRICS, "auroc"}
    assert {entry["metric"] for entry in found} - {entry["metric"] for entry in tested} <= {"adjacent_accuracy"}


@pytest.mark.slow
def test_networks_that_are_equally_good_are_told_apart_as_rarely_as_promised():
    """Two networks of one skill and errors of their own: 5 % of cohorts may seem to tell them apart."""
    cohorts, config = 400, BootstrapConfig(resamples=300)
    told = dict.fromkeys(("balanced_accuracy", "quadratic_kappa", "log_loss"), 0)
    for number in range(cohorts):
        one, other = (
            bootstrap(made_up_predictions(name, patients=100, frames=2, skill=0.8, seed=2 * number + k), config)
            for k, name in enumerate(("a", "b"))
        )
        for name in told:
            told[name] += bootstrap_p(paired_draws(METRICS[name], one, other)) < 0.05
    for name, count in told.items():
        assert 0.02 <= count / cohorts <= 0.09, (name, count)  # standard error .011
