"""Vanilla distillation: its limit cases, its gradient, and what labels and teachers may influence."""

import dataclasses

import pytest
import torch

from fibrokd.errors import TrainingError
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from tests.methods.coefficients import SHARED, VANILLA, Weighed
from tests.methods.losses import loss_of, terms_of
from tests.training.test_objective import K, make_batch

WEIGHED = Weighed(SHARED, {"train": VANILLA})

SUPERVISED = SupervisedTerm(SupervisedConfig(), torch.ones(K))


def _loss(config, logits, teacher, batch):
    objective = SupervisedOnly if isinstance(config, NoneConfig) else VanillaKd
    return loss_of(terms_of(objective(config, SUPERVISED), logits, teacher, batch))


def test_the_published_coefficients_weigh_0_4_hard_and_5_4_soft(student, teacher):
    terms = terms_of(VanillaKd(KdConfig(), SUPERVISED), student, teacher)
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
    student, teacher = student.double(), teacher.double()  # of single precision, four digits would be lost
    loss = _loss(KdConfig(alpha=1.0, kd_temperature=1000.0), student, teacher, make_batch())
    difference = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    wanted = difference.square().sum(1).mean() / (2 * K)
    assert loss.item() == pytest.approx(wanted.item(), rel=0.004)


def test_alpha_zero_is_the_control_and_alpha_one_ignores_labels(student, teacher):
    batch = make_batch()
    assert torch.allclose(
        _loss(KdConfig(alpha=0.0), student, teacher, batch), _loss(NoneConfig(), student, None, batch)
    )
    x, y = student.clone().requires_grad_(), student.clone().requires_grad_()
    _loss(KdConfig(alpha=0.0), x, teacher, batch).backward()
    _loss(NoneConfig(), y, None, batch).backward()
    assert y.grad.abs().max() > 0.01
    assert torch.equal(x.grad, y.grad)
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
