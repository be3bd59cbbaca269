"""Our reading of the virtual attention module: attention between blocks of a convolution's filters, folded away.

A convolution's weight is cut into blocks of output and input channels; every output block attends to the input
blocks, ``W̃_ji = m · A_ji · W_ji`` with ``A_j = softmax(a_j / t)``, and an entropy term asks each to look at few. The
attention does not depend on the image, so the deployed network is the plain backbone with other weights: no cost.

The paper's text and code were not at hand; this rests on secondary notes. What those leave open is ours: that the
attention is independent of the input, the factor m (uniform attention changes nothing), the value of γ, block size
and temperature, and where it is applied: 1×1 convolutions of networks made of depthwise ones, 3×3 convolutions of
others; never the stem, squeeze-and-excitation or depthwise layers. Channel counts that the block size does not divide
are cut into nearly equal blocks, none smaller. Attention is exempt from weight decay, which would work against the
entropy term.

References:
    Xue et al., "KDExplainer: A Task-oriented Attention Model for Explaining Knowledge Distillation", IJCAI 2021,
    arXiv:2105.04181 (section on the virtual attention mechanism; by way of notes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fibrokd.errors import ConfigError
from fibrokd.training.dataset import Batch
from fibrokd.training.folding import folded
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Distillation, MixtureConfig
from fibrokd.training.networks import Outputs, StagingNetwork, parameter_count
from fibrokd.training.objective import Moment, SupervisedTerm, Term
from fibrokd.training.signals import TeacherSignal


class VamConfig(MixtureConfig):
    """Knobs of the virtual attention module."""

    kind: Literal["vam"] = "vam"
    """Name of the method."""

    gamma: Annotated[float, Field(ge=0)] = 1.0
    """γ, the weight of the attention's entropy (as a share of the largest possible). It is a mean over all rows of all
    layers, some hundreds: at 0.01 its gradient on a row's scores is a thousandth of the labels'."""

    block_size: Annotated[int, Field(ge=1)] = 16
    """Least number of channels in a block; layers with fewer than two input blocks are left alone."""

    attention_temperature: Annotated[float, Field(gt=0)] = 1.0
    """t, of the attention's softmax; one for all layers."""


