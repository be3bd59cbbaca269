"""Dynamic pruning: what silent neurons leave behind, what the optimiser remembers, and resuming after surgery."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.files import read_json
from fibrokd.methods import kddp, open_network
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.kddp import METHOD, KddpConfig, SparseKd
from fibrokd.pipeline import distill
from fibrokd.training.augment import ViewSpec
from fibrokd.training.carry_out import PHASES
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.hidden_layer import active, activity, cut, give_hidden_layer, hidden_layer, hidden_width
from fibrokd.training.networks import BACKBONES, build, parameter_count
from fibrokd.training.runtime import Runtime
from tests.methods.coefficients import SHARED, VANILLA, Weighed
from tests.methods.losses import SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, shipped, workshop
from tests.training.test_objective import K

WEIGHED = Weighed({**SHARED, "l1": 0.2}, {"prune": {**VANILLA, "activity": 0.2}, "fine_tune": VANILLA})

BOTH = pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small"])
EAGER = {"kind": "kddp", "threshold": 0.9, "every": 1, "warm_up": 0.0, "fine_tune": 0.34, "width": 32}


@pytest.fixture
def image():
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0)).double()


def _student(backbone, width=64):
    network = build(backbone, 5, False, None, 0)
    give_hidden_layer(network, width, relu=True, seed=0)
    torch.nn.init.normal_(network.body.get_classifier().weight, generator=torch.Generator().manual_seed(0))
    return network.double().eval()


def _silence(network, neurons, constant=0.0):
    first, _ = hidden_layer(network)
    with torch.no_grad():
        first.weight[neurons] = 0
        first.bias[neurons] = constant if constant > 0 else -1.0


@BOTH
def test_the_hidden_activations_are_what_enters_the_classifier(backbone, image):
    network = _student(backbone)
    answer = network(image)
    first, classifier = hidden_layer(network)
    assert answer.pooled.shape[1] == first.weight.shape[0] == classifier.in_features == hidden_width(network)
    assert (answer.pooled >= 0).all()
    assert (answer.pooled == 0).any()
    assert torch.allclose(classifier(answer.pooled), answer.logits)


def test_mobilenet_keeps_its_hidden_layer_and_its_hardswish_where_asked():
    network = build("mobilenetv3_small", 5, False, None, 0)
    give_hidden_layer(network, 64, relu=False, seed=0)
    assert isinstance(network.body.act2, torch.nn.Hardswish)
    assert parameter_count(network) == BACKBONES["mobilenetv3_small"].parameters
    assert hidden_width(network) == 1024


def test_an_inserted_layer_is_the_same_for_the_same_seed_and_leaves_the_global_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, second = (build("tiny", 5, False, None, 0) for _ in range(2))
    for network in (first, second):
        give_hidden_layer(network, 16, relu=True, seed=4)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())


@BOTH
def test_cutting_dead_neurons_leaves_the_answers_unchanged(backbone, image):
    network = _student(backbone)
    gone = torch.arange(0, hidden_width(network), 3)
    _silence(network, gone)
    before = network(image).logits
    keep = torch.tensor([k for k in range(hidden_width(network)) if k % 3])
    cut(network, keep)
    assert (network(image).logits - before).abs().max() <= 1e-12
    assert hidden_width(network) == len(keep) == network(image).pooled.shape[1]


def test_compensation_is_exact_for_constant_neurons_and_needed(image):
    answers = {}
    for compensate in (True, False):
        network = _student("tiny")
        _silence(network, torch.tensor([1, 5, 9]), constant=0.7)
        before = network(image).logits
        mean = network(image).pooled.mean(0)
        keep = torch.tensor([k for k in range(64) if k not in (1, 5, 9)])
        cut(network, keep, mean=mean if compensate else None)
        answers[compensate] = (network(image).logits - before).abs().max().item()
    assert answers[True] <= 1e-12
    assert answers[False] > 1e-3


@BOTH
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_optimiser_follows_and_goes_on_as_if_the_network_had_always_been_so(backbone, layout, image):
    """Neurons that are dead get no gradient: cut or not, everything else must be trained alike."""
    wide, narrow = (_student(backbone).to(memory_format=layout) for _ in range(2))
    gone = torch.arange(0, hidden_width(wide), 2)
    keep = torch.arange(1, hidden_width(wide), 2)
    networks = []
    for network in (wide, narrow):
        _silence(network, gone)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
        for step in range(3):
            if step == 2 and network is narrow:
                cut(network, keep, optimizer)
            optimizer.zero_grad()
            network(image).logits.square().sum().backward()
            optimizer.step()
        owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
        assert owned == {id(p) for p in network.parameters()}
        assert all(s.shape in (p.shape, ()) for p, slots in optimizer.state.items() for s in slots.values())
        assert len(optimizer.state) == len(owned)
        networks.append(network)
    for name, kept in networks[1].named_parameters():
        whole = networks[0].get_parameter(name)
        if kept.shape != whole.shape:
            whole = whole[keep] if kept.shape[1:] == whole.shape[1:] else whole[:, keep]
        assert torch.allclose(kept, whole, atol=1e-6), name


def test_silent_neurons_go_even_where_they_are_the_majority():
    size = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.001])
    assert active(size, 1e-2, 1).tolist() == [5, 6]
    assert active(torch.ones(4), 0.5, 1).tolist() == [0, 1, 2, 3]


def test_as_many_as_asked_for_stay_the_most_active_ones():
    size = torch.tensor([0.0, 3.0, 0.0, 2.0, 1.0])
    assert active(size, 0.9, 4).tolist() == [0, 1, 3, 4]
    assert active(torch.zeros(5), 0.1, 2).tolist() == [0, 1]
    assert active(size, 0.0, 1).tolist() == [1, 3, 4]


def test_activity_is_measured_on_training_images_as_they_are_and_changes_nothing(prepared):
    data = Prepared.open(prepared)
    images = TrainingImages.of(data, ViewSpec())
    network = _student("tiny").float().train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = activity(network, images, Runtime("fp32", "nchw"), torch.device("cpu"))
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    shown = torch.from_numpy(np.asarray(data.pixels[data.rows("train")], np.float32) / 255)[:, None]
    hidden = network.eval()(shown).pooled.detach()
    assert torch.allclose(found.size.float(), hidden.abs().mean(0), atol=1e-5)
    assert torch.allclose(found.mean.float(), hidden.mean(0), atol=1e-5)


def test_the_penalty_is_the_mean_activation_and_nothing_without_lambda():
    random = torch.Generator().manual_seed(1)
    logits, teacher = (torch.randn(8, K, generator=random) for _ in range(2))
    pooled = torch.rand(8, 12, generator=random)
    objectives = VanillaKd(KdConfig(), SUPERVISED), *(SparseKd(KddpConfig(l1=l1), SUPERVISED) for l1 in (0.0, 0.5))
    vanilla, without, loss = (loss_of(terms_of(o, logits, teacher, pooled=pooled)) for o in objectives)
    assert torch.allclose(without, vanilla)
    wanted = sum(sum(abs(h) for h in row) / 12 for row in pooled.tolist()) / 8
    assert loss.item() == pytest.approx(vanilla.item() + 0.5 * wanted, rel=1e-5)


def test_extreme_and_half_precision_answers_stay_finite_and_the_teacher_gets_no_gradient():
    logits = (1e4 * torch.randn(8, K)).requires_grad_()
    pooled = torch.zeros(8, 12, requires_grad=True)
    teacher = -logits.detach()
    objective = SparseKd(KddpConfig(l1=1.0), SUPERVISED)
    loss = loss_of(terms_of(objective, logits.bfloat16(), teacher, pooled=pooled.bfloat16()))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(pooled.grad).all()


@pytest.mark.parametrize("wrong", [{"l1": -1.0}, {"width": 2}, {"every": 0}, {"fine_tune": 1.0}, {"least": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        KddpConfig(**wrong)


def test_a_moving_average_and_a_budget_of_one_epoch_are_refused(tmp_path):
    def check(method, **train):
        METHOD.check(KddpConfig(**method), configuration(tmp_path, {"kind": "none"}, train=train))

    check({})
    check({"l1": 0.0}, average_decay=0.9, epochs=1)
    with pytest.raises(ConfigError, match="average_decay"):
        check({}, average_decay=0.9)
    with pytest.raises(ConfigError, match="at least 2 epochs"):
        check({}, epochs=1)
    with pytest.raises(ConfigError, match="an epoch after which method 'kddp' cuts, found none in the 1"):
        check({}, epochs=2)
    check({"every": 1}, epochs=2)


def test_several_processes_are_refused(prepared, monkeypatch):
    class Two:
        num_processes = 2

    monkeypatch.setattr(kddp, "accelerator", Two)
    data = Prepared.open(prepared)
    with pytest.raises(TrainingError, match="found 2"):
        next(METHOD.plan(KddpConfig(), workshop(data, configuration(data.folder, {"kind": "none"}))))


@BOTH
def test_a_run_cut_after_surgery_ends_with_the_same_student(prepared, taught, tmp_path, backbone):
    train = {"epochs": 3, "runtime": {"precision": "fp32", "memory_format": "channels_last"}}
    method = {**EAGER, "compensate": backbone == "tiny"}
    config = configuration(prepared, method, backbone=backbone, teacher=str(taught), train=train)
    folder = check_exact_resume(config, tmp_path, cuts=(1, 1) if backbone == "tiny" else (2,))
    card = read_json(folder / "card.json")
    facts = card["method_facts"]
    assert 8 <= facts["hidden_width"] < facts["hidden_width_at_start"] == (32 if backbone == "tiny" else 1024)
    lines = [line.split('"hidden_width": ') for line in (folder / "metrics.jsonl").read_text().splitlines()]
    widths = [float(parts[1].rstrip("}")) for parts in lines if len(parts) == 2]
    assert len(widths) == 2
    assert widths[1] <= widths[0] < facts["hidden_width_at_start"]
    exported = open_network(folder)
    assert hidden_width(exported) == facts["hidden_width"] == widths[-1]
    assert card["parameters"] == parameter_count(exported) < facts["training_parameters"]
    best = load_file(folder / PHASES / "01_fine_tune" / "checkpoints" / "best.safetensors")
    assert all(torch.equal(best[name], v) for name, v in exported.state_dict().items())


def test_without_a_penalty_it_is_vanilla_distillation_without_pruning(prepared, taught, tmp_path):
    config = configuration(prepared, {**EAGER, "l1": 0.0}, teacher=str(taught), train={"epochs": 1})
    distill.run(config, tmp_path / "student")
    card = read_json(tmp_path / "student" / "card.json")
    assert [phase["name"] for phase in card["phases"]] == ["train"]
    assert card["method_facts"]["hidden_width"] == 32


def test_the_configuration_in_the_repository_is_the_starting_point():
    assert shipped("kddp").method == KddpConfig()
