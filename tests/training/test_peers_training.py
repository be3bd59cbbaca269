"""Whole trainings beside another library: equal starts, equal pictures, one teacher, and ratios that are of seconds."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from benchmarks.peers import command, training
from benchmarks.peers.accuracy import difference, over_trainings, resampled
from benchmarks.peers.common import BATCH_NORM_MOMENTUM, MATERIAL, fresh, weights_digest
from benchmarks.peers.here import Here
from benchmarks.peers.material import NO_MIXUP, dropout_seeds, pictures, write_material
from benchmarks.peers.pictures import Pictures, cohort
from benchmarks.peers.teacher import trained_teacher
from benchmarks.peers.there import There
from fibrokd.training.runtime import seed_step

PEER = os.environ.get("FIBROKD_PEER_PYTHON")


def _options(*more: str) -> argparse.Namespace:
    small = "--training --teacher resnet18 --student resnet18 --side 32 --train-images 12 --test-patients 10 --batch 4"
    brief = "--epochs 2 --teacher-epochs 1 --teacher-batch 4 --threads 1 --students 2"
    return command.read_options([*small.split(), *brief.split(), *more])


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("material")
    options = _options()
    train, test = pictures(options)
    teacher = trained_teacher(train, NO_MIXUP, options, folder)
    write_material(folder, train, test, teacher, options)
    return folder


@pytest.fixture(scope="module")
def here(material: Path) -> Here:
    return Here(material)


@pytest.fixture(scope="module")
def book(here: Here) -> dict[str, Any]:
    return here.book()


def test_no_patient_is_learned_from_and_asked_about() -> None:
    train, test = pictures(_options())
    assert not set(train.patients) & set(test.patients)
    assert len(train.stages) == 12
    assert len(set(test.patients)) == 10
    assert not (train.pixels[:, None] == test.pixels[None]).all((2, 3)).any()


def test_the_frames_of_a_patient_are_different_pictures_of_one_stage() -> None:
    few = cohort("x", 2, 2, 32, 0)
    assert few.patients[0] == few.patients[1] != few.patients[2]
    assert few.stages[0] == few.stages[1]
    assert not np.array_equal(few.pixels[0], few.pixels[1])
    assert len(set(few.image_ids)) == 4


def test_both_sides_see_bit_equal_pictures_in_the_same_order(material: Path, here: Here) -> None:
    there = There(material)
    for epoch in range(2):
        ours = list(here.images.batches(epoch, 4))
        theirs = list(there.batches(epoch))
        assert len(ours) == len(theirs) == 3
        for batch, (images, stages) in zip(ours, theirs, strict=True):
            assert torch.equal(batch.images, images)
            assert torch.equal(batch.stages, stages)


def test_both_sides_start_from_the_weights_that_were_written_and_students_differ(material: Path, here: Here) -> None:
    written = torch.load(material / MATERIAL, weights_only=True)["students"]
    digests = []
    for number in range(2):
        network = fresh("resnet18", 77)
        network.load_state_dict(written[number])
        digests.append(weights_digest(network))
    assert digests == [weights_digest(fresh("resnet18", number)) for number in range(2)]
    assert digests[0] != digests[1]


def test_the_book_says_what_the_live_teacher_says_on_both_sides(
    material: Path, here: Here, book: dict[str, Any]
) -> None:
    assert here.check() < 1e-3
    theirs = There(material).first_answers()
    assert training.relative(book["first_answers"], theirs) < 1e-3
    assert np.std(theirs, axis=0).max() > 1e-2  # they are not all the same, or equality would mean nothing


def test_a_book_of_another_teacher_is_seen(here: Here, book: dict[str, Any]) -> None:
    layer = here.teacher.network.network.body.fc
    kept = layer.bias.detach().clone()
    with torch.no_grad():
        layer.bias += 0.01
    try:
        assert here.check() > 5e-3
    finally:
        layer.bias.data.copy_(kept)


def test_a_student_is_trained_whole_from_the_book(material: Path, here: Here, book: dict[str, Any]) -> None:
    forwards = here.teacher.forwards
    found = here.student(1)
    assert here.teacher.forwards == forwards  # the book answered
    assert found["start"] == weights_digest(fresh("resnet18", 1))
    assert len(found["losses"]) == 2
    assert np.shape(found["logits"]) == (20, 5)
    assert found["runtime"] == {"precision": "fp32", "memory_format": "channels_last"}
    assert json.loads(json.dumps(found)) == found


def test_dropout_is_seeded_as_the_loop_seeds_it() -> None:
    seeds = list(dropout_seeds(3, 2, 2))
    seed_step(3, 1, 0, 0)
    assert seeds[2] == torch.initial_seed()
    assert len(set(seeds)) == 4


def test_statistics_of_the_common_networks_keep_up_with_short_trainings() -> None:
    norms = [m for m in fresh("mobilenet_v3_small", 0).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in norms} == {BATCH_NORM_MOMENTUM}


def test_ratios_are_of_the_seconds() -> None:
    seconds = {"book": 30.0, "views": 3.0, "here": [20.0, 10.0, 14.0], "there": [100.0, 90.0, 110.0]}
    assert training.ratios(seconds) == {
        "ratio_second": round(100 / 12, 3),
        "ratio_first": 2.0,
        "ratio_all": round(300 / 74, 3),
        "views_share": 0.25,
    }


def test_without_a_second_student_or_a_peer_there_is_no_ratio() -> None:
    assert training.ratios({"book": 1.0, "views": 1.0, "here": [2.0], "there": [8.0]})["ratio_second"] is None
    alone = training.ratios({"book": 1.0, "views": 1.0, "here": [2.0, 2.0], "there": []})
    assert alone == {"ratio_second": None, "ratio_first": None, "ratio_all": None, "views_share": 0.5}


def test_students_that_start_from_other_weights_are_refused() -> None:
    one = {"start": "a", "losses": [1.0]}
    with pytest.raises(SystemExit, match="same weights"):
        training.beside({"here": [one], "there": [{**one, "start": "b"}]}, [[1.0]], [[1.0]])
    found = training.beside({"here": [one], "there": [{**one, "losses": [0.5]}]}, [[4.0]], [[5.0]])
    assert found == {"teacher_difference": 0.2, "loss_differences": [[0.5]]}


def _answers(right: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """Logits that are right where told, and one stage off elsewhere."""
    said = np.where(right, stages, (stages + 1) % 5)
    return 4.0 * np.eye(5)[said]


def _test_pictures(patients: int) -> Pictures:
    stages = np.arange(patients) % 5
    return Pictures(np.zeros((patients, 1, 1), np.uint8), stages, tuple(f"p{k}" for k in range(patients)))


def test_students_are_the_same_where_the_interval_holds_zero() -> None:
    test = _test_pictures(100)
    half = np.arange(100) % 20 < 10
    good, other, bad = (
        resampled("n", _answers(r, test.stages), test) for r in (half, ~half, half & (half.cumsum() % 2 == 0))
    )
    assert difference(good, other)["same"] is True
    assert difference(good, other)["agreement"] == 0.0
    worse = difference(bad, good)
    assert worse["same"] is False
    assert worse["high"] < 0
    assert difference(good, good)["same"] is True


def test_the_difference_of_two_programs_is_that_over_trainings() -> None:
    differences = [0.03, -0.05, 0.01, 0.02, -0.02]
    found, reference = over_trainings(differences), stats.ttest_1samp(differences, 0.0)
    bounds = reference.confidence_interval(0.95)
    assert found["value"] == pytest.approx(np.mean(differences), abs=1e-4)
    assert [found["low"], found["high"]] == pytest.approx([bounds.low, bounds.high], abs=1e-4)
    assert found["holds_zero"] is True
    assert over_trainings([value + 0.1 for value in differences])["holds_zero"] is False


def test_two_trainings_tell_nothing_of_programs() -> None:
    found = over_trainings([0.1, 0.1])
    assert found["value"] == 0.1
    assert (found["low"], found["high"], found["holds_zero"]) == (None, None, None)


def test_too_few_patients_tell_nothing() -> None:
    test = _test_pictures(5)
    sample = resampled("n", _answers(np.ones(5, bool), test.stages), test)
    assert difference(sample, sample)["same"] is None


def test_defaults_follow_what_is_compared() -> None:
    steps, whole = command.read_options([]), command.read_options(["--training"])
    assert (steps.student, steps.side, steps.threads) == ("resnet18", 128, 1)
    assert (whole.student, whole.side, whole.threads) == ("mobilenet_v3_small", 224, 2)
    assert "epochs" not in command.settings(steps)
    assert "repeats" not in command.settings(whole)


@pytest.mark.slow
def test_without_a_peer_our_side_runs_whole_and_a_second_call_finds_the_teacher_again(tmp_path: Path) -> None:
    options = _options("--work", str(tmp_path / "kept"), "--students", "1")
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.append(training.measure(options, tmp_path / name))
    assert [run["teacher_reused"] for run in found] == [False, True]
    assert found[0]["balanced_accuracy"]["here"] == found[1]["balanced_accuracy"]["here"]
    assert "--peer" in found[0]["peer"]
    assert found[0]["ratio_second"] is None
    assert found[0]["same_within_interval"] is None


@pytest.mark.slow
def test_both_sides_take_the_same_training(tmp_path: Path) -> None:
    python = Path(PEER) if PEER else Path(sys.executable)
    if not PEER and importlib.util.find_spec("torchdistill") is None:
        pytest.skip("torchdistill is not installed here, and FIBROKD_PEER_PYTHON names no python that has it")
    # A low rate and the first epoch: what fp16 rounds off grows within a few steps of so small batches.
    found = training.measure(_options("--peer", str(python), "--learning-rate", "1e-4"), tmp_path)
    assert found["teacher_difference"] < 1e-3
    assert [losses[0] < 1e-3 for losses in found["loss_differences"]] == [True, True]
    seconds = found["seconds"]
    assert found["ratio_first"] == pytest.approx(seconds["there"][0] / (seconds["book"] + seconds["here"][0]), rel=0.05)
    assert [run["patients"] for run in found["balanced_accuracy"]["there"]] == [10, 10]
    assert all(found["peak_mb"].values())
