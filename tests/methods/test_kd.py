"""Vanilla distillation: its limit cases, its gradient, and what labels and teachers may influence."""

import dataclasses

import pytest
import torch

from fibrokd.errors import TrainingError
from fibrokd.methods import METHODS
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, SupervisedConfig, SupervisedTerm
from fibrokd.training.signals import TeacherSignal
from tests.training.test_objective import K, make_batch, value

START = Moment(0, 1)
SUPERVISED = SupervisedTerm(SupervisedConfig(), torch.ones(K))


def _loss(config, logits, teacher, batch):
    signal = None if teacher is None else TeacherSignal(teacher)
    objective = SupervisedOnly if isinstance(config, NoneConfig) else VanillaKd
    terms = objective(config, SUPERVISED)(Outputs(logits, logits, {}), signal, batch, START)
    return sum(term.coefficient * value(term) for term in terms.values())


@pytest.fixture
def student():
    return torch.randn(8, K, dtype=torch.float32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def teacher():
    return 3 * torch.randn(8, K, generator=torch.Generator().manual_seed(4))


def test_the_published_coefficients_weigh_0_4_hard_and_5_4_soft(student, teacher):
    terms = VanillaKd(KdConfig(), SUPERVISED)(
        Outputs(student, student, {}), TeacherSignal(teacher), make_batch(), START
    )
    assert terms["supervised"].coefficient == pytest.approx(0.4)
    assert terms["kd"].coefficient == pytest.approx(5.4)


def test_a_student_that_equals_its_teacher_up_to_a_constant_has_no_loss_and_no_gradient(teacher):
    x = (teacher + 2.5).requires_grad_()
    loss = _loss(KdConfig(alpha=1.0), x, teacher, make_batch())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert x.grad.abs().max() < 1e-5


def test_the_gradient_is_t_times_the_difference_of_probabilities_over_b(student, teacher):
    x = student.clone().requires_grad_()
    _loss(KdConfig(alpha=1.0, kd_temperature=3.0), x, teacher, make_batch()).backward()
    wanted = 3.0 * ((student / 3).softmax(1) - (teacher / 3).softmax(1)) / len(student)
    assert torch.allclose(x.grad, wanted, atol=1e-6)


def test_at_high_temperature_it_matches_centred_logits(student, teacher):
    student, teacher = student.double(), teacher.double()
    loss = _loss(KdConfig(alpha=1.0, kd_temperature=1000.0), student, teacher, make_batch())
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    wanted = difference.square().sum(1).mean() / (2 * K)
    assert loss.item() == pytest.approx(wanted.item(), rel=0.05)


def test_alpha_zero_is_the_control_and_alpha_one_ignores_labels(student, teacher):
    batch = make_batch()
    assert torch.allclose(
        _loss(KdConfig(alpha=0.0), student, teacher, batch), _loss(NoneConfig(), student, None, batch)
    )
    permuted = dataclasses.replace(batch, stages=batch.stages.flip(0), partner_stages=batch.partner_stages.flip(0))
    first, second = (_loss(KdConfig(alpha=1.0), student, teacher, b) for b in (batch, permuted))
    assert torch.equal(first, second)


def test_alpha_on_ce_swaps_the_shares(student, teacher):
    batch = make_batch()
    swapped = _loss(KdConfig(alpha=0.4, alpha_on="ce"), student, teacher, batch)
    assert torch.allclose(swapped, _loss(KdConfig(alpha=0.6), student, teacher, batch))


def test_t_squared_can_be_left_out(student, teacher):
    batch = make_batch()
    on = _loss(KdConfig(alpha=1.0), student, teacher, batch)
    off = _loss(KdConfig(alpha=1.0, t_squared=False), student, teacher, batch)
    assert torch.allclose(on, 9 * off)


def test_without_a_teacher_it_says_what_is_missing(student):
    with pytest.raises(TrainingError, match="Expected a teacher"):
        _loss(KdConfig(), student, None, make_batch())


@pytest.mark.parametrize("kind", METHODS)
def test_every_row_of_the_catalogue_is_complete(kind):
    spec = METHODS[kind]
    assert spec.kind == kind == spec.config().kind
    assert spec.config.model_validate_json(spec.config().model_dump_json()) == spec.config()
    assert spec.title
    assert spec.reference
