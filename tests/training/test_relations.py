"""Relations between samples against plain loops, their invariances, and samples that coincide."""

import numpy as np
import pytest
import torch

from fibrokd.training.relations import angle_loss, distance_loss


def _smooth(a, b):
    difference = np.abs(a - b)
    return np.where(difference < 1, 0.5 * difference**2, difference - 0.5).mean()


def _distances(x):
    n = len(x)
    d = np.array([[np.linalg.norm(x[i] - x[j]) for j in range(n)] for i in range(n)])
    return d / d[d > 0].mean()


def _cosines(x):
    n = len(x)
    out = np.zeros((n, n, n))
    for j in range(n):
        for i in range(n):
            for k in range(n):
                a, b = x[i] - x[j], x[k] - x[j]
                length = np.linalg.norm(a) * np.linalg.norm(b)
                out[j, i, k] = a @ b / length if length > 0 else 0
    return out


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=random), 3 * torch.randn(6, 9, generator=random) + 50


def test_both_are_what_loops_say(pair):
    a, b = pair
    x, y = a.double().numpy(), b.double().numpy()
    assert distance_loss(a, b).item() == pytest.approx(_smooth(_distances(x), _distances(y)), rel=1e-4)
    assert angle_loss(a, b).item() == pytest.approx(_smooth(_cosines(x), _cosines(y)), rel=1e-3)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_rotation_scale_and_shift_change_nothing(pair, loss):
    a, b = pair
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    assert loss(a, 5 * a @ rotation + 3).item() == pytest.approx(0, abs=1e-6)
    assert loss(5 * a @ rotation + 3, b).item() == pytest.approx(loss(a, b).item(), rel=1e-3)


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_samples_that_coincide_give_finite_gradients(pair, loss):
    a, b = (x.clone() for x in pair)
    a[1], b[1] = a[0], b[0]
    a[2] = a[0] + 1e-7
    a.requires_grad_()
    loss(a, b).backward()
    assert torch.isfinite(a.grad).all()
    assert 0 < a.grad.abs().max() < 10


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_batch_that_is_one_point_has_no_relations(loss, size):
    x = torch.ones(size, 3, requires_grad=True)
    value = loss(x, torch.zeros(size, 7))
    value.backward()
    assert value.item() == 0
    assert torch.equal(x.grad, torch.zeros(size, 3))
