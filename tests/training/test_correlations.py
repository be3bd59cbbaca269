"""Relations of channels and positions against explicit matrices, their invariances, and maps of zeros."""

import pytest
import torch

from fibrokd.training.correlations import (
    channel_difference,
    cka_difference,
    flatten,
    joint_difference,
    spatial_difference,
)

ALL = [channel_difference, spatial_difference, joint_difference, cka_difference]


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(0)
    return torch.randn(3, 6, 4, generator=random), torch.randn(3, 6, 4, generator=random)


def _explicit(x):
    rows, columns = x / x.norm(dim=1, keepdim=True), x / x.norm(dim=0, keepdim=True)
    channel, spatial = rows @ rows.T, columns.T @ columns
    joint = channel @ x @ spatial
    return channel, spatial, joint / joint.norm()


def test_each_is_what_explicit_matrices_say(pair):
    a, b = pair
    for i in range(3):
        (ca, sa, ja), (cb, sb, jb) = _explicit(a[i].double()), _explicit(b[i].double())
        assert channel_difference(a, b)[i].item() == pytest.approx((ca - cb).square().sum().item() / 36, rel=1e-4)
        assert spatial_difference(a, b)[i].item() == pytest.approx((sa - sb).square().sum().item() / 16, rel=1e-4)
        assert joint_difference(a, b)[i].item() == pytest.approx((ja - jb).square().sum().item(), rel=1e-4)
        x, y = (z[i].double() - z[i].double().mean(1, keepdim=True) for z in (a, b))
        cka = (x @ y.T).square().sum() / ((x @ x.T).norm() * (y @ y.T).norm())
        assert cka_difference(a, b)[i].item() == pytest.approx(1 - cka.item(), rel=1e-3)


@pytest.mark.parametrize("difference", ALL)
def test_equal_maps_differ_by_nothing(pair, difference):
    x = pair[0].clone().requires_grad_()
    value = difference(x, pair[0])
    value.sum().backward()
    assert value.abs().max() < 1e-6
    assert x.grad.abs().max() < 1e-5


def test_small_differences_of_channels_keep_their_digits(pair):
    a = pair[0]
    b = a + 1e-4 * pair[1]
    wanted = channel_difference(a.double(), b.double())
    assert torch.allclose(channel_difference(a, b).double(), wanted, rtol=0.02)


def test_positions_do_not_mind_a_rotation_of_channels_or_the_scale(pair):
    a, b = pair
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))
    for difference in (spatial_difference, cka_difference):
        assert torch.allclose(difference(7 * (rotation @ a), b), difference(a, b), atol=1e-5)
    assert not torch.allclose(channel_difference(rotation @ a, b), channel_difference(a, b), atol=1e-3)


def test_channels_do_not_mind_an_order_of_positions_that_both_share(pair):
    a, b = pair
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(channel_difference(a[:, :, order], b[:, :, order]), channel_difference(a, b), atol=1e-6)


@pytest.mark.parametrize("difference", [spatial_difference, cka_difference])
def test_positions_are_compared_at_different_widths(pair, difference):
    assert difference(pair[0], torch.randn(3, 11, 4)).shape == (3,)


@pytest.mark.parametrize("difference", ALL)
@pytest.mark.parametrize("positions", [1, 4])
def test_maps_of_zeros_have_finite_values_and_gradients(difference, positions):
    x = torch.zeros(2, 6, positions, requires_grad=True)
    value = difference(x, torch.ones(2, 6, positions))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() < 1e3


def test_large_maps_are_averaged_down():
    features = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(flatten(features, 2), torch.tensor([[[2.5, 4.5, 10.5, 12.5]]]))
    assert flatten(features.bfloat16(), 14).shape == (1, 1, 16)
    assert flatten(features.bfloat16(), 14).dtype == torch.float32
