"""Deep interactive learning: who is trained when, on whose answers, and who stays as they are meanwhile."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import as_network_input
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.methods.dil import METHOD, DilConfig, Listener, is_open, learning
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.pipeline import distill
from fibrokd.training.carry_out import carry_out
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from fibrokd.training.signals import EnsembleSignal, TeacherSignal
from fibrokd.training.teachers import Ensemble
from tests.methods.coefficients import ALONE, LABELS, SHARED, SOFT, Weighed
from tests.methods.losses import SUPERVISED, loss_of, terms_of
from tests.methods.tiny import (
    answers,
    check_exact_resume,
    configuration,
    shipped,
    weights,
    workshop,
)
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed(
    {**SHARED, "beta": 0.25},
    {
        "init_*": ALONE,
        "teach_*": {"supervised": LABELS, "peer": SOFT},
        "feedback_*": {"supervised": 0.75, "peer": 0.25 * 2.0**2},
    },
)

KIND = {"kind": "dil", "assistants": ["tiny", "tiny"], "rounds": 2, "init_share": 0.3}


def _logits(seed):
    return torch.randn(8, K, generator=torch.Generator().manual_seed(seed))


def _loss(objective, logits, signal, batch):
    return loss_of(terms_of(objective, logits, signal, batch))


@pytest.fixture(scope="module")
def watched(prepared, tmp_path_factory):
    """Weights of every network before and after every phase of a plan that is carried out."""
    data, config = Prepared.open(prepared), configuration(prepared, {**KIND, "gate_margin": 1.0})
    shop, seen, networks = workshop(data, config), [], []

    def phases():
        for phase in METHOD.plan(config.method, shop):
            if phase.network not in networks:
                networks.append(phase.network)
            before = [weights(network) for network in networks]
            yield phase
            after = [weights(network) for network in networks]
            changed = {k for k, (a, b) in enumerate(zip(before, after, strict=True)) if not _same(a, b)}
            seen.append((phase.name, phase.train.epochs, changed, phase.teacher))

    carry_out(tmp_path_factory.mktemp("watched"), data, shop.images, phases())
    return seen


def _same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_every_network_has_a_precision_of_its_own(prepared, tmp_path):
    config = configuration(prepared, {"kind": "dil", "assistants": ["tiny"], "rounds": 1}, train={"epochs": 2})
    distill.run(config, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").glob("runtime*.json")} == {"runtime.json", "runtime_1.json"}


def test_phases_alternate_and_only_their_own_network_changes_batch_norm_included(watched):
    assert [(name, epochs, changed) for name, epochs, changed, _ in watched] == [
        ("init_0", 1, {0}),
        ("init_1", 1, {1}),
        ("teach_1", 1, {2}),
        ("feedback_1_0", 1, {0}),
        ("feedback_1_1", 1, {1}),
        ("teach_2", 2, {2}),
    ]


def test_assistants_are_alone_then_the_ensemble_teaches_and_the_student_teaches_back(watched):
    teachers = {name: teacher for name, _, _, teacher in watched}
    assert teachers["init_0"] is None
    assert isinstance(teachers["teach_1"], Ensemble)
    assistants = [member.network for member in teachers["teach_2"].members]
    assert len(assistants) == 2
    assert not _same(weights(assistants[0]), weights(assistants[1]))
    student = teachers["feedback_1_0"].network
    assert student is teachers["feedback_1_1"].network
    assert all(student is not assistant for assistant in assistants)


def test_one_round_is_vanilla_distillation_from_a_static_ensemble(prepared, tmp_path):
    data = Prepared.open(prepared)
    config = configuration(prepared, {**KIND, "rounds": 1, "beta": 0.0})
    shop = workshop(data, config)
    ours = carry_out(tmp_path / "dil", data, shop.images, METHOD.plan(config.method, shop))

    def vanilla():
        for phase in METHOD.plan(config.method, shop):
            if phase.name == "teach_1":  # same ensemble and views, another method's objective
                phase = dataclasses.replace(phase, objective=VanillaKd(KdConfig(), shop.supervised))
            yield phase

    theirs = carry_out(tmp_path / "kd", data, shop.images, vanilla())
    assert _same(weights(ours.network), weights(theirs.network))


def test_one_assistant_at_temperature_one_is_deep_mutual_learning():
    batch, student, assistant = make_batch(mixed=False), _logits(1).requires_grad_(), _logits(2).requires_grad_()
    plain = SupervisedTerm(SupervisedConfig(label_smoothing=0.0), torch.ones(K))
    peer = learning(DilConfig(kd_temperature=1.0), 0.5, plain)
    (2 * _loss(peer, student, EnsembleSignal.of([TeacherSignal(assistant.detach())]), batch)).backward()
    (2 * _loss(peer, assistant, TeacherSignal(student.detach()), batch)).backward()
    for own, other in ((student, assistant), (assistant, student)):
        x = own.detach().clone().requires_grad_()
        divergence = F.kl_div(F.log_softmax(x, 1), other.detach().softmax(1), reduction="batchmean")
        (F.cross_entropy(x, batch.stages) + divergence).backward()
        assert torch.allclose(own.grad, x.grad, atol=1e-6)


def test_identical_assistants_are_one_teacher():
    batch, student, peer = make_batch(), _logits(1), learning(DilConfig(), 0.6, SUPERVISED)
    one = TeacherSignal(_logits(2))
    together = EnsembleSignal.of([one, one, one])
    assert torch.allclose(_loss(peer, student, one, batch), _loss(peer, student, together, batch))


def test_the_ensemble_is_the_mean_of_tempered_probabilities_and_t_squared_is_there():
    batch, student = make_batch(), _logits(1)
    members = [TeacherSignal(5 * _logits(2)), TeacherSignal(_logits(3))]
    terms = terms_of(learning(DilConfig(), 0.6, SUPERVISED), student, EnsembleSignal.of(members), batch)
    target = sum((member.logits / 3).softmax(1) for member in members) / 2
    wanted = F.kl_div(F.log_softmax(student / 3, 1), target, reduction="batchmean")
    assert torch.allclose(value(terms["peer"]), wanted)
    assert terms["peer"].coefficient == pytest.approx(5.4)
    assert terms["supervised"].coefficient == pytest.approx(0.4)


def test_without_a_share_labels_alone_count_and_with_one_a_peer_is_needed():
    batch, student = make_batch(), _logits(1)
    alone = learning(DilConfig(), 0.0, SUPERVISED)
    assert not alone.needs
    assert torch.equal(_loss(alone, student, None, batch), value(SUPERVISED(student, batch)))
    with pytest.raises(TrainingError, match="Expected a teacher"):
        _loss(learning(DilConfig(), 0.1, SUPERVISED), student, None, batch)


def test_extreme_logits_stay_finite_and_the_peer_gets_no_gradient():
    x, peer = (1e4 * _logits(1)).requires_grad_(), (1e4 * _logits(2)).requires_grad_()
    loss = _loss(learning(DilConfig(), 0.6, SUPERVISED), x, TeacherSignal(peer.detach()), make_batch())
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(x.grad).all()
    assert peer.grad is None


def test_the_gate_compares_with_the_worst_assistant():
    gated = DilConfig(gate_margin=0.05)
    assert is_open(gated, 0.56, [0.9, 0.6])
    assert not is_open(gated, 0.54, [0.9, 0.6])
    assert is_open(DilConfig(), 0.0, [0.9, 0.6])


def test_a_closed_gate_leaves_the_assistants_alone(prepared, tmp_path, monkeypatch):
    heard = Listener.score
    monkeypatch.setattr(Listener, "score", lambda self, train: 0.0 if self.taught else heard(self, train))
    monkeypatch.setattr(Listener, "taught", False, raising=False)
    made = Listener.phase

    def phase(self, name, *rest):
        self.taught = name.startswith("teach")
        return made(self, name, *rest)

    monkeypatch.setattr(Listener, "phase", phase)
    data, config = Prepared.open(prepared), configuration(prepared, {**KIND, "gate_margin": 0.0})
    shop = workshop(data, config)
    outcome = carry_out(tmp_path, data, shop.images, METHOD.plan(config.method, shop))
    assert [phase["name"] for phase in outcome.phases] == ["init_0", "init_1", "teach_1", "teach_2"]


def test_what_was_heard_survives_an_interruption(prepared):
    listener, train = Listener(), configuration(prepared, KIND).train
    for epoch, score in ((1, 0.2), (2, 0.6)):
        listener.hear({"epoch": epoch, "val_macro_f1": score})
    resumed = Listener()
    resumed.restore({"heard": [0.2]}, torch.nn.Identity())  # written before line 2 was heard
    assert resumed.hear({"epoch": 2, "val_macro_f1": 0.6}) is False
    resumed.hear({"epoch": 2, "val_macro_f1": 0.6})
    resumed.hear({"epoch": 3, "val_macro_f1": 0.4})
    listener.hear({"epoch": 3, "val_macro_f1": 0.4})
    assert resumed.state() == listener.state() == {"heard": [0.2, 0.6, 0.4]}
    assert resumed.score(train) == 0.6
    assert resumed.score(train.model_copy(update={"keep": "last"})) == 0.4


def test_a_run_cut_in_any_kind_of_phase_ends_with_the_same_student(prepared, tmp_path):
    # Epochs: init 1 + 1, teach 1, feedback 1 + 1, teach 2.
    config = configuration(prepared, {**KIND, "gate_margin": 0.5})
    folder = check_exact_resume(config, tmp_path, cuts=(2, 1, 1))
    card = json.loads((folder / "card.json").read_text())
    assert [phase["epochs"] for phase in card["phases"]][-1] == 2


def test_the_card_says_how_student_assistants_and_ensembles_do_on_validation_images(prepared, tmp_path):
    distill.run(configuration(prepared, KIND), tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    found = card["method_facts"]["validation"]
    data = Prepared.open(prepared)
    rows = data.rows("val")
    images = torch.from_numpy(as_network_input(np.asarray(data.pixels[rows])))
    told = {}
    for folder in sorted((tmp_path / "phases").iterdir()):  # later phases of a network take the place of earlier ones
        network = build("tiny", 5, False, None, 0)
        network.load_state_dict(load_file(folder / "checkpoints" / "best.safetensors"))
        name = "student" if "teach" in folder.name else folder.name[-1]
        told[name] = torch.from_numpy(answers(network, images)).double().softmax(1)

    def loss(probabilities):
        return F.nll_loss(probabilities.log(), torch.from_numpy(data.stages[rows])).item()

    names = ("0", "1", "student")
    wanted = [loss(told[name]) for name in names] + [loss((told["0"] + told["1"]) / 2), loss(sum(told.values()) / 3)]
    parts = [*found["assistants"], found["student"], found["ensemble_of_assistants"], found["ensemble_of_all"]]
    assert [part["log_loss"] for part in parts] == pytest.approx(wanted, rel=1e-5)
    assert found["student"]["macro_f1"] == card["validation"]["macro_f1"]
    rounds = card["method_facts"]["rounds"]
    assert [len(one["assistants_macro_f1"]) for one in rounds] == [2, 2]
    assert rounds[-1]["student_macro_f1"] == found["student"]["macro_f1"]
    assert rounds[-1]["assistants_macro_f1"] == [part["macro_f1"] for part in found["assistants"]]
    (taught,) = (tmp_path / "phases").glob("*teach_1")
    lines = (taught / "metrics.jsonl").read_text().splitlines()
    assert rounds[0]["student_macro_f1"] == json.loads(lines[-1])["val_macro_f1"]


def test_more_rounds_than_epochs_are_refused(prepared):
    config = configuration(prepared, {**KIND, "rounds": 4})
    with pytest.raises(ConfigError, match="3 epochs for 4 rounds"):
        METHOD.check(config.method, config)
    METHOD.check(shipped("dil").method, shipped("dil"))


@pytest.mark.parametrize("nonsense", [{"assistants": []}, {"assistants": ["vgg"]}, {"rounds": 0}, {"beta": -0.1}])
def test_nonsense_is_refused(nonsense, prepared):
    with pytest.raises(ConfigError):
        configuration(prepared, {"kind": "dil", **nonsense})


def test_the_shipped_configuration_is_the_default():
    assert shipped("dil").method == DilConfig()
    assert DilConfig.model_validate_json(DilConfig().model_dump_json()) == DilConfig()
