"""A network or its answers restricted to some stages: what a teacher of all stages says where only some can be.

A softmax over the logits of some stages is the softmax over all of them, renormalised, at every temperature.

Shape letters: N batch, K all stages, L the stages that are left, S side of the input.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fibrokd.errors import ConfigError, TrainingError
from fibrokd.training.networks import Outputs
from fibrokd.training.signals import TeacherSignal


class Restricted(nn.Module):
    """A network of all stages that answers as if there were only some: the baseline of a specialised student.

    Args:
        network: A network with the interface of :class:`StagingNetwork`.
        stages: Which of its stages are left, in their order.
    """

    def __init__(self, network: nn.Module, stages: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        self.stages = stages

    def forward(self, images: Float[Tensor, "N 1 S S"], taps: Collection[str] = ()) -> Outputs:
        """Stage a batch.

        Args:
            images: Grey levels in [0, 1].
            taps: Names of feature taps to return as well.
        """
        outputs: Outputs = self.network(images, taps)
        return replace(outputs, logits=_columns(outputs.logits, self.stages))


def answering(network: nn.Module, known: Sequence[str], wanted: Sequence[str]) -> nn.Module:
    """Return the network, restricted where it knows more stages than are wanted.

    Args:
        network: A network.
        known: Names of its stages.
        wanted: Names of the stages that are told apart, in their order.

    Raises:
        ConfigError: The network does not know a stage.
    """
    if tuple(known) == tuple(wanted):
        return network
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ConfigError(
            f"Expected a network that knows {', '.join(wanted)}, found one of {', '.join(known)}.",
            "Compare networks on stages that all of them know.",
        )
    return Restricted(network, tuple(list(known).index(name) for name in wanted)).train(network.training)


def restricted(signal: TeacherSignal, stages: tuple[int, ...]) -> TeacherSignal:
    """Return an answer as if there were only some stages; members of a MixUp pair are restricted one by one.

    Args:
        signal: Answer of one teacher of all stages.
        stages: Which of its stages are left, in their order.

    Raises:
        TrainingError: The teacher does not know a stage.
    """
    partner = signal.partner_logits
    return replace(
        signal,
        logits=_columns(signal.logits, stages),
        partner_logits=None if partner is None else _columns(partner, stages),
    )


def _columns(logits: Float[Tensor, "N K"], stages: tuple[int, ...]) -> Float[Tensor, "N L"]:
    if logits.shape[1] <= max(stages):
        raise TrainingError(
            f"Expected answers for at least {max(stages) + 1} stages, found {logits.shape[1]}.",
            "Give a teacher that was trained on all stages.",
        )
    return logits.index_select(1, torch.tensor(stages, device=logits.device))
