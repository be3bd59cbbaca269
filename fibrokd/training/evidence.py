"""Where in a picture a network finds what it says: cells of its last feature map, left out one by one.

The evidence of a cell for a stage is how far the stage's logit falls where the cell holds no more than all the others
do on average. It needs no gradient and no choice of a layer, and it is the same for every network of this package.
Where a network pools its features and reads them linearly it is the class activation map of Zhou et al., less its mean,
up to a factor; elsewhere it is the answer to a question that can be asked of the network itself. The difference of two
stages' evidence is a change of log odds.

A cell sees more of the picture than its own place: maps say roughly where, not what.

Shape letters: N images, K stages, D width of the pooled vector, C channels, h w cells, S side of the input.

References:
    Zhou et al., "Learning deep features for discriminative localization", CVPR 2016, doi:10.1109/CVPR.2016.319, eq. 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from fibrokd.data.preprocess import as_network_input
from fibrokd.training.networks import Outputs


@runtime_checkable
class ReadsFeatures(Protocol):
    """A network in two halves: from images to feature maps, and from these to its answer."""

    def features(self, images: Tensor) -> Tensor:
        """Return feature maps [N, C, h, w]."""
        ...

    def from_features(self, features: Tensor) -> Outputs:
        """Return the answer to them."""
        ...


@dataclass(frozen=True, eq=False)
class Look:
    """What a network answers, and of what.

    Args:
        logits: Pre-softmax scores.
        pooled: The vector that enters the last linear layer.
        evidence: Logits less those without each cell.
    """

    logits: Float32[np.ndarray, "N K"]
    pooled: Float32[np.ndarray, "N D"]
    evidence: Float32[np.ndarray, "N K h w"]


@torch.inference_mode()
def look(network: nn.Module, pixels: UInt8[np.ndarray, "N S S"], batch_size: int = 64) -> Look:
    """Let a network answer in fp32 on the CPU, on single centre views, and keep what it answers with.

    Args:
        network: Network in eval mode.
        pixels: Preprocessed frames; at least one.
        batch_size: Frames per forward pass.
    """
    halves = cast(ReadsFeatures, network)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for images in _batches(pixels, batch_size):
        features = halves.features(images)
        answer = halves.from_features(features)
        found.append((answer.logits, answer.pooled, cell_evidence(halves, features)))
    logits, pooled, evidence = (torch.cat(parts).float().numpy() for parts in zip(*found, strict=True))
    return Look(logits, pooled, evidence)


@torch.inference_mode()
def embed(network: nn.Module, pixels: UInt8[np.ndarray, "N S S"], batch_size: int = 64) -> Float32[np.ndarray, "N D"]:
    """Return the vectors that enter the last linear layer, as :func:`look` does, and nothing else.

    Args:
        network: Network in eval mode.
        pixels: Preprocessed frames; at least one.
        batch_size: Frames per forward pass.
    """
    pooled: np.ndarray = torch.cat([network(images).pooled for images in _batches(pixels, batch_size)]).float().numpy()
    return pooled


def _batches(pixels: UInt8[np.ndarray, "N S S"], size: int) -> Iterator[Tensor]:
    for start in range(0, len(pixels), size):
        yield torch.from_numpy(as_network_input(np.ascontiguousarray(pixels[start : start + size])))


def cell_evidence(network: ReadsFeatures, features: Float[Tensor, "N C h w"]) -> Float[Tensor, "N K h w"]:
    """Return how far every logit falls without each cell.

    A cell is left out by giving it the mean of all others, so that a mean over the map is that of the others. A map of
    a single cell says nothing about where: its evidence is 0.

    Args:
        network: Network in eval mode.
        features: What it found.
    """
    height, width = features.shape[2:]
    cells = height * width
    whole = network.from_features(features).logits.float()
    if cells == 1:
        return torch.zeros(*whole.shape, 1, 1)
    flat = features.flatten(2)
    others = (flat.sum(2, keepdim=True) - flat) / (cells - 1)
    falls = []
    for cell in range(cells):
        changed = flat.clone()
        changed[:, :, cell] = others[:, :, cell]
        falls.append(whole - network.from_features(changed.view_as(features)).logits.float())
    return torch.stack(falls, dim=2).view(*whole.shape, height, width)
