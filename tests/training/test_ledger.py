"""The ledger: attempts add up, peaks do not, every answer of a teacher is counted, and nothing uncounted is 0."""

import itertools
import json

import pytest
import torch

from fibrokd.pipeline import distill
from fibrokd.training.dataset import Batch
from fibrokd.training.ledger import COST, measured, measured_phase
from fibrokd.training.networks import StagingNetwork, build, parameter_count
from fibrokd.training.runtime import Runtime
from fibrokd.training.teachers import LiveTeacher
from tests.methods.arrangements import ARRANGEMENTS
from tests.methods.tiny import configuration, killed_after, write_tiny

CPU = torch.device("cpu")
OWN = {"defective_kd": 60, "tf_kd_self": 60, "dil": 160, "self_knowledge_ls": 40}
"""Images that teachers trained on the way answer, of 20 training images: three epochs of the student with a frozen
teacher; M answers in every epoch of the student, and its own to every epoch of feedback; all epochs but the first."""


def _batch(size):
    few = torch.zeros(size, dtype=torch.int64)
    return Batch(torch.zeros(size, 1, 32, 32), few, few, torch.ones(size), few, few, 0)


def _teacher(seed=0):
    return LiveTeacher(build("tiny", 5, False, None, seed), Runtime("fp32", "nchw"), CPU)


def _cost(folder):
    return json.loads((folder / COST).read_text())


def _kill(folder):
    """Begin work that never comes to its end."""
    context = measured(folder, CPU)
    context.__enter__()
    return context


def test_attempts_add_up_failed_ones_too(tmp_path):
    teacher = _teacher()
    with measured(tmp_path, CPU, [teacher]):
        teacher.signal(_batch(3))
    first = _cost(tmp_path)

    def fail():
        with measured(tmp_path, CPU, [teacher]):
            teacher.signal(_batch(4))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        fail()
    second = _cost(tmp_path)
    assert (first["attempts"], first["teacher_forwards"]) == (1, 3)
    assert (second["attempts"], second["attempts_begun"], second["teacher_forwards"]) == (2, 2, 7)
    assert second["wall_seconds"] > first["wall_seconds"] > 0
    assert second["cpu_seconds"] > first["cpu_seconds"] > 0
    assert second["peak_memory_mb"] >= second["peak_memory_before_mb"] > 0
    assert second["peak_device_memory_mb"] == 0
    assert second["teacher_weights_mb"] == first["teacher_weights_mb"]
    assert first["teacher_weights_mb"] == pytest.approx(4 * parameter_count(teacher.network) / 2**20, rel=0.01)


def test_without_a_teacher_none_is_counted(tmp_path):
    with measured(tmp_path, CPU):
        pass
    cost = _cost(tmp_path)
    assert (cost["teacher_forwards"], cost["own_teacher_forwards"], cost["teacher_weights_mb"]) == (0, 0, 0)


def test_answers_of_teachers_that_were_not_given_are_counted_apart(tmp_path):
    given, own = _teacher(), _teacher(1)
    own.signal(_batch(5))  # before
    with measured(tmp_path, CPU, [given]):
        given.signal(_batch(3))
        own.signal(_batch(4))
        own.count(2)  # asked directly
    cost = _cost(tmp_path)
    assert (cost["teacher_forwards"], cost["own_teacher_forwards"]) == (3, 6)


def test_a_killed_attempt_leaves_a_trace(tmp_path):
    context = _kill(tmp_path)
    with measured(tmp_path, CPU):
        pass
    cost = _cost(tmp_path)
    assert (cost["attempts"], cost["attempts_begun"]) == (1, 2)
    del context


def test_a_folder_with_work_in_it_and_no_costs_was_left_by_an_attempt_that_nobody_noted(tmp_path):
    (tmp_path / "phases").mkdir()
    with measured(tmp_path, CPU):
        pass
    assert (_cost(tmp_path)["attempts"], _cost(tmp_path)["attempts_begun"]) == (1, 2)


