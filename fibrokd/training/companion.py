"""Companions: what a method does between epochs (promote a checkpoint, prune neurons), made resumable.

A companion sees the trainee after every epoch, before the checkpoint is written; what it must remember is
part of the checkpoint. Knows no particular method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fibrokd.training.dataset import TrainingImages
from fibrokd.training.runtime import Runtime


@dataclass(frozen=True)
class EpochEnd:
    """What a companion sees after an epoch.

    Args:
        network: The trainee; may be changed in place.
        kept: What was validated: the moving average where there is one, else the trainee.
        optimizer: Its optimiser, whose state has to follow such a change.
        images: Training images: nothing else may be looked at.
        epoch: Epochs of the phase done so far, from 1.
        epochs: Epochs of the phase.
        better: Validation macro-F1 was higher than ever before, whatever is kept.
        runtime: Precision and memory format.
        device: Where the network lies.
    """

    network: nn.Module
    kept: nn.Module
    optimizer: torch.optim.Optimizer
    images: TrainingImages
    epoch: int
    epochs: int
    better: bool
    runtime: Runtime
    device: torch.device


class Companion:
    """Does nothing; methods override what they need."""

    heeds_validation: bool = False
    """Whether what it does depends on :attr:`EpochEnd.better`: then every epoch is validated."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Return modules whose tensors belong into the checkpoint, by name."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return the rest of what must be remembered, as JSON data."""
        return {}

    def restore(self, state: Mapping[str, Any], network: nn.Module) -> None:
        """Take up ``state`` and give ``network`` the shape it had, before its weights are loaded.

        The optimiser is built after that.
        """

    def after_epoch(self, end: EpochEnd) -> dict[str, float]:
        """Act after an epoch.

        Returns:
            Numbers for the epoch's line in metrics.jsonl.
        """
        del end
        return {}
