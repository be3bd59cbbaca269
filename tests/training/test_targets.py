"""Targets that methods share: agreement of an answer with its pair, and distributions in the labels' place."""

import pytest
import torch
import torch.nn.functional as F

from fibrokd.errors import ConfigError
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm
from fibrokd.training.targets import agreement, refuse_smoothing, towards
from tests.training.test_objective import K, make_batch, value

WEIGHTS = torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7])


def test_without_mixing_agreement_is_the_usual_hit():
    batch = make_batch(mixed=False)
    right = F.one_hot(batch.stages, K).float()
    assert agreement(right, batch).tolist() == [1.0] * 8
    wrong = right.roll(1, dims=1)
    assert agreement(wrong, batch).tolist() == [0.0] * 8


def test_agreement_under_mixup_is_the_share_of_the_stage_that_was_named():
    batch = make_batch()
    answers = torch.rand(8, K, generator=torch.Generator().manual_seed(6))
    for k, found in enumerate(agreement(answers, batch).tolist()):
        named, lam = int(answers[k].argmax()), float(batch.lam[k])
        wanted = lam * (named == int(batch.stages[k])) + (1 - lam) * (named == int(batch.partner_stages[k]))
        assert found == pytest.approx(wanted)


@pytest.mark.parametrize("weight_mode", ["sample", "torch"])
def test_towards_the_labels_it_is_the_shared_term(weight_mode):
    batch, logits = make_batch(), torch.randn(8, K, generator=torch.Generator().manual_seed(7))
    supervised = SupervisedTerm(SupervisedConfig(weight_mode=weight_mode), WEIGHTS)
    ours = towards(supervised, logits, supervised.targets(batch, K), batch, coefficient=0.3)
    assert torch.equal(value(ours), value(supervised(logits, batch)))
    assert ours.coefficient == 0.3


def test_the_gradient_towards_a_distribution_is_the_weighted_difference():
    batch, logits = make_batch(), torch.randn(8, K, generator=torch.Generator().manual_seed(8)).requires_grad_()
    target = torch.rand(8, K, generator=torch.Generator().manual_seed(9)).softmax(1)
    value(towards(SupervisedTerm(SupervisedConfig(), WEIGHTS), logits, target, batch)).backward()
    omega = batch.lam * WEIGHTS[batch.stages] + (1 - batch.lam) * WEIGHTS[batch.partner_stages]
    wanted = omega[:, None] * (logits.detach().softmax(1) - target) / omega.sum()
    assert torch.allclose(logits.grad, wanted, atol=1e-6)


def test_smoothing_twice_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match="smoothed twice"):
        refuse_smoothing(SupervisedConfig(label_smoothing=0.1), "any")
    refuse_smoothing(SupervisedConfig(label_smoothing=0.0), "any")