def test_what_an_earlier_version_did_not_count_is_not_begun_to_be_counted_halfway(tmp_path):
    (tmp_path / COST).write_text(json.dumps({"attempts": 1, "wall_seconds": 5.0, "teacher_forwards": 7}))
    with measured(tmp_path, CPU), measured_phase(tmp_path, "train", 0) as trained:
        _teacher().signal(_batch(2))
        trained.images = 10
    cost = _cost(tmp_path)
    assert (cost["attempts"], cost["teacher_forwards"]) == (2, 7)
    assert cost["wall_seconds"] > 5
    assert not {"own_teacher_forwards", "attempts_begun", "phases"} & set(cost)


def test_a_phase_adds_its_seconds_and_keeps_its_images_and_its_place(tmp_path):
    for attempt, images in ((1, 0), (2, 30)):
        with measured(tmp_path, CPU):
            for number, name in enumerate(("first", "second")):
                with measured_phase(tmp_path, name, number) as trained:
                    sum(range(200_000))
                    trained.images = images + number
        entries = _cost(tmp_path)["phases"]
        assert [(e["name"], e["network"], e["images_trained"]) for e in entries] == [
            ("first", 0, images),
            ("second", 1, images + 1),
        ]
        if attempt == 1:
            before = [entry["seconds"] for entry in entries]
    assert all(entry["seconds"] > seconds > 0 for entry, seconds in zip(entries, before, strict=True))


def test_a_phase_that_nobody_measures_leaves_nothing(tmp_path):
    with measured_phase(tmp_path, "train", 0):
        pass
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------------- methods that train their own teachers
@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("ledger") / "prepared")


@pytest.fixture
def seen(monkeypatch):
    """Images that went through networks: while gradients were on, and as teachers do, without."""
    whole, counted = StagingNetwork.forward, {"trained": 0, "answered": 0}

    def forward(self, images, *rest, **named):
        if not torch.is_inference_mode_enabled():  # neither validation nor a probe of speed
            counted["trained" if torch.is_grad_enabled() else "answered"] += len(images)
        return whole(self, images, *rest, **named)

    monkeypatch.setattr(StagingNetwork, "forward", forward)
    return counted


def _configuration(prepared, kind):
    how = ARRANGEMENTS.get(kind, {})
    changes = {"supervised": how["supervised"]} if "supervised" in how else {}
    return configuration(prepared, {"kind": kind, **how.get("method", {})}, **changes)


@pytest.mark.parametrize("kind", OWN)
def test_all_that_goes_through_networks_made_on_the_way_is_counted(prepared, tmp_path, seen, kind):
    distill.run(_configuration(prepared, kind), tmp_path)
    cost = _cost(tmp_path)
    assert cost["teacher_forwards"] == 0
    assert cost["own_teacher_forwards"] == seen["answered"] == OWN[kind]
    assert sum(phase["images_trained"] for phase in cost["phases"]) == seen["trained"]
    assert cost["wall_seconds"] >= sum(phase["seconds"] for phase in cost["phases"]) > 0


def test_assistants_are_other_networks_and_the_student_is_the_last_one(prepared, tmp_path):
    distill.run(_configuration(prepared, "dil"), tmp_path)
    phases = _cost(tmp_path)["phases"]
    images = {
        number: sum(phase["images_trained"] for phase in group)
        for number, group in itertools.groupby(
            sorted(phases, key=lambda phase: phase["network"]), lambda phase: phase["network"]
        )
    }
    assert phases[-1]["network"] == 2
    assert images == {0: 60, 1: 60, 2: 60}  # 20 images: 2 epochs alone and 1 of feedback; 3 of the student


def test_a_run_that_was_cut_counts_what_a_whole_one_does(prepared, tmp_path):
    config = _configuration(prepared, "tf_kd_self")
    distill.run(config, tmp_path / "whole")
    for epochs in (2, 2):
        with killed_after(epochs):
            distill.run(config, tmp_path / "cut")
    distill.run(config, tmp_path / "cut")
    whole, cut = _cost(tmp_path / "whole"), _cost(tmp_path / "cut")
    assert cut["attempts"] == cut["attempts_begun"] == 3
    assert cut["own_teacher_forwards"] == whole["own_teacher_forwards"] == 60
    assert [p["images_trained"] for p in cut["phases"]] == [p["images_trained"] for p in whole["phases"]] == [60, 60]
