"""Virtual attention: nothing changes while it is uniform, nothing is left of it once it is folded."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from fibrokd.errors import ConfigError
from fibrokd.files import read_json
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.vam import (
    METHOD,
    AttendedKd,
    BlockAttention,
    VamConfig,
    attend,
    eligible,
    fold,
    found_attentions,
    mean_entropy,
)
from fibrokd.training.networks import BACKBONES, build, parameter_count
from fibrokd.training.signals import TeacherSignal
from tests.methods.coefficients import SHARED, VANILLA, Weighed
from tests.methods.losses import START, SUPERVISED, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, shipped
from tests.training.test_objective import K, make_batch

WEIGHED = Weighed({**SHARED, "gamma": 0.25}, {"train": {**VANILLA, "attention_entropy": 0.25}})


def _awake(backbone="tiny"):
    """A network in which every branch counts: fresh residual branches end in a batch norm of zeros."""
    network = build(backbone, 5, False, None, 0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


def _disturb(attentions, seed=0):
    random = torch.Generator().manual_seed(seed)
    for attention in attentions:
        attention.scores.data.normal_(generator=random)


@pytest.fixture
def image():
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small"])
def test_uniform_attention_changes_nothing_and_other_attention_does(backbone, image):
    network = _awake(backbone)
    before = network(image).logits
    attentions = attend(network, VamConfig())
    assert torch.equal(network(image).logits, before)
    _disturb(attentions)
    assert not torch.allclose(network(image).logits, before, atol=1e-4)


@pytest.mark.parametrize("backbone", ["tiny", "mobilenetv3_small"])
def test_the_folded_network_is_a_plain_backbone_that_answers_the_same(backbone, image):
    network = _awake(backbone)
    plain = set(network.state_dict())
    _disturb(attend(network, VamConfig()))
    folded = fold(network, VamConfig())
    assert torch.allclose(folded(image).logits, network(image).logits, atol=1e-6)
    assert set(folded.state_dict()) == plain
    assert parameter_count(folded) == BACKBONES[backbone].parameters < parameter_count(network)
    assert found_attentions(network)
    assert not found_attentions(folded)


def test_the_effective_weight_is_what_loops_over_blocks_say():
    attention = BlockAttention((40, 72), 16, temperature=0.7)
    _disturb([attention])
    weight = torch.randn(40, 72, 1, 1, generator=torch.Generator().manual_seed(1))
    n, m = attention.blocks
    assert (n, m) == (2, 4)
    scores = attention.scores.detach().numpy().reshape(n, m)
    wanted = weight.numpy().copy()
    for j, rows in enumerate(np.array_split(np.arange(40), n)):
        e = [math.exp(s / 0.7) for s in scores[j]]
        for i, columns in enumerate(np.array_split(np.arange(72), m)):
            wanted[np.ix_(rows, columns)] *= m * e[i] / sum(e)
            assert len(columns) >= 16
    assert np.allclose(attention(weight).detach().numpy(), wanted, atol=1e-6)


def test_rows_sum_to_one_and_entropy_runs_from_one_to_zero():
    attention = BlockAttention((32, 64), 16, 1.0)
    assert mean_entropy((attention,)).item() == pytest.approx(1.0)
    _disturb([attention])
    assert torch.allclose(attention.attention().sum(1), torch.ones(2))
    assert 0 < mean_entropy((attention,)).item() < 1
    other = BlockAttention((48, 32), 16, temperature=0.5)
    _disturb([other], seed=1)
    shares = []  # of log m, row by row over both layers
    for one, (rows, columns), t in ((attention, (2, 4), 1.0), (other, (3, 2), 0.5)):
        for scores in one.scores.detach().double().numpy().reshape(rows, columns):
            a = np.exp(scores / t) / np.exp(scores / t).sum()
            shares.append(-(a * np.log(a)).sum() / math.log(columns))
    assert mean_entropy((attention, other)).item() == pytest.approx(np.mean(shares), rel=1e-5)
    attention.scores.data.view(2, 4)[:, 1] = 1e4
    assert mean_entropy((attention,)).item() == pytest.approx(0, abs=1e-6)


def test_it_goes_where_convolutions_mix_channels_and_nowhere_else():
    mobile = eligible(build("mobilenetv3_small", 5, False, None, 0), 16)
    assert {module.kernel_size for module in mobile.values()} == {(1, 1)}
    assert not any(".se." in name or "stem" in name or module.groups > 1 for name, module in mobile.items())
    assert "body.blocks.4.0.conv_pw" in mobile
    assert "body.blocks.1.0.conv_pw" not in mobile  # 16 channels in: one block
    residual = eligible(build("resnet18", 5, False, None, 0), 16)
    assert {module.kernel_size for module in residual.values()} == {(3, 3)}
    assert len(residual) == 16


def test_a_backbone_with_nothing_to_attend_to_is_refused():
    METHOD.check(VamConfig(), SimpleNamespace(backbone="tiny"))
    with pytest.raises(ConfigError, match="500 channels in tiny"):
        METHOD.check(VamConfig(block_size=500), SimpleNamespace(backbone="tiny"))


def _objective(gamma, network=None):
    config = VamConfig(gamma=gamma)
    attentions = attend(network or _awake(), config)
    return AttendedKd(config, SUPERVISED, attentions), attentions


def test_without_gamma_it_is_vanilla_distillation_and_gamma_adds_the_entropy(student, teacher):
    vanilla = loss_of(terms_of(VanillaKd(KdConfig(), SUPERVISED), student, teacher))
    without, _ = _objective(0.0)
    assert torch.allclose(loss_of(terms_of(without, student, teacher)), vanilla)
    with_it, attentions = _objective(0.25)
    _disturb(attentions)
    assert torch.allclose(loss_of(terms_of(with_it, student, teacher)), vanilla + 0.25 * mean_entropy(attentions))


def test_the_objective_does_not_own_the_attention_and_neither_decays():
    network = _awake()
    objective, attentions = _objective(0.1, network)
    assert not list(objective.parameters())
    assert all(attention.scores.ndim == 1 for attention in attentions)


def test_gamma_lowers_the_entropy_in_a_few_steps(image):
    found = {}
    for gamma in (0.0, 0.5):
        network = _awake().train()
        objective, attentions = _objective(gamma, network)
        _disturb(attentions)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        batch = make_batch(2)
        for _ in range(5):
            terms = objective(network(image), TeacherSignal(torch.zeros(2, K)), batch, START)
            optimizer.zero_grad()
            loss_of(terms).backward()
            optimizer.step()
        found[gamma] = mean_entropy(attentions).item()
    assert found[0.5] < found[0.0] - 0.01


def test_gradients_reach_weights_and_attention_and_stay_finite(image):
    network = _awake()
    objective, attentions = _objective(0.01, network)
    for attention in attentions:
        attention.scores.data[0] = 1e4
    teacher = torch.full((2, K), 1e4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = network(image)
    loss = loss_of(objective(outputs, TeacherSignal(teacher.detach()), make_batch(2), START))
    loss.backward()
    assert torch.isfinite(loss)
    assert teacher.grad is None
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert all(attention.scores.grad is not None for attention in attentions)
    copied = copy.deepcopy(network)
    assert torch.equal(copied(image).logits, network(image).logits)


@pytest.mark.parametrize("wrong", [{"gamma": -1.0}, {"block_size": 0}, {"attention_temperature": 0.0}, {"alpha": 2.0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        VamConfig(**wrong)


def test_a_run_cut_anywhere_ends_with_the_same_plain_student(prepared, taught, tmp_path):
    method = {"kind": "vam", "gamma": 1.0}
    config = configuration(prepared, method, teacher=str(taught), train={"average_decay": 0.5})
    folder = check_exact_resume(config, tmp_path, cuts=(2,))
    card = read_json(folder / "card.json")
    assert card["parameters"] == BACKBONES["tiny"].parameters < card["method_facts"]["training_parameters"]
    assert 0 < card["method_facts"]["mean_attention_entropy"] < 1


def test_the_configuration_in_the_repository_is_the_starting_point():
    assert shipped("vam").method == VamConfig()
