"""Relations between the samples of a batch: pairwise distances and the angles of triplets, both free of scale.

Unchanged when an embedding is shifted, rotated or scaled. Two samples that coincide (MixUp can make them) have no
distance to speak of and no direction: such pairs give no angle and no gradient.

References:
    Park et al., "Relational Knowledge Distillation", CVPR 2019, arXiv:1904.05068.

Shape letters: B batch, C D widths of two embeddings.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

COINCIDENT = 1e-6
"""Squared distance, relative to the mean of the batch, below which two samples count as one."""


def distance_loss(student: Float[Tensor, "B C"], teacher: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Return the smooth L1 distance of all pairwise distances, each divided by the mean of those that are not zero."""
    return F.smooth_l1_loss(_distances(student), _distances(teacher), reduction="mean")


def angle_loss(student: Float[Tensor, "B C"], teacher: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Return the smooth L1 distance of the cosines of all triplets; B³ numbers are held."""
    return F.smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="mean")


def _gram(embedding: Float[Tensor, "B C"]) -> tuple[Float[Tensor, "B B"], Float[Tensor, "B B"]]:
    """Inner products of the centred embedding, and squared distances; centring keeps digits that matter."""
    centred = embedding.float() - embedding.float().mean(0)
    products = centred @ centred.T
    norms = products.diagonal()
    squared = (norms[:, None] + norms[None, :] - 2 * products).clamp_min(0)
    return products, squared


def _apart(squared: Float[Tensor, "B B"]) -> Tensor:
    """Mask of the pairs that do not coincide."""
    off_diagonal = ~torch.eye(len(squared), dtype=torch.bool, device=squared.device)
    return off_diagonal & (squared > COINCIDENT * squared.mean().clamp_min(torch.finfo(squared.dtype).tiny))


def _distances(embedding: Float[Tensor, "B C"]) -> Float[Tensor, "B B"]:
    _, squared = _gram(embedding)
    apart = _apart(squared.detach())
    distances = torch.where(apart, squared, 1.0).sqrt() * apart
    mean = distances.sum() / apart.sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1.0)


def _cosines(embedding: Float[Tensor, "B C"]) -> Float[Tensor, "B B B"]:
    """Entry [j, i, k]: the cosine at j between the directions to i and to k."""
    products, squared = _gram(embedding)
    apart = _apart(squared.detach())
    inverse = torch.where(apart, squared, 1.0).rsqrt() * apart
    norms = products.diagonal()
    inner = products[None] - products[:, :, None] - products[:, None, :] + norms[:, None, None]
    return inner * inverse[:, :, None] * inverse[:, None, :]