class BlockAttention(nn.Module):
    """Scales the blocks of a convolution's weight by attention; a parametrisation of ``weight``.

    Args:
        shape: Channels of the weight, (out, in).
        block_size: Least number of channels in a block.
        temperature: t of the softmax.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, shape: tuple[int, int], block_size: int, temperature: float) -> None:
        super().__init__()
        self.blocks = tuple(max(1, channels // block_size) for channels in shape)
        self.temperature = temperature
        # A vector, because matrices decay: that would pull the attention back to uniform.
        self.scores = nn.Parameter(torch.zeros(math.prod(self.blocks)))
        self.register_buffer("rows", _block_of(shape[0], self.blocks[0]), persistent=False)
        self.register_buffer("columns", _block_of(shape[1], self.blocks[1]), persistent=False)

    def attention(self) -> Float[Tensor, "n m"]:
        """Return A, whose rows sum to 1: one per output block."""
        return torch.softmax(self._exponents(), dim=1)

    def entropy(self) -> Float[Tensor, " n"]:
        """Return the entropy of every row as a share of the largest possible, log m."""
        # By logarithms: the derivative of entr() is infinite where A is 0.
        logarithms = torch.log_softmax(self._exponents(), dim=1)
        return -(self.attention() * logarithms).sum(1) / math.log(self.blocks[1])

    def _exponents(self) -> Float[Tensor, "n m"]:
        exponents: Tensor = self.scores.float().view(*self.blocks) / self.temperature
        return exponents

    def forward(self, weight: Float[Tensor, "O I h w"]) -> Float[Tensor, "O I h w"]:
        """Return the effective weight W̃."""
        scale = self.blocks[1] * self.attention()
        effective: Tensor = weight * scale[self.rows][:, self.columns][:, :, None, None]
        return effective


def _block_of(channels: int, blocks: int) -> Tensor:
    parts = [np.full(len(part), number) for number, part in enumerate(np.array_split(np.arange(channels), blocks))]
    return torch.from_numpy(np.concatenate(parts))


def eligible(network: nn.Module, block_size: int) -> dict[str, nn.Conv2d]:
    """Return the convolutions that get attention, by name.

    Args:
        network: A plain network.
        block_size: Least number of channels in a block.
    """
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    separable = any(module.groups > 1 for module in convolutions.values())
    kernel = (1, 1) if separable else (3, 3)
    return {
        name: module
        for name, module in convolutions.items()
        if module.kernel_size == kernel
        and module.groups == 1
        and "se" not in name.split(".")
        and module.in_channels // block_size >= 2
    }


def attend(network: nn.Module, config: VamConfig) -> tuple[BlockAttention, ...]:
    """Give attention to the eligible convolutions of a network, in place."""
    attentions = []
    for module in eligible(network, config.block_size).values():
        shape = (module.out_channels, module.in_channels)
        attention = BlockAttention(shape, config.block_size, config.attention_temperature)
        parametrize.register_parametrization(module, "weight", attention)
        attentions.append(attention)
    return tuple(attentions)


def fold(network: nn.Module, config: VamConfig) -> nn.Module:
    """Return a plain network whose weights are the effective ones."""
    del config
    return folded(network)


def found_attentions(network: nn.Module) -> tuple[BlockAttention, ...]:
    """Return the attentions of a network, in the order of its layers."""
    return tuple(module for module in network.modules() if isinstance(module, BlockAttention))


def mean_entropy(attentions: tuple[BlockAttention, ...]) -> Float[Tensor, ""]:
    """Return the mean over all rows of all layers: 1 for uniform attention, 0 where each looks at one block."""
    return torch.cat([attention.entropy() for attention in attentions]).mean()


class AttendedKd(Distillation):
    """L = (1 − α) L_sup + α T² KL + γ mean_{layers, j} H(A_j) / log m.

    Args:
        config: Coefficients.
        supervised: The shared supervised term.
        attentions: Those of the trainee, whose parameters they stay.
    """

    config: VamConfig

    def __init__(self, config: VamConfig, supervised: SupervisedTerm, attentions: tuple[BlockAttention, ...]) -> None:
        super().__init__(config, supervised)
        self.attentions = attentions  # a tuple: not registered, or they would be trained twice

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the terms; the entropy is one number for the batch.

        Raises:
            TrainingError: There is no teacher signal.
        """
        terms = super().forward(outputs, signal, batch, moment)
        return {**terms, "attention_entropy": Term.relation(mean_entropy(self.attentions), self.config.gamma)}


def _plan(config: VamConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    attentions = attend(student, config)
    yield Phase("train", student, AttendedKd(config, shop.supervised, attentions), shop.teacher, shop.train)


def _facts(network: nn.Module, config: VamConfig) -> dict[str, Any]:
    del config
    attentions = found_attentions(network)
    return {
        "training_parameters": parameter_count(network),
        "attended_layers": len(attentions),
        "mean_attention_entropy": mean_entropy(attentions).item(),
    }


def _check(config: VamConfig, student: Any) -> None:
    """Refuse a block size that leaves nothing to attend to, before anything is trained."""
    with torch.device("meta"):
        plain = StagingNetwork(student.backbone, 2)
    if not eligible(plain, config.block_size):
        raise ConfigError(
            f"Expected convolutions with two blocks of {config.block_size} channels in {student.backbone}, found none.",
            "Lower `method.block_size`, or choose a wider backbone.",
        )


METHOD = MethodSpec(
    kind="vam",
    title="Virtual attention module",
    idea="Blocks of a convolution's filters attend to each other during training; the attention is folded away.",
    formula="L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T) + γ mean_{l,j} H(A_j^l) / log m, W̃_ji = m A_ji W_ji",
    grades="D",
    reference="Xue et al., IJCAI 2021, arXiv:2105.04181 (KDExplainer); reconstructed from secondary notes",
    config=VamConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="parametrised weights, folded at export; frozen teacher or book",
    cost="One multiplication of every attended weight per step; nothing once deployed.",
    export=fold,
    facts=_facts,
    check=_check,
    told={
        "mean_attention_entropy": "mean entropy of the attention",
        "training_parameters": "parameters while it learns",
    },
)
