"""The loop: it learns, it stops, it resumes bit for bit, and frozen teachers stay frozen."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.methods.self_knowledge_ls import BestSoFar
from fibrokd.training import loop
from fibrokd.training.augment import ViewSpec
from fibrokd.training.companion import Companion
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.loop import Task, fit
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedConfig
from fibrokd.training.produce import supervised_term
from fibrokd.training.runtime import Runtime, RuntimeConfig
from fibrokd.training.settings import OneCycleConfig, PlateauConfig, TrainConfig, build_schedule
from fibrokd.training.teachers import LiveTeacher
from tests.factories import write_prepared

FIXED = RuntimeConfig(precision="fp32", memory_format="channels_last")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("loop") / "prepared", patients=50))


def make_task(prepared, method=None, teacher=None, backbone="tiny"):
    rows = prepared.rows("val")
    supervised = supervised_term(prepared, SupervisedConfig())
    return Task(
        name="test",
        network=build(backbone, 5, False, None, 0),
        objective=SupervisedOnly(NoneConfig(), supervised) if method is None else VanillaKd(method, supervised),
        teacher=teacher,
        images=TrainingImages.of(prepared, ViewSpec()),
        val_pixels=prepared.pixels[rows],
        val_stages=prepared.stages[rows],
    )


def make_config(**changes):
    settings = {"epochs": 4, "batch_size": 8, "learning_rate": 3e-3, "runtime": FIXED, "early_stopping": None}
    return TrainConfig(**(settings | changes))


def test_it_learns_what_brightness_betrays(prepared, tmp_path):
    progress, _ = fit(make_task(prepared), make_config(epochs=8, schedule=OneCycleConfig()), tmp_path)
    assert progress.best_score > 0.6
    losses = [entry["train_loss"] for entry in progress.history]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": OneCycleConfig(), "average_decay": 0.9},
        {"schedule": PlateauConfig(patience=0)},
        {"runtime": RuntimeConfig(precision="bf16", memory_format="channels_last")},
    ],
    ids=["one-cycle-averaged", "plateau", "bf16"],
)
def test_a_run_cut_after_any_epoch_ends_with_the_same_weights(prepared, tmp_path, changes, monkeypatch):
    config = make_config(**changes)
    whole = make_task(prepared, backbone="mobilenetv3_small")  # has dropout
    fit(whole, config, tmp_path / "whole")

    class KilledError(Exception):
        pass

    saved = loop.Trainer.conclude_epoch
    for cut in (1, 3):

        def conclude(self, entry, cut=cut):
            saved(self, entry)
            if self.progress.epoch == cut:
                raise KilledError

        monkeypatch.setattr(loop.Trainer, "conclude_epoch", conclude)
        with pytest.raises(KilledError):
            fit(make_task(prepared, backbone="mobilenetv3_small"), config, tmp_path / "cut")
    monkeypatch.setattr(loop.Trainer, "conclude_epoch", saved)
    resumed = make_task(prepared, backbone="mobilenetv3_small")
    fit(resumed, config, tmp_path / "cut")
    wanted = whole.network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in resumed.network.state_dict().items())
    assert (tmp_path / "cut/metrics.jsonl").read_bytes() == (tmp_path / "whole/metrics.jsonl").read_bytes()
    last = "checkpoints/last.safetensors"
    first, second = (load_file(tmp_path / name / last) for name in ("whole", "cut"))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("steps", [5, 20])
def test_one_cycle_takes_a_budget_whose_warm_up_is_a_single_step(steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = build_schedule(make_config(epochs=1, schedule=OneCycleConfig(warm_up=0.2)), optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[-1] <= max(rates)


def test_a_damaged_checkpoint_is_refused_and_named(prepared, tmp_path):
    config = make_config(epochs=1)
    fit(make_task(prepared), config, tmp_path)
    path = tmp_path / "checkpoints" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=r"last\.safetensors"):
        fit(make_task(prepared), make_config(epochs=2), tmp_path)


def test_early_stopping_waits_for_its_patience_and_for_min_epochs(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "validate", lambda self: {"val_macro_f1": 0.5, "val_balanced_accuracy": 0.5})
    stopped, _ = fit(make_task(prepared), make_config(epochs=9, early_stopping=2), tmp_path / "a")
    assert (stopped.epoch, stopped.best_epoch) == (3, 1)
    later, _ = fit(make_task(prepared), make_config(epochs=9, early_stopping=2, min_epochs=5), tmp_path / "b")
    assert later.epoch == 5


def test_the_best_epoch_is_kept_not_the_last(prepared, tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.1])
    weights = []

    def validate(self):
        weights.append({k: v.clone() for k, v in self.trainee.network.state_dict().items()})
        return {"val_macro_f1": next(scores), "val_balanced_accuracy": 0.0}

    monkeypatch.setattr(loop.Trainer, "validate", validate)
    task = make_task(prepared)
    progress, _ = fit(task, make_config(epochs=3), tmp_path)
    assert progress.best_epoch == 2
    assert all(torch.equal(value, weights[1][name]) for name, value in task.network.state_dict().items())


def test_the_last_epoch_is_kept_where_that_is_asked_for(prepared, tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.1])
    monkeypatch.setattr(
        loop.Trainer, "validate", lambda self: {"val_macro_f1": next(scores), "val_balanced_accuracy": 0.0}
    )
    task = make_task(prepared)
    progress, _ = fit(task, make_config(epochs=3, keep="last"), tmp_path)
    last = load_file(tmp_path / "checkpoints" / "last.safetensors")
    assert progress.best_epoch == 3
    assert all(torch.equal(v, last[f"network/{name}"]) for name, v in task.network.state_dict().items())


RARELY = {"keep": "last", "schedule": OneCycleConfig(), "early_stopping": None}


def test_rare_validation_changes_no_weight_and_the_last_epoch_is_always_looked_at(prepared, tmp_path):
    often, rarely = make_task(prepared), make_task(prepared)
    every, _ = fit(often, make_config(epochs=5, **RARELY), tmp_path / "often")
    some, _ = fit(rarely, make_config(epochs=5, validate_every=2, **RARELY), tmp_path / "rarely")
    assert [entry["epoch"] for entry in some.history if "val_macro_f1" in entry] == [2, 4, 5]
    assert some.best_epoch == 5
    assert some.best_score == every.best_score
    wanted = often.network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in rarely.network.state_dict().items())


def test_what_ends_by_a_validation_figure_is_validated_after_every_epoch(prepared, tmp_path):
    task = dataclasses.replace(make_task(prepared), stop=lambda line: line["epoch"] == 2)
    progress, _ = fit(task, make_config(epochs=5, validate_every=4, **RARELY), tmp_path)
    assert ["val_macro_f1" in entry for entry in progress.history] == [True, True]


def test_a_companion_that_heeds_validation_gets_one_after_every_epoch(prepared, tmp_path):
    class Heeding(Companion):
        heeds_validation = True

    task = dataclasses.replace(make_task(prepared), companion=Heeding())
    progress, _ = fit(task, make_config(epochs=3, validate_every=2, **RARELY), tmp_path)
    assert ["val_macro_f1" in entry for entry in progress.history] == [True] * 3
    assert BestSoFar.heeds_validation


@pytest.mark.parametrize("waits", [{"keep": "best"}, {"schedule": PlateauConfig()}, {"early_stopping": 3}])
def test_rare_validation_is_refused_where_something_waits_for_it(waits):
    with pytest.raises(ValidationError, match="validate_every"):
        make_config(validate_every=2, **(RARELY | waits))


def test_a_record_says_nothing_of_validation_after_every_epoch():
    assert "validate_every" not in make_config().as_json()
    assert make_config(validate_every=3, **RARELY).as_json()["validate_every"] == 3


def test_plateaus_lower_the_learning_rate(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "validate", lambda self: {"val_macro_f1": 0.5, "val_balanced_accuracy": 0.5})
    progress, _ = fit(make_task(prepared), make_config(schedule=PlateauConfig(patience=0, factor=0.5)), tmp_path)
    rates = [entry["learning_rate"] for entry in progress.history]
    assert rates == [3e-3, 3e-3, 1.5e-3, 0.75e-3]


def test_a_plateau_does_not_count_the_epochs_in_which_validation_says_nothing(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "validate", lambda self: {"val_macro_f1": 0.5, "val_balanced_accuracy": 0.5})
    task = dataclasses.replace(make_task(prepared), blind_epochs=2)
    config = make_config(schedule=PlateauConfig(patience=0, factor=0.5), epochs=5)
    progress, _ = fit(task, config, tmp_path)
    rates = [line["learning_rate"] / config.learning_rate for line in progress.history]
    assert rates == pytest.approx([1, 1, 1, 1, 0.5])


def test_a_frozen_teacher_is_bit_identical_after_an_epoch(prepared, tmp_path):
    network = build("tiny", 5, False, None, 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    teacher = LiveTeacher(network, Runtime("fp32", "nchw"), torch.device("cpu"))
    fit(make_task(prepared, KdConfig(), teacher), make_config(epochs=1), tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_precision_that_was_measured_is_kept_for_the_resumed_run(prepared, tmp_path):
    task = make_task(prepared)
    _, chosen = fit(task, make_config(epochs=1, runtime=RuntimeConfig()), tmp_path)
    kept = json.loads((tmp_path / "runtime.json").read_text())
    assert len(kept["milliseconds_per_step"]) == 4
    assert {"precision": kept["precision"], "memory_format": kept["memory_format"]} == chosen.as_json()
    other = next(n for n in kept["milliseconds_per_step"] if n != f"{chosen.precision}/{chosen.memory_format}")
    precision, memory_format = other.split("/")
    kept |= {"precision": precision, "memory_format": memory_format}
    (tmp_path / "runtime.json").write_text(json.dumps(kept))
    _, resumed = fit(make_task(prepared), make_config(epochs=2, runtime=RuntimeConfig()), tmp_path)
    assert resumed == Runtime(precision, memory_format)


def test_a_loss_that_is_not_finite_stops_with_advice(prepared, tmp_path):
    task = make_task(prepared)
    torch.nn.init.constant_(task.network.body.get_classifier().bias, np.nan)
    with pytest.raises(TrainingError, match="became nan"):
        fit(task, make_config(), tmp_path)


def test_frozen_batch_norm_keeps_its_statistics(prepared, tmp_path):
    task = make_task(prepared)
    before = {k: v.clone() for k, v in task.network.state_dict().items() if "running" in k}
    fit(task, make_config(epochs=1, freeze_batch_norm=True), tmp_path)
    after = task.network.state_dict()
    assert before
    assert all(torch.equal(after[name], value) for name, value in before.items())
    shutil.rmtree(tmp_path / "checkpoints")
