"""How positions and channels of one feature map go together, compared between two networks.

A map is X ∈ R^{C×N}, N = H·W. The channel relation is that of its rows, G_c = X̂_r X̂_rᵀ, the spatial relation that of
its columns, G_s = X̂_cᵀ X̂_c, with rows and columns of length 1. The joint relation G_c X G_s expresses every value
through both. Neither G_c, which has millions of entries for a wide teacher, nor any of its products is ever formed:
everything is computed from N×N matrices, and identical maps give exactly 0.

References:
    Park & Heo, Sensors 2020, 20(16):4616, DOI 10.3390/s20164616 (abstract: the full relationship of channels and
    positions); Kornblith et al., ICML 2019, arXiv:1905.00414 (linear CKA).

Shape letters: B batch, C D channels, N positions.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

TINY = 1e-6
"""Added to squared lengths: a row or column of zeros stays zero, and its gradient finite."""


def flatten(features: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C N"]:
    """Return a map as a matrix, averaged down to at most ``side`` positions a side.

    Args:
        features: Feature map, any precision.
        side: Largest height and width.
    """
    height, width = features.shape[2:]
    if max(height, width) > side:
        features = F.adaptive_avg_pool2d(features, (min(height, side), min(width, side)))
    return features.float().flatten(2)


def channel_difference(student: Float[Tensor, "B C N"], teacher: Float[Tensor, "B C N"]) -> Float[Tensor, " B"]:
    """Return ‖G_c^s − G_c^t‖² / C².

    With A and B the matrices of unit rows, D = A − B and S = A + B, the difference A Aᵀ − B Bᵀ is ½ (D Sᵀ + S Dᵀ),
    whose squared length is ½ (⟨DᵀD, SᵀS⟩ + ⟨SᵀD, DᵀS⟩).
    """
    a, b = _unit(student, 2), _unit(teacher, 2)
    difference, total = a - b, a + b
    cross = total.mT @ difference
    own = ((difference.mT @ difference) * (total.mT @ total)).sum((1, 2))
    return (own + (cross * cross.mT).sum((1, 2))) / (2 * student.shape[1] ** 2)


def spatial_difference(student: Float[Tensor, "B C N"], teacher: Float[Tensor, "B D N"]) -> Float[Tensor, " B"]:
    """Return ‖G_s^s − G_s^t‖² / N²; the widths may differ."""
    return (_spatial(student) - _spatial(teacher)).square().mean((1, 2))


def joint_difference(student: Float[Tensor, "B C N"], teacher: Float[Tensor, "B C N"]) -> Float[Tensor, " B"]:
    """Return ‖J^s − J^t‖², J = G_c X G_s brought to length 1."""
    return (_joint(student) - _joint(teacher)).square().sum((1, 2))


def cka_difference(student: Float[Tensor, "B C N"], teacher: Float[Tensor, "B D N"]) -> Float[Tensor, " B"]:
    """Return 1 − linear CKA of both maps over their positions; the widths may differ. 0 for a single position."""
    a, b = (x - x.mean(2, keepdim=True) for x in (student, teacher))
    a, b = a / _length(a, (1, 2)), b / _length(b, (1, 2))
    kernel_a, kernel_b = a.mT @ a, b.mT @ b
    alike = (kernel_a * kernel_b).sum((1, 2)) + TINY
    return 1 - alike / ((kernel_a.square().sum((1, 2)) + TINY) * (kernel_b.square().sum((1, 2)) + TINY)).sqrt()


def _spatial(x: Float[Tensor, "B C N"]) -> Float[Tensor, "B N N"]:
    unit = _unit(x, 1)
    return unit.mT @ unit


def _joint(x: Float[Tensor, "B C N"]) -> Float[Tensor, "B C N"]:
    x = x / _length(x, (1, 2))
    rows = _unit(x, 2)
    joint = rows @ ((rows.mT @ x) @ _spatial(x))
    return joint / _length(joint, (1, 2))


def _unit(x: Float[Tensor, "B C N"], dim: int) -> Float[Tensor, "B C N"]:
    return x / _length(x, (dim,))


def _length(x: Float[Tensor, "B C N"], dims: tuple[int, ...]) -> Tensor:
    return (x.square().sum(dims, keepdim=True) + TINY**2).sqrt()
