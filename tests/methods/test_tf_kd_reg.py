"""The virtual teacher: its target in three modes, and that `plain` is label smoothing and nothing else."""

import math

import pytest
import torch
from pydantic import ValidationError

from fibrokd.errors import ConfigError
from fibrokd.methods.tf_kd_reg import TfKdRegConfig, VirtualTeacher, virtual_teacher
from fibrokd.pipeline import distill
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from tests.methods.coefficients import Weighed
from tests.methods.losses import WEIGHTS, loss_of, terms_of
from tests.methods.tiny import check_exact_resume, configuration, shipped
from tests.training.test_objective import K, make_batch, value

WEIGHED = Weighed({"alpha": 0.2, "kd_temperature": 5.0}, {"train": {"supervised": 0.8, "virtual": 0.2 * 5.0**2}})


def _supervised(smoothing=0.0, weights=None):
    return SupervisedTerm(SupervisedConfig(label_smoothing=smoothing), torch.ones(K) if weights is None else weights)


def _loss(config, logits, batch, supervised=None):
    return loss_of(terms_of(VirtualTeacher(config, supervised or _supervised()), logits, None, batch))


def _gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


@pytest.fixture
def logits():
    return torch.randn(8, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("mixed", [False, True], ids=["single", "mixup"])
def test_the_plain_mode_is_label_smoothing_gradient_for_gradient(logits, mixed):
    batch, alpha, a = make_batch(mixed=mixed), 0.3, 0.9
    config = TfKdRegConfig(mode="plain", alpha=alpha, confidence=a)
    smoothed = value(_supervised(alpha * (1 - a) * K / (K - 1))(logits, batch))
    found = _gradient(_loss(config, logits, batch), logits)
    assert torch.allclose(found, _gradient(smoothed, logits), atol=1e-6)
    assert found.abs().max() > 0.01


def test_without_mixing_it_is_what_loops_say(logits):
    batch, config = make_batch(mixed=False), TfKdRegConfig(alpha=0.1, kd_temperature=20.0, confidence=0.99)
    total = 0.0
    for row, stage in zip(logits.tolist(), batch.stages.tolist(), strict=True):
        powers = [(0.99 if k == stage else 0.01 / 4) ** (1 / 20) for k in range(K)]
        u = [p / sum(powers) for p in powers]
        tempered, plain = ([math.exp(z / t) for z in row] for t in (20.0, 1.0))
        divergence = sum(p * math.log(p / (e / sum(tempered))) for p, e in zip(u, tempered, strict=True))
        total += 0.9 * -math.log(plain[stage] / sum(plain)) + 0.1 * 400 * divergence
    assert _loss(config, logits, batch).item() == pytest.approx(total / len(logits), rel=1e-4)


@pytest.mark.parametrize("mode", ["logprob", "released", "plain"])
def test_with_mixing_and_class_weights_it_is_what_loops_say(logits, mode):
    batch = make_batch()
    config = TfKdRegConfig(mode=mode, alpha=0.3, kd_temperature=20.0, confidence=0.9)
    hard = weights = soft = 0.0
    for row, a, b, lam in zip(
        logits.tolist(), batch.stages.tolist(), batch.partner_stages.tolist(), batch.lam.tolist(), strict=True
    ):
        target = [0.0] * K
        for stage, share in ((a, lam), (b, 1 - lam)):
            u = [0.9 if k == stage else 0.1 / (K - 1) for k in range(K)]
            powers = {
                "logprob": [x ** (1 / 20) for x in u],
                "released": [math.exp(x / 20) for x in u],
                "plain": u,
            }[mode]
            target = [t + share * p / sum(powers) for t, p in zip(target, powers, strict=True)]
        t = 20.0 if mode == "logprob" else 1.0
        e = [math.exp(z / t) for z in row]
        soft += sum(p * math.log(p / (x / sum(e))) for p, x in zip(target, e, strict=True))
        e = [math.exp(z) for z in row]
        omega = lam * float(WEIGHTS[a]) + (1 - lam) * float(WEIGHTS[b])
        hard -= omega * (lam * math.log(e[a] / sum(e)) + (1 - lam) * math.log(e[b] / sum(e)))
        weights += omega
    factor = {"logprob": 0.3 * 400, "released": 0.3 / 100, "plain": 0.3}[mode]
    found = _loss(config, logits, batch, _supervised(weights=WEIGHTS))
    assert found.item() == pytest.approx(0.7 * hard / weights + factor * soft / 8, rel=1e-4)


@pytest.mark.parametrize(
    ("mode", "kd_temperature", "wanted"),
    [
        ("released", 20.0, (0.208, 0.198)),
        ("released", 40.0, (0.204, 0.199)),
        ("logprob", 20.0, (0.252, 0.187)),
        ("plain", 20.0, (0.99, 0.0025)),
    ],
)
def test_the_target_of_each_mode_is_the_known_one(mode, kd_temperature, wanted):
    config = TfKdRegConfig(mode=mode, kd_temperature=kd_temperature)
    target = virtual_teacher(config, torch.tensor([2]), K)[0]
    assert target.tolist() == pytest.approx([wanted[0] if k == 2 else wanted[1] for k in range(K)], abs=6e-4)
    assert target.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("mode", ["logprob", "released"])
def test_a_hot_target_is_uniform(mode):
    config = TfKdRegConfig(mode=mode, kd_temperature=1e5)
    assert torch.allclose(virtual_teacher(config, torch.arange(K), K), torch.full((K, K), 0.2), atol=1e-4)


@pytest.mark.parametrize("kd_temperature", [0.5, 1.0, 20.0])
@pytest.mark.parametrize("mode", ["logprob", "released", "plain"])
def test_a_teacher_that_knows_nothing_is_uniform_at_every_temperature(mode, kd_temperature):
    config = TfKdRegConfig(mode=mode, confidence=0.2, kd_temperature=kd_temperature)
    assert torch.allclose(virtual_teacher(config, torch.arange(K), K), torch.full((K, K), 0.2))


def test_a_teacher_that_is_certain_is_cross_entropy(logits):
    batch = make_batch(mixed=False)
    config = TfKdRegConfig(mode="logprob", kd_temperature=1.0, confidence=1 - 1e-7, alpha=0.7)
    assert torch.allclose(_loss(config, logits, batch), value(_supervised()(logits, batch)).double(), atol=1e-5)


def test_under_mixup_the_target_is_the_mixture_of_two_virtual_teachers(logits):
    batch, config = make_batch(), TfKdRegConfig(alpha=1.0)
    lam = batch.lam[:, None]
    own, partner = (virtual_teacher(config, stages, K) for stages in (batch.stages, batch.partner_stages))
    found = _gradient(_loss(config, logits, batch), logits)
    wanted = 20.0 * ((logits / 20).softmax(1) - (lam * own + (1 - lam) * partner)) / len(logits)
    assert torch.allclose(found, wanted.to(found.dtype), atol=1e-6)


def test_the_released_mode_leaves_the_student_untempered_and_counts_100_classes(logits):
    batch = make_batch(mixed=False)
    config = TfKdRegConfig(mode="released", alpha=0.1, multiplier=100.0)
    term = terms_of(VirtualTeacher(config, _supervised()), logits, None, batch)["virtual"]
    assert term.coefficient == pytest.approx(0.1)
    found = _gradient(term.coefficient * value(term), logits)
    wanted = 0.1 * (logits.softmax(1) - virtual_teacher(config, batch.stages, K)) / len(logits)
    assert torch.allclose(found, wanted.to(found.dtype), atol=1e-6)


def test_t_squared_can_be_left_out():
    assert TfKdRegConfig(t_squared=False).weight == pytest.approx(0.1)
    assert TfKdRegConfig().weight == pytest.approx(0.1 * 400)


@pytest.mark.parametrize("mode", ["logprob", "released", "plain"])
def test_extreme_logits_class_weights_and_mixup_stay_finite(mode):
    x = (1e4 * torch.randn(8, K, generator=torch.Generator().manual_seed(3))).requires_grad_()
    loss = _loss(TfKdRegConfig(mode=mode), x, make_batch(), _supervised(weights=WEIGHTS))
    assert torch.isfinite(loss)
    assert torch.isfinite(_gradient(loss, x)).all()


def test_half_precision_logits_are_computed_in_single_precision(logits):
    coarse = logits.detach().bfloat16()
    assert torch.equal(
        _loss(TfKdRegConfig(), coarse, make_batch()), _loss(TfKdRegConfig(), coarse.float(), make_batch())
    )


@pytest.mark.parametrize(
    "wrong", [{"confidence": 1.0}, {"alpha": -0.1}, {"mode": "mean"}, {"multiplier": 2.0}, {"kd_temperature": 0.0}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValidationError):
        TfKdRegConfig(**wrong)


def test_a_run_cut_anywhere_ends_with_the_same_student_and_smoothing_is_refused(prepared, tmp_path):
    method = {"kind": "tf_kd_reg"}
    with pytest.raises(ConfigError, match="smoothed twice"):
        distill.run(configuration(prepared, method), tmp_path / "refused")
    config = configuration(prepared, method, supervised={"label_smoothing": 0})
    check_exact_resume(config, tmp_path, cuts=(1,))


def test_the_configuration_in_the_repository_smooths_once():
    plan = shipped("tf_kd_reg")
    assert plan.supervised.label_smoothing == 0
    assert TfKdRegConfig.model_validate_json(plan.method.model_dump_json()) == plan.method
