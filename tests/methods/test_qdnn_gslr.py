"""Quantised students: levels, step sizes, straight-through gradients, the falling share, and what is shipped."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fibrokd.errors import ConfigError
from fibrokd.files import read_json
from fibrokd.methods import open_network
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.qdnn_gslr import METHOD, GradualKd, QdnnGslrConfig
from fibrokd.pipeline import distill
from fibrokd.training import loop
from fibrokd.training.fake_quant import (
    FakeQuant,
    attach,
    best_step,
    bits_of_layers,
    deployed_bytes,
    levels,
    quantise,
    quantised,
    refit,
    straight_through,
)
from fibrokd.training.folding import folded
from fibrokd.training.networks import BACKBONES, build, parameter_count
from fibrokd.training.objective import Moment
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import VANILLA, Weighed
from tests.methods.losses import SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, shipped
from tests.training.test_objective import K, make_batch

WEIGHED = Weighed(
    {"first_share": 0.8, "last_share": 0.2, "kd_temperature": 2.0, "float_share": 0.7},
    {"float": VANILLA, "quantised": {"supervised": 1 - 0.8, "kd": 0.8 * 2.0**2}},
)


def _plain(backbone="tiny"):
    """A network in which every branch counts: fresh residual branches end in a batch norm of zeros."""
    network, random = build(backbone, 5, False, None, 0).eval(), torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5, generator=random)
    return network


def _network(bits=2, backbone="tiny", per_channel=False, edge_bits=8):
    network = _plain(backbone)
    attach(network, bits_of_layers(network, bits, edge_bits, 8), per_channel)
    return network


@pytest.fixture
def image():
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))


# ------------------------------------------------------------------ quantiser
@pytest.mark.parametrize(("bits", "most"), [(2, 3), (3, 7), (4, 15), (8, 255)])
def test_a_layer_has_no_more_values_than_its_bits_allow_and_they_are_symmetric(bits, most):
    weight = torch.randn(64, 100, generator=torch.Generator().manual_seed(0))
    seen = FakeQuant(weight, bits, per_channel=False)(weight).unique()
    assert len(seen) <= most == 2 * levels(bits) + 1
    assert len(seen) >= most // 2
    step = FakeQuant(weight, bits, per_channel=False).step.item()
    assert torch.allclose(seen / step, (seen / step).round(), atol=1e-4)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_step_beats_ten_percent_more_or_less_and_a_fine_grid(bits, per_channel):
    random = np.random.default_rng(bits)
    weight = torch.from_numpy(random.laplace(size=(4, 300)).astype(np.float32) * [[0.01], [1], [3], [20]]).float()
    rows = weight if per_channel else weight.reshape(1, -1)
    steps = best_step(rows, levels(bits))
    for row, step in zip(rows.numpy().astype(float), steps.tolist(), strict=True):

        def error(delta, row=row):
            return sum((w - delta * max(-levels(bits), min(levels(bits), round(w / delta)))) ** 2 for w in row)

        found = error(step)
        assert found <= min(error(0.9 * step), error(1.1 * step))
        n = levels(bits)
        codes = np.abs(row).max() / n * np.linspace(0.02, 1, 300)
        grid = [((row - d * np.clip(np.round(row / d), -n, n)) ** 2).sum() for d in codes]
        assert found <= min(grid) * 1.01


def test_an_outlier_a_single_value_and_zeros_have_a_step():
    rows = torch.zeros(3, 50)
    rows[0, 0] = 100.0
    rows[0, 1:] = torch.linspace(-1, 1, 49)
    rows[1, 3] = -0.25
    steps = best_step(rows, 1)
    assert torch.isfinite(steps).all()
    assert (steps > 0).all()
    assert quantise(rows[0], steps[0], 1)[0].item() == pytest.approx(100.0)
    assert torch.allclose(quantise(rows[1], steps[1], 1), rows[1])
    assert torch.equal(quantise(rows[2], steps[2], 1), rows[2])


@given(st.integers(2, 6), st.floats(0.01, 10), st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_gradients_are_one_where_nothing_is_clipped_and_zero_elsewhere(bits, delta, values):
    weight = torch.tensor(values, requires_grad=True)
    n, step = levels(bits), torch.tensor(delta)
    seen = straight_through(weight, step, n)
    assert torch.equal(seen, quantise(weight.detach(), step, n))
    seen.sum().backward()
    codes = (weight.detach() / step).round().abs()
    near = ((weight.detach().abs() / step) - (n + 0.5)).abs() < 1e-3  # either side of the very edge
    assert (weight.grad[(codes <= n) & ~near] == 1).all()
    assert (weight.grad[(codes > n) & ~near] == 0).all()


def test_sixteen_bits_are_nearly_float_and_two_are_not(image):
    wanted = _plain()(image).logits
    assert torch.allclose(_network(16, edge_bits=16)(image).logits, wanted, atol=1e-3)
    assert not torch.allclose(_network(2)(image).logits, wanted, atol=1e-2)


def test_first_last_and_depthwise_layers_keep_their_bits():
    network = build("mobilenetv3_small", 5, False, None, 0)
    bits = bits_of_layers(network, 2, 6, 8)
    assert bits["body.conv_stem"] == bits["body.classifier"] == 6
    depthwise = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1}
    assert depthwise == {n for n, count in bits.items() if count == 8}
    assert {bits[n] for n in bits if n not in depthwise | {"body.conv_stem", "body.classifier"}} == {2}


def test_squeeze_and_excitation_keeps_its_bits_where_asked():
    network = build("mobilenetv3_small", 5, False, None, 0)
    plain, kept = bits_of_layers(network, 2, 6, 8), bits_of_layers(network, 2, 6, 8, excitation_bits=5)
    changed = {name for name in plain if plain[name] != kept[name]}
    assert changed == {name for name in plain if ".se." in name}
    assert len(changed) == 18
    assert {kept[name] for name in changed} == {5}


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_deployed_size_counts_bits(per_channel):
    network = _network(2, "mobilenetv3_small", per_channel)
    bits = 0
    for name, module in folded(network).named_modules():
        for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if not tensor.is_floating_point() or key in ("mean", "std"):
                continue
            if key == "weight" and isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                special = name in ("body.conv_stem", "body.classifier") or getattr(module, "groups", 1) > 1
                bits += tensor.numel() * (8 if special else 2) + 32 * (tensor.shape[0] if per_channel else 1)
            else:
                bits += 32 * tensor.numel()
    assert deployed_bytes(network) == math.ceil(bits / 8)
    assert deployed_bytes(network) < 4 * parameter_count(network) / 2.5


def test_baked_weights_are_the_quantised_ones_and_the_network_is_plain(image):
    network = _network(2)
    plain = folded(network)
    assert torch.equal(plain(image).logits, network(image).logits)
    assert set(plain.state_dict()) == set(build("tiny", 5, False, None, 0).state_dict())
    assert parameter_count(plain) == BACKBONES["tiny"].parameters
    assert all(
        len(plain.get_submodule(name).weight.unique()) <= 2 * levels(q.bits) + 1 for name, _, q in quantised(network)
    )


def test_new_step_sizes_follow_the_weights():
    network = _network(2)
    before = {name: q.step.clone() for name, _, q in quantised(network)}
    with torch.no_grad():
        for _, module, _ in quantised(network):
            module.parametrizations.weight.original.mul_(2)
    refit(network)
    assert all(torch.allclose(q.step, 2 * before[name]) for name, _, q in quantised(network))


def test_gradients_reach_master_weights_under_half_precision(image):
    network = _network(2, "mobilenetv3_small").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(torch.cat([image, 1 - image]))
    teacher = torch.full((4, K), 1e4)
    terms = GradualKd(QdnnGslrConfig(fixed_share=0.5), SUPERVISED)(
        outputs, TeacherSignal(teacher), make_batch(4), Moment(0, 1)
    )
    loss = loss_of(terms)
    loss.backward()
    assert torch.isfinite(loss)
    grads = [m.parametrizations.weight.original.grad for _, m, _ in quantised(network)]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)
    assert teacher.grad is None


# ------------------------------------------------------------------ schedule
@pytest.mark.parametrize("schedule", ["linear", "cosine", "step"])
@pytest.mark.parametrize(("first", "last"), [(1.0, 0.0), (0.2, 0.9)])
@pytest.mark.parametrize("epochs", [2, 5, 30])
def test_the_share_runs_from_its_first_to_its_last_value_and_never_back(schedule, first, last, epochs):
    config = QdnnGslrConfig(schedule=schedule, first_share=first, last_share=last)
    objective = GradualKd(config, SUPERVISED)
    shares = [objective.share(Moment(e, epochs, within)) for e in range(epochs) for within in (0.0, 0.9)]
    assert shares[0] == shares[1] == first
    assert shares[-1] == pytest.approx(last, abs=1e-12)
    signs = np.sign(np.diff(shares)) * np.sign(last - first)
    assert (signs >= 0).all()


def test_linear_shares_are_the_formula_and_the_control_does_not_change():
    config = QdnnGslrConfig(first_share=0.9, last_share=0.1)
    objective = GradualKd(config, SUPERVISED)
    assert [objective.share(Moment(e, 5)) for e in range(5)] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])
    control = GradualKd(QdnnGslrConfig(fixed_share=0.5), SUPERVISED)
    assert {control.share(Moment(e, 5)) for e in range(5)} == {0.5}


def test_the_start_is_the_teacher_alone_and_the_end_the_labels_alone():
    random = torch.Generator().manual_seed(2)
    logits, teacher, other = (torch.randn(8, K, generator=random) for _ in range(3))
    objective = GradualKd(QdnnGslrConfig(), SUPERVISED)

    def loss(epoch, said, batch):
        return loss_of(terms_of(objective, logits, said, batch, Moment(epoch, 6)))

    plain, shuffled = make_batch(), make_batch(seed=9)
    assert torch.equal(loss(5, teacher, plain), loss(5, other, plain))
    assert not torch.equal(loss(5, teacher, plain), loss(5, teacher, shuffled))
    assert torch.equal(loss(0, teacher, plain), loss(0, teacher, shuffled))
    vanilla = terms_of(VanillaKd(KdConfig(alpha=0.6), SUPERVISED), logits, teacher, plain)
    assert torch.allclose(loss(2, teacher, plain), loss_of(vanilla))


@pytest.mark.parametrize("wrong", [{"bits": 1}, {"first_share": 1.5}, {"schedule": "none"}, {"float_epochs": 1.0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        QdnnGslrConfig(**wrong)


def test_a_budget_without_room_for_both_phases_is_refused():
    with pytest.raises(ConfigError, match="at least 2 epochs"):
        METHOD.check(QdnnGslrConfig(), SimpleNamespace(train=SimpleNamespace(epochs=1)))


def test_a_share_that_could_not_change_is_refused():
    def check(epochs, **method):
        METHOD.check(QdnnGslrConfig(**method), SimpleNamespace(train=SimpleNamespace(epochs=epochs)))

    with pytest.raises(ConfigError, match=r"two epochs with quantised weights .* found 1 of 3"):
        check(3)
    check(4)
    check(3, fixed_share=0.5)


# ------------------------------------------------------------------ runs
def test_early_stopping_cannot_cut_the_schedule_short(prepared, taught, monkeypatch, tmp_path):
    monkeypatch.setattr(loop.Trainer, "validate", lambda self: {"val_macro_f1": 0.5, "val_balanced_accuracy": 0.5})
    train = {"epochs": 7, "early_stopping": 1}
    method = {"kind": "qdnn_gslr", "float_epochs": 0.45}
    distill.run(configuration(prepared, method, teacher=str(taught), train=train), tmp_path / "student")
    phases = read_json(tmp_path / "student" / "card.json")["phases"]
    assert [(phase["name"], phase["epochs"]) for phase in phases] == [("float", 2), ("quantised", 4)]


@pytest.mark.parametrize(("step_sizes", "average"), [("epoch", None), ("fixed", 0.5)])
def test_a_run_cut_anywhere_ends_with_the_same_quantised_student(prepared, taught, tmp_path, step_sizes, average):
    method = {"kind": "qdnn_gslr", "step_sizes": step_sizes, "float_epochs": 0.34}
    train = {"epochs": 3, "average_decay": average, "early_stopping": 1}
    config = configuration(prepared, method, teacher=str(taught), train=train)
    folder = check_exact_resume(config, tmp_path, cuts=(2,))
    card = read_json(folder / "card.json")
    assert [(phase["name"], phase["epochs"]) for phase in card["phases"]] == [("float", 1), ("quantised", 2)]
    exported = open_network(folder)
    bits = bits_of_layers(exported, 2, 8, 8)
    assert all(len(exported.get_submodule(n).weight.unique()) <= 2 * levels(b) + 1 for n, b in bits.items())
    facts = card["method_facts"]
    assert card["parameters"] == BACKBONES["tiny"].parameters
    assert facts["weights_by_bits"].keys() == {"2", "8"}
    assert facts["deployed_bytes"] == deployed_bytes(_network(2))


def test_the_configuration_in_the_repository_is_the_starting_point():
    assert shipped("qdnn_gslr").method == QdnnGslrConfig()
