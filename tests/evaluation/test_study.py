"""Numbers of a study: pooled over seeds, paired, corrected; restricted where an arm tells fewer stages apart."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from fibrokd.errors import TableError
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.study import CALIBRATION, Trial, difference, holm, pools, summary
from fibrokd.evaluation.study_table import study_document, study_markdown
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
    order = np.argsort(part.probabilities.max(axis=1), kind="stable")
    hit, confidence = (part.predicted == part.truth)[order], part.probabilities.max(axis=1)[order]
    edges = [k for k in range(len(order)) if k == 0 or k * 15 // len(order) != (k - 1) * 15 // len(order)]
    bins = zip(np.split(hit, edges[1:]), np.split(confidence, edges[1:]), strict=True)
    wanted = sum(abs(h.sum() - c.sum()) for h, c in bins) / len(order)
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
    assert difference(one, other, "balanced_accuracy") == {"seeds": [], "note": "no seed in common"}


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


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_keeps_the_order_and_rejects_as_the_step_down_rule_does(values):
    adjusted = holm(values)
    assert all(a >= v - 1e-12 for a, v in zip(adjusted, values, strict=True))
    assert all(a <= 1 for a in adjusted)
    order = np.argsort(values, kind="stable")
    assert all(adjusted[i] <= adjusted[j] + 1e-12 for i, j in pairwise(order.tolist()))
    rejected, m = set(), len(values)
    for rank, position in enumerate(order):  # the definition: stop at the first that is not small enough
        if values[position] > 0.05 / (m - rank):
            break
        rejected.add(int(position))
    assert rejected == {k for k, a in enumerate(adjusted) if a <= 0.05} or any(
        abs((m - r) * values[p] - 0.05) < 1e-9 for r, p in enumerate(order)
    )


def test_the_document_compares_every_arm_with_the_references_and_the_table_says_what_is_better():
    trials = [
        trial(arm, s, skill, k)
        for k, (arm, skill) in enumerate([("none", 0.3), ("kd", 0.6), ("x", 0.9)])
        for s in (0, 1)
    ]
    document = study_document(trials, {"none": "", "kd": "", "x": "new"}, ("none", "kd"), CONFIG)
    assert [row["arm"] for row in document["rows"]] == ["none", "kd", "x"]
    pairs = {(c["arm"], c["reference"]) for c in document["comparisons"]}
    assert pairs == {("kd", "none"), ("x", "none"), ("none", "kd"), ("x", "kd")}
    assert all(c["p_holm"] >= c["p"] for c in document["comparisons"])
    text = study_markdown(document)
    assert "`x` (new)" in text
    row = next(line for line in text.split("Difference from `kd`")[1].splitlines() if line.startswith("| `x`"))
    balanced, kappa, error, *_ = (cell.strip() for cell in row.split("|")[2:])
    assert all(cell.endswith("better") for cell in (balanced, kappa, error))
    assert balanced.startswith("+")
    assert error.startswith("-")
