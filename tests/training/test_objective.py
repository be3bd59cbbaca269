"""The shared supervised term and the distillation divergence against PyTorch and against their laws."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.training.dataset import Batch
from fibrokd.training.objective import (
    SupervisedConfig,
    SupervisedTerm,
    class_weights,
    soft_kl,
)
from fibrokd.training.signals import TeacherSignal

K = 5


def make_batch(size=8, mixed=True, seed=0):
    random = torch.Generator().manual_seed(seed)
    stages = torch.randint(0, K, (size,), generator=random)
    partners = torch.randint(0, K, (size,), generator=random)
    lam = 0.5 + 0.5 * torch.rand(size, generator=random) if mixed else torch.ones(size)
    index = torch.arange(size)
    return Batch(torch.zeros(size, 1, 2, 2), stages, partners, lam, index, index, 0)


def value(term):
    return (term.weights * term.values).sum() / term.weights.sum()


@pytest.fixture
def logits():
    return torch.randn(8, K, generator=torch.Generator().manual_seed(1), dtype=torch.float32)


def test_without_mixing_smoothing_and_weights_it_is_plain_cross_entropy(logits):
    batch = make_batch(mixed=False)
    term = SupervisedTerm(SupervisedConfig(label_smoothing=0.0), torch.ones(K))(logits, batch)
    assert torch.allclose(value(term), F.cross_entropy(logits, batch.stages))


def test_with_index_targets_and_weights_it_is_pytorchs_weighted_mean(logits):
    batch, weights = make_batch(mixed=False), torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7])
    term = SupervisedTerm(SupervisedConfig(label_smoothing=0.0), weights)(logits, batch)
    assert torch.allclose(value(term), F.cross_entropy(logits, batch.stages, weight=weights))


def test_swapping_the_members_of_a_pair_changes_nothing(logits):
    batch = make_batch()
    swapped = Batch(
        batch.images, batch.partner_stages, batch.stages, 1 - batch.lam, batch.index, batch.index, batch.epoch
    )
    supervised = SupervisedTerm(SupervisedConfig(), torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7]))
    assert torch.allclose(value(supervised(logits, batch)), value(supervised(logits, swapped)))


def test_repeating_a_batch_changes_nothing(logits):
    batch = make_batch()
    twice = Batch(*(getattr(batch, f).repeat(2, *[1] * (getattr(batch, f).dim() - 1)) for f in (
        "images", "stages", "partner_stages", "lam", "index", "partner_index")), epoch=0)  # fmt: skip
    supervised = SupervisedTerm(SupervisedConfig(), torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7]))
    assert torch.allclose(value(supervised(logits, batch)), value(supervised(logits.repeat(2, 1), twice)))


def test_the_gradient_is_the_weighted_difference_of_probabilities_and_targets(logits):
    batch, weights = make_batch(), torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7])
    supervised = SupervisedTerm(SupervisedConfig(), weights)
    x = logits.clone().requires_grad_()
    value(supervised(x, batch)).backward()
    omega = batch.lam * weights[batch.stages] + (1 - batch.lam) * weights[batch.partner_stages]
    wanted = omega[:, None] * (logits.softmax(1) - supervised.targets(batch, K)) / omega.sum()
    assert torch.allclose(x.grad, wanted, atol=1e-6)


def test_torch_mode_is_pytorchs_cross_entropy_with_probability_targets_bit_for_bit(logits):
    batch, weights = make_batch(), torch.tensor([0.6, 1.5, 1.6, 1.5, 0.7])
    supervised = SupervisedTerm(SupervisedConfig(weight_mode="torch"), weights)
    term, targets = supervised(logits, batch), supervised.targets(batch, K)
    assert torch.equal(term.weights * term.values, F.cross_entropy(logits, targets, weight=weights, reduction="none"))
    assert torch.allclose(value(term), F.cross_entropy(logits, targets, weight=weights), atol=1e-7)


@given(st.lists(st.integers(0, K - 1), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_balanced_weights_add_up_to_the_number_of_images(stages):
    stages = np.array(stages)
    weights = class_weights(stages, K, "balanced").numpy()
    present = np.bincount(stages, minlength=K)
    assert np.isclose((present * weights).sum(), len(stages) * (present > 0).sum() / K)
    assert (weights[present == 0] == 0).all()


def test_the_divergence_is_forward_kl_summed_over_stages(logits):
    target = torch.randn(8, K, generator=torch.Generator().manual_seed(2)).softmax(1)
    reference = F.kl_div(F.log_softmax(logits / 3, 1), target, reduction="none").sum(1)
    assert torch.allclose(soft_kl(logits, target, 3.0), reference, atol=1e-6)


def test_a_hard_target_gives_a_finite_divergence(logits):
    target = F.one_hot(torch.arange(8) % K, K).float()
    assert torch.isfinite(soft_kl(logits, target, 1.0)).all()


def test_a_pair_is_mixed_after_tempering():
    own, partner, lam = torch.randn(4, K), torch.randn(4, K), torch.tensor([1.0, 0.5, 0.7, 0.9])
    mixed = TeacherSignal(own, partner, lam).probabilities(3.0)
    wanted = lam[:, None] * (own / 3).softmax(1) + (1 - lam[:, None]) * (partner / 3).softmax(1)
    assert torch.allclose(mixed, wanted)
    assert torch.allclose(mixed[0], TeacherSignal(own).probabilities(3.0)[0])
