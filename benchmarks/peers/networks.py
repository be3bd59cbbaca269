"""fibrokd's side of what both sides share: the common network as the loop expects it, and the common loss."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from benchmarks.peers import torchdistill_side as common
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm


class AsOurs(nn.Module):
    """One of the common networks, answering as the loop expects; it hands out no pooled vector.

    Args:
        network: Takes images [B, 1, S, S], returns logits [B, K].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, taps: Collection[str] = ()) -> Outputs:
        """Return the logits."""
        del taps
        return Outputs(self.network(images), images.new_empty((len(images), 0)), {})


def supervised() -> SupervisedTerm:
    """Make the label term of both sides; all stages weigh alike."""
    config = SupervisedConfig(label_smoothing=common.SMOOTHING, class_weights="none")
    return SupervisedTerm(config, torch.ones(common.STAGES))


def objective() -> VanillaKd:
    """Make fibrokd's objective with the coefficients of both sides."""
    return VanillaKd(KdConfig(alpha=common.ALPHA, kd_temperature=common.TEMPERATURE), supervised())
