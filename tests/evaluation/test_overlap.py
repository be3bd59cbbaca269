"""What relatives add to a figure: brute force on small tables, and laws that any figure must obey."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score

from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap, metric_interval
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.overlap import SCORES, at_levels, relatives
from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import METAVIR
from tests.evaluation.made_up import made_up_predictions

CONFIG = BootstrapConfig(resamples=200, min_clusters=10)
SPLITS = ("train", "val", "calibration", "test")


def ids_of(part, rows):
    return frozenset(part.image_ids[row] for row in rows)


def answers(truth, predicted, groups=None):
    """Return predictions with these answers; every image is a cluster unless groups are given."""
    N, K = len(truth), len(METAVIR)
    ids = tuple(f"{number:04x}" for number in range(N))
    p = np.full((N, K), 0.1)
    p[np.arange(N), predicted] = 0.6
    return Predictions("teacher", "test", ids, tuple(groups or ids), np.asarray(truth, np.int64), p, METAVIR)


def mean_recall(truth, predicted):
    return recall_score(truth, predicted, labels=np.unique(truth), average="macro")


# --------------------------------------------------------------------------- who is related
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SPLITS), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25))
def test_relatives_are_those_that_comparing_every_pair_finds(rows):
    ids = [f"i{number}" for number in range(len(rows))]
    splits = [split for split, _, _ in rows]
    levels = {"stem": [f"s{a}" for _, a, _ in rows], "content": [f"c{b}" for _, _, b in rows]}
    found = relatives(ids, splits, levels)
    assert set(found) == set(splits) - {"train"}
    for split, by_level in found.items():
        sources = {"train"} if split == "val" else {"train", "val"}
        for level, groups in levels.items():
            expected = {
                ids[i]
                for i in range(len(rows))
                for j in range(len(rows))
                if splits[i] == split and splits[j] in sources and groups[i] == groups[j]
            }
            assert by_level[level] == expected


# --------------------------------------------------------------------------- figures
def test_figures_and_intervals_are_those_of_drawing_images_one_by_one():
    part = made_up_predictions(patients=25, frames=4, skill=1.0, seed=5)
    random = np.random.default_rng(1)
    related = random.random(len(part)) < 0.5
    row = at_levels(bootstrap(part, CONFIG), {"content": ids_of(part, np.flatnonzero(related))})["content"]
    truth, predicted = part.truth, part.predicted
    oracles = {"accuracy": accuracy_score, "balanced_accuracy": mean_recall}
    groups = sorted(set(part.groups))
    members = {g: np.flatnonzero([x == g for x in part.groups]) for g in groups}
    draw = np.random.default_rng(CONFIG.seed)
    drawn = [
        np.concatenate([members[groups[g]] for g in draw.integers(len(groups), size=len(groups))])
        for _ in range(CONFIG.resamples)
    ]
    for name, oracle in oracles.items():
        left, others = np.flatnonzero(~related), np.flatnonzero(related)
        assert row.left.scores[name].value == pytest.approx(oracle(truth[left], predicted[left]), abs=1e-12)
        assert row.related.scores[name].value == pytest.approx(oracle(truth[others], predicted[others]), abs=1e-12)
        of_left, gaps = [], []
        for rows in drawn:
            kept = rows[~related[rows]]
            of_left.append(oracle(truth[kept], predicted[kept]))
            gaps.append(100 * (oracle(truth[rows], predicted[rows]) - of_left[-1]))
        score, gap = row.left.scores[name], row.gap_points[name]
        assert (score.low, score.high) == pytest.approx(tuple(np.quantile(of_left, [0.025, 0.975])), abs=1e-12)
        assert (gap.low, gap.high) == pytest.approx(tuple(np.quantile(gaps, [0.025, 0.975])), abs=1e-9)
        assert gap.value == pytest.approx(100 * (oracle(truth, predicted) - oracle(truth[left], predicted[left])))
    assert (row.left.images, row.related.images) == ((~related).sum(), related.sum())
    assert row.left.clusters == len({g for g, r in zip(part.groups, related, strict=True) if not r})


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(0.35, 0.65))
def test_the_accuracy_on_all_images_is_the_mean_of_both_portions_and_order_is_irrelevant(seed, share):
    part = made_up_predictions(patients=40, frames=3, skill=1.0, seed=seed % 1000)
    random = np.random.default_rng(seed)
    tied = {"content": ids_of(part, np.flatnonzero(random.random(len(part)) < share))}
    row = at_levels(bootstrap(part, CONFIG), tied)["content"]
    left, related = row.left, row.related
    assume(None not in (left.scores["accuracy"].value, related.scores["accuracy"].value))  # a stage may be missing
    pooled = left.images * left.scores["accuracy"].value + related.images * related.scores["accuracy"].value
    assert pooled / len(part) == pytest.approx(accuracy_score(part.truth, part.predicted), abs=1e-12)
    order = random.permutation(len(part))
    shuffled = replace(
        part,
        image_ids=tuple(part.image_ids[k] for k in order),
        groups=tuple(part.groups[k] for k in order),
        truth=part.truth[order],
        probabilities=part.probabilities[order],
    )
    again = at_levels(bootstrap(shuffled, CONFIG), tied)["content"]
    for name in SCORES:
        assert again.gap_points[name].value == pytest.approx(row.gap_points[name].value, abs=1e-9)
        assert again.gap_points[name].low == pytest.approx(row.gap_points[name].low, abs=1e-9)


def test_a_memoriser_is_caught_at_the_level_that_ties_what_it_knows_and_at_no_looser_one():
    # 300 contents in five copies each, one of them in test; of two thirds of the contents the others are learned.
    random = np.random.default_rng(0)
    contents = np.repeat(np.arange(300), 5)
    stages = contents % 5
    splits = np.where((np.arange(1500) % 5 == 0), "test", np.where(contents < 200, "train", "calibration"))
    ids = [f"{number:04x}" for number in range(1500)]
    levels = {
        "random": ids,
        "stem": [f"name {number}" for number in range(1500)],
        "content": [f"content {number}" for number in contents],
    }
    tied = relatives(ids, list(splits), levels)["test"]
    test = np.flatnonzero(splits == "test")
    knows = np.array([contents[row] in set(contents[splits == "train"]) for row in test])
    guess = random.integers(0, 5, len(test))
    p = np.full((len(test), 5), 0.1)
    p[np.arange(len(test)), np.where(knows, stages[test], guess)] = 0.6
    part = Predictions(
        "teacher", "test", tuple(ids[row] for row in test), tuple(f"c{contents[row]}" for row in test), stages[test], p,
        METAVIR,
    )  # fmt: skip
    rows = at_levels(bootstrap(part, CONFIG), tied)
    for level in ("random", "stem"):
        assert rows[level].left.images == 300
        assert rows[level].gap_points["accuracy"].value == 0.0
    caught = rows["content"]
    assert (caught.left.images, caught.related.images) == (100, 200)
    assert caught.related.scores["accuracy"].value == 1.0
    assert caught.left.scores["accuracy"].value == pytest.approx(0.2, abs=0.1)
    for name in SCORES:
        gap = caught.gap_points[name]
        assert gap.value == pytest.approx(100 * (2 / 3) * 0.8, abs=8)
        assert gap.low > 30
        assert gap.low < gap.value < gap.high


def test_an_honest_split_has_no_gap_and_the_very_figures_of_the_headline():
    part = made_up_predictions(patients=30, frames=2)
    sample = bootstrap(part, CONFIG)
    rows = at_levels(sample, dict.fromkeys(("random", "stem", "content", "all", "subject"), frozenset()))
    for row in rows.values():
        assert row.left.images == len(part)
        for name in SCORES:
            assert row.left.scores[name] == metric_interval(METRICS[name], sample)
            gap = row.gap_points[name]
            assert (gap.value, gap.low, gap.high) == (0.0, None, None)
            assert gap.note == "zero by construction: no image is left out"
        assert row.related.images == 0
        assert row.related.scores["accuracy"].note == "not estimable: no image has a relative at this level"


def test_relatives_that_add_nothing_give_a_gap_whose_interval_holds_zero():
    part = made_up_predictions(patients=100, frames=3, skill=1.0, seed=2)
    related = np.random.default_rng(3).random(len(part)) < 0.5
    row = at_levels(bootstrap(part, CONFIG), {"content": ids_of(part, np.flatnonzero(related))})["content"]
    assert row.gap_points["accuracy"].low < 0 < row.gap_points["accuracy"].high


# --------------------------------------------------------------------------- what cannot be told
def test_nothing_left_is_not_estimable_and_the_related_images_are_the_whole_split():
    part = made_up_predictions(patients=20, frames=2)
    sample = bootstrap(part, CONFIG)
    row = at_levels(sample, {"all": frozenset(part.image_ids)})["all"]
    assert row.left.images == row.left.clusters == 0
    for missing in (row.left.scores["accuracy"], row.gap_points["balanced_accuracy"]):
        assert (missing.value, missing.low) == (None, None)
        assert missing.note == "not estimable: no image lacks a relative at this level"
    assert row.related.scores["accuracy"] == metric_interval(METRICS["accuracy"], sample)


def test_too_few_clusters_are_not_estimable_however_many_images_they_hold():
    part = made_up_predictions(patients=30, frames=10)
    kept = np.arange(len(part)) // 10 < 9
    row = at_levels(bootstrap(part, CONFIG), {"all": ids_of(part, np.flatnonzero(~kept))})["all"]
    assert (row.left.images, row.left.clusters) == (90, 9)
    note = "not estimable: only 9 clusters hold an image that lacks a relative (at least 10 needed)"
    assert row.left.scores["accuracy"].note == row.gap_points["accuracy"].note == note
    assert row.related.scores["accuracy"].value is not None


def test_a_stage_that_is_not_among_the_images_left_makes_them_incomparable():
    truth = np.arange(100) % 5
    part = answers(truth, truth)
    row = at_levels(bootstrap(part, CONFIG), {"content": ids_of(part, np.flatnonzero(np.isin(truth, [1, 3])))})
    note = row["content"].left.scores["accuracy"].note
    assert note == "not estimable: no image of stage F1, F3 lacks a relative"
    assert row["content"].gap_points["accuracy"].value is None
    assert (
        row["content"].related.scores["accuracy"].note == "not estimable: no image of stage F0, F2, F4 has a relative"
    )


def test_a_stage_that_the_whole_split_lacks_is_not_missed():
    truth = np.arange(100) % 4
    part = answers(truth, (truth + (np.arange(100) % 3 == 0)) % 5)
    row = at_levels(bootstrap(part, CONFIG), {"content": ids_of(part, range(0, 100, 2))})
    assert row["content"].left.scores["accuracy"].note.startswith("not estimable")  # every second: F0 and F2 only
    row = at_levels(bootstrap(part, CONFIG), {"content": ids_of(part, range(50))})
    assert row["content"].left.scores["accuracy"].value is not None


def test_a_few_clusters_that_all_failed_give_a_gap_without_an_interval():
    truth = np.arange(100) % 5
    part = answers(truth, np.where(np.arange(100) < 80, truth, (truth + 1) % 5))
    gap = at_levels(bootstrap(part, CONFIG), {"all": ids_of(part, range(80))})["all"].gap_points["accuracy"]
    assert gap.value == pytest.approx(80)
    assert (gap.low, gap.high) == (None, None)
    assert gap.note == "no interval: all clusters gave the same answer on the images left"


def test_resamples_that_hold_no_image_that_is_left_are_left_out_of_the_gap():
    truth = np.arange(2000) % 5
    groups = [f"g{number:04d}" for number in range(2000)]
    part = answers(truth, np.where(np.arange(2000) % 3 == 0, truth, (truth + 1) % 5), groups)
    config = BootstrapConfig(resamples=200, min_clusters=2)
    two = at_levels(bootstrap(part, config), {"all": ids_of(part, range(2000 - 5))})["all"]
    assert two.left.images == 5
    assert two.gap_points["accuracy"].value is not None
    assert two.gap_points["accuracy"].note.endswith("of the resamples left out, where it is not estimable")
