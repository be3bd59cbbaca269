from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as oracle

from fibrokd.errors import TableError
from fibrokd.evaluation import intervals
from fibrokd.evaluation.intervals import (
    BootstrapConfig,
    bootstrap,
    draw_counts,
    metric_interval,
    paired_difference,
    stage_interval,
)
from fibrokd.evaluation.metrics import METRICS, STAGE_METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.stages import METAVIR
from tests.evaluation.made_up import made_up_predictions

QUICK = BootstrapConfig(resamples=100)


def _resampled_rows(part: Predictions, config: BootstrapConfig) -> list[np.ndarray]:
    """Rows of the images of every resample, spelled out one by one."""
    groups = sorted(set(part.groups))
    rows = {group: np.flatnonzero(np.array(part.groups) == group) for group in groups}
    counts = np.concatenate(list(draw_counts(len(groups), config)))
    return [
        np.concatenate([np.tile(rows[group], int(times)) for group, times in zip(groups, line, strict=True)])
        for line in counts
    ]


def test_the_interval_equals_resampling_every_image_by_hand() -> None:
    part = made_up_predictions(patients=25, frames=4, skill=0.7)
    sample = bootstrap(part, QUICK)
    by_hand: dict[str, list[float]] = {"balanced_accuracy": [], "quadratic_kappa": [], "log_loss": []}
    recall_f3 = []
    for rows in _resampled_rows(part, QUICK):
        truth, predicted, p = part.truth[rows], part.predicted[rows], part.probabilities[rows]
        recalls = oracle.recall_score(truth, predicted, labels=range(5), average=None, zero_division=np.nan)
        by_hand["balanced_accuracy"].append(float(np.nanmean(recalls)))
        kappa = oracle.cohen_kappa_score(truth, predicted, labels=range(5), weights="quadratic")
        by_hand["quadratic_kappa"].append(kappa)
        by_hand["log_loss"].append(oracle.log_loss(truth, p, labels=range(5)))
        recall_f3.append(recalls[3])
    for name, values in by_hand.items():
        found = metric_interval(METRICS[name], sample)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-9), name
    few = bootstrap(part, QUICK.model_copy(update={"min_clusters": 2}))
    found = stage_interval(STAGE_METRICS["recall"], 3, few)
    assert found.clusters == 5
    assert (found.low, found.high) == pytest.approx(tuple(np.nanquantile(recall_f3, [0.025, 0.975])), abs=1e-9)


def test_a_paired_difference_equals_resampling_both_networks_by_hand_whatever_the_order_of_rows() -> None:
    a, b = made_up_predictions("a", 25, skill=2.0, seed=1), made_up_predictions("b", 25, skill=1.0, seed=2)
    back = np.arange(len(b))[::-1]
    shuffled = Predictions(
        "b", "test", b.image_ids[::-1], b.groups[::-1], b.truth[back], b.probabilities[back], b.scale
    )
    values = [
        np.mean(a.truth[rows] == a.predicted[rows]) - np.mean(b.truth[rows] == b.predicted[rows])
        for rows in _resampled_rows(a, QUICK)
    ]
    found = paired_difference(METRICS["accuracy"], bootstrap(a, QUICK), bootstrap(shuffled, QUICK))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)
    assert found.value == pytest.approx(np.mean(a.truth == a.predicted) - np.mean(b.truth == b.predicted))


def test_pairing_makes_the_interval_of_a_difference_narrower_than_the_two_single_intervals_suggest() -> None:
    a = made_up_predictions("a", 100, skill=1.0)
    p = 0.9 * a.probabilities + 0.1 * made_up_predictions("a", 100, skill=3.0).probabilities
    first, second = bootstrap(replace(a, network="b", probabilities=p)), bootstrap(a)
    paired = paired_difference(METRICS["accuracy"], first, second)
    single = [metric_interval(METRICS["accuracy"], sample) for sample in (first, second)]
    unpaired_width = np.hypot(*(interval.high - interval.low for interval in single))
    assert paired.high - paired.low < 0.8 * unpaired_width


def test_networks_assessed_on_different_images_are_not_compared() -> None:
    first = bootstrap(made_up_predictions("a", 20), QUICK)
    other_images = bootstrap(made_up_predictions("b", 21), QUICK)
    part = made_up_predictions("b", 20)
    other_truth = bootstrap(replace(part, truth=(part.truth + 1) % 5), QUICK)
    with pytest.raises(TableError, match="3 images occur in one of the two only, 0 have another"):
        paired_difference(METRICS["accuracy"], first, other_images)
    with pytest.raises(TableError, match="0 images occur in one of the two only, 60 have another"):
        paired_difference(METRICS["accuracy"], first, other_truth)
    with pytest.raises(TableError, match="resampled differently"):
        paired_difference(METRICS["accuracy"], first, bootstrap(made_up_predictions("b", 20)))


