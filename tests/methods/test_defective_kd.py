"""Defective distillation: the teacher stops in its band, and one outside of it is refused."""

import json

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError
from fibrokd.methods.defective_kd import METHOD, Band, DefectiveKdConfig
from fibrokd.pipeline import distill
from fibrokd.training import loop
from fibrokd.training.carry_out import PHASES, carry_out
from tests.methods.coefficients import ALONE, SHARED, VANILLA, Weighed
from tests.methods.tiny import (
    check_exact_resume,
    configuration,
    killed_after,
    shipped,
    weights,
    workshop,
)

WEIGHED = Weighed(SHARED, {"undertrained": ALONE, "distil": VANILLA})

KIND = {"kind": "defective_kd", "teacher_backbone": "tiny", "teacher_epochs": 4}


@pytest.fixture
def scored(monkeypatch):
    """Let the validation of the teacher's first epochs say what a test wants; 0.9 where nothing is wanted."""

    def say(*scores):
        def validate(trainer):
            undertrained = trainer.task.name.endswith("undertrained")
            epoch = trainer.progress.epoch
            score = scores[epoch] if undertrained and epoch < len(scores) else 0.9
            # The epoch that enters the band is not the best by the measure that usually selects.
            return {"val_macro_f1": 1 - score, "val_balanced_accuracy": score}

        monkeypatch.setattr(loop.Trainer, "validate", validate)

    return say


def _phases(folder):
    return [(p["name"], p["epochs"]) for p in json.loads((folder / "card.json").read_text())["phases"]]


def test_the_teacher_stops_with_the_epoch_that_enters_the_band_and_is_kept_as_it_was_then(prepared, scored, tmp_path):
    scored(0.25, 0.2, 0.35)
    data, config = Prepared.open(prepared), configuration(prepared, KIND)
    starts = []

    def watched():
        for phase in METHOD.plan(config.method, workshop(data, config)):
            starts.append((weights(phase.network), phase.teacher))
            yield phase

    outcome = carry_out(tmp_path, data, workshop(data, config).images, watched())
    assert [(p["name"], p["epochs"]) for p in outcome.phases] == [("undertrained", 3), ("distil", 3)]
    last = load_file(tmp_path / PHASES / "00_undertrained/checkpoints/last.safetensors")
    teacher = starts[1][1].network
    assert all(torch.equal(tensor, last[f"network/{name}"]) for name, tensor in weights(teacher).items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not torch.equal(starts[1][0]["body.conv1.0.weight"], starts[0][0]["body.conv1.0.weight"])


@pytest.mark.parametrize(("scores", "problem"), [((0.2, 0.7), "jumped over"), ((0.2, 0.22, 0.21, 0.29), "not reached")])
def test_a_teacher_outside_the_band_is_refused_also_when_resumed(prepared, scored, tmp_path, scores, problem):
    scored(*scores)
    for _ in range(2):
        with pytest.raises(TrainingError, match=problem):
            distill.run(configuration(prepared, KIND), tmp_path / "run")
    assert not (tmp_path / "run" / PHASES / "01_distil").exists()


def test_a_run_cut_in_either_phase_ends_with_the_same_student(prepared, scored, tmp_path):
    scored(0.2, 0.4)
    folder = check_exact_resume(configuration(prepared, KIND), tmp_path, cuts=(1, 1, 2))
    assert _phases(folder) == [("undertrained", 2), ("distil", 3)]


def test_a_run_cut_between_the_phases_goes_on_with_the_second(prepared, scored, tmp_path):
    scored(0.4)
    config = configuration(prepared, KIND)
    with killed_after(1):
        distill.run(config, tmp_path / "run")
    distill.run(config, tmp_path / "run")
    assert _phases(tmp_path / "run") == [("undertrained", 1), ("distil", 3)]


def test_it_runs_without_any_help(prepared, tmp_path):
    distill.run(configuration(prepared, {**KIND, "lowest": 0.0, "highest": 1.0}), tmp_path / "run")
    assert _phases(tmp_path / "run") == [("undertrained", 1), ("distil", 3)]


def test_the_edges_belong_to_the_band():
    for score, stops in ((0.3, True), (0.5, True), (0.29, False)):
        band = Band(0.3, 0.5)
        assert band({"val_balanced_accuracy": score}) is stops
        if stops:
            band.require()


def test_without_any_epoch_there_is_no_teacher():
    with pytest.raises(TrainingError, match="found no epoch"):
        Band(0.3, 0.5).require()


@pytest.mark.parametrize("wrong", [{"lowest": 0.5, "highest": 0.4}, {"teacher_backbone": "vgg"}, {"teacher_epochs": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        DefectiveKdConfig(**wrong)


def test_the_configuration_in_the_repository_has_the_band_for_five_stages():
    config = shipped("defective_kd").method
    assert (config.teacher_backbone, config.lowest, config.highest) == ("resnet50", 0.3, 0.5)
    assert DefectiveKdConfig.model_validate_json(config.model_dump_json()) == config