def test_few_patients_get_a_value_and_no_interval_however_many_images_they_have() -> None:
    found = metric_interval(METRICS["accuracy"], bootstrap(made_up_predictions(patients=9, frames=50)))
    assert found.value is not None
    assert (found.low, found.high) == (None, None)
    assert found.note == "no interval from 9 clusters (at least 10 needed)"


def test_a_stage_is_judged_by_the_patients_who_have_it() -> None:
    sample = bootstrap(made_up_predictions(patients=45))  # nine patients per stage
    assert metric_interval(METRICS["accuracy"], sample).low is not None
    assert stage_interval(STAGE_METRICS["recall"], 2, sample).note.startswith("no interval from 9 clusters")
    assert stage_interval(STAGE_METRICS["specificity"], 2, sample).low is not None


def test_what_cannot_be_estimated_says_so() -> None:
    one_stage = made_up_predictions(patients=20)
    part = replace(one_stage, truth=np.zeros_like(one_stage.truth), probabilities=np.eye(5)[one_stage.truth * 0])
    sample = bootstrap(part, QUICK)
    kappa = metric_interval(METRICS["quadratic_kappa"], sample)
    assert kappa.value is None
    assert "one and the same" in kappa.note
    precision = stage_interval(STAGE_METRICS["precision"], 4, sample)
    assert (precision.value, precision.clusters) == (None, 0)
    assert precision.note == "not estimable: no image is predicted as this stage"
    macro = metric_interval(METRICS["macro_f1"], sample)
    assert (macro.value, macro.low) == (1.0, None)
    assert "same value" in macro.note


def test_a_flawless_network_is_not_called_certain() -> None:
    part = made_up_predictions(patients=30)
    sample = bootstrap(replace(part, probabilities=np.eye(5)[part.truth]))
    found = metric_interval(METRICS["accuracy"], sample)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.025 ** (1 / 30))  # Clopper–Pearson for 30 of 30


def test_a_value_missing_in_many_resamples_gets_no_interval() -> None:
    part = made_up_predictions(patients=30, frames=1)
    truth = np.zeros_like(part.truth)
    truth[0] = 1
    p = np.eye(5)[truth * 0]
    sample = bootstrap(replace(part, truth=truth, probabilities=p), BootstrapConfig(min_clusters=2, seed=3))
    found = metric_interval(METRICS["quadratic_kappa"], sample)
    assert found.value == pytest.approx(0)
    assert found.low is None
    assert "not estimable in 3" in found.note  # (29/30)^30 = 36 % of the resamples lack the only F1 patient


def test_intervals_depend_on_the_seed_only_and_not_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    part = made_up_predictions(patients=40)
    once = bootstrap(part, QUICK)
    monkeypatch.setattr(intervals, "_BLOCK_BYTES", 8 * 40 * 7)
    again = bootstrap(part, QUICK)
    np.testing.assert_array_equal(once.resampled.confusion, again.resampled.confusion)
    other = bootstrap(part, QUICK.model_copy(update={"seed": 1}))
    assert (once.resampled.confusion != other.resampled.confusion).any()


def test_resampling_images_as_if_independent_under_covers_and_resampling_patients_does_not() -> None:
    """Patients are right or wrong as a whole: nominal 95 % intervals over 200 simulated studies."""
    random = np.random.default_rng(0)
    patients, frames, share = 60, 8, 0.7
    truth = np.repeat(np.arange(patients) % 5, frames)
    ids = tuple(str(i) for i in range(patients * frames))
    clusters = tuple(np.repeat([f"P{i}" for i in range(patients)], frames).tolist())
    config = BootstrapConfig(resamples=200)
    covered = {"patients": 0, "images": 0}
    for _ in range(200):
        right = np.repeat(random.random(patients) < share, frames)
        p = np.eye(5)[np.where(right, truth, (truth + 1) % 5)]
        for name, groups in {"patients": clusters, "images": ids}.items():
            part = Predictions("n", "test", ids, groups, truth, p, METAVIR)
            found = metric_interval(METRICS["accuracy"], bootstrap(part, config))
            covered[name] += found.low <= share <= found.high
    assert covered["patients"] / 200 > 0.91
    assert covered["images"] / 200 < 0.60
