"""The contract of a training objective, and the one supervised term that every method shares.

An objective returns per-sample terms with weights; the loop reduces them over the *global* batch, so that one process
and many give the same loss. Knows no particular distillation method.

Shape letters: B batch, K stages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from fibrokd.config import Config
from fibrokd.errors import TrainingError
from fibrokd.training.dataset import Batch
from fibrokd.training.networks import Outputs
from fibrokd.training.signals import TeacherSignal, at_least_single


@dataclass(frozen=True)
class Moment:
    """Where a training phase stands.

    Args:
        epoch: Epoch within the phase, 0-based.
        epochs: Epochs of the phase.
        within: Share of the epoch that is done, in [0, 1).
    """

    epoch: int
    epochs: int
    within: float = 0.0

    @property
    def progress(self) -> float:
        """Share of the phase that is done, in [0, 1)."""
        return (self.epoch + self.within) / self.epochs

    @property
    def epoch_share(self) -> float:
        """0 in the first epoch, 1 in the last: for coefficients that change once per epoch and must reach their end."""
        return self.epoch / (self.epochs - 1) if self.epochs > 1 else 1.0


@dataclass(frozen=True)
class Term:
    """One term of a loss: ``coefficient · Σ_i weights_i · values_i / Σ_i weights_i`` over the global batch.

    Args:
        values: Per-sample values, [B]; a relation between samples is one value, [1].
        weights: Per-sample weights, not negative, [B].
        coefficient: Factor of the reduced term.
    """

    values: Float[Tensor, " B"]
    weights: Float[Tensor, " B"]
    coefficient: float = 1.0

    @classmethod
    def mean(cls, values: Float[Tensor, " B"], coefficient: float = 1.0) -> Term:
        """Return a term in which every sample counts alike."""
        return cls(values, torch.ones_like(values), coefficient)

    @classmethod
    def relation(cls, value: Float[Tensor, ""], coefficient: float = 1.0) -> Term:
        """Return a term that is one number for the whole batch, such as a loss on distances between samples."""
        return cls.mean(value[None], coefficient)


class Objective(nn.Module, ABC):
    """What the loop asks of a method: terms by name for one batch.

    Modules that it holds (adapters between feature maps, say) are trained with the student, kept in its checkpoints,
    and absent from what is exported.

    Attributes:
        needs: What it asks of the teacher, see :mod:`fibrokd.training.signals`; empty for none.
        taps: Feature taps it asks of the student.
    """

    needs: frozenset[str] = frozenset()
    taps: tuple[str, ...] = ()

    def ask(self, network: nn.Module, batch: Batch) -> Outputs:
        """Let the student answer; by default one pass over the images of the batch.

        Args:
            network: The student, or its wrapper in several processes.
            batch: What it is shown.
        """
        outputs: Outputs = network(batch.images, self.taps)
        return outputs

    @abstractmethod
    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the terms of the loss.

        Args:
            outputs: Student's answer to ``ask``.
            signal: Teacher's answer, with everything of ``needs``; ``None`` where there is no teacher.
            batch: What both saw.
            moment: Where the training stands.
        """


def expect_signal(signal: TeacherSignal | None, kind: str) -> TeacherSignal:
    """Return the signal of a method that cannot do without.

    Raises:
        TrainingError: There is none.
    """
    if signal is None:
        raise TrainingError(f"Expected a teacher for method '{kind}', found none.", "Give `book` or `teacher`.")
    return signal


class SupervisedConfig(Config):
    """Knobs of the shared supervised term."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """ε of label smoothing; the paper does not state it, 0.1 is ours."""

    class_weights: Literal["balanced", "none"] = "balanced"
    """``balanced``: w_k = N / (K n_k) from the training split; ``none``: all 1."""

    weight_mode: Literal["sample", "torch"] = "sample"
    """``sample``: the weight of a sample multiplies its whole loss (ours). ``torch``: PyTorch's semantics, where
    the weight multiplies every smoothed component and smoothing therefore differs between stages (pytorch#104776)."""


def class_weights(stages: Int[np.ndarray, " N"], count: int, mode: str) -> Float[Tensor, " K"]:
    """Return w_k = N / (K n_k) from the training split, so that Σ_k n_k w_k = N; a stage without images gets 0.

    Args:
        stages: Stage index of every training image.
        count: Number of stages K.
        mode: ``balanced`` or ``none``.
    """
    if mode == "none":
        return torch.ones(count)
    images = np.bincount(stages, minlength=count)
    weights = np.divide(len(stages), count * images, out=np.zeros(count), where=images > 0)
    return torch.from_numpy(weights.astype(np.float32))


class SupervisedTerm:
    """Class-weighted cross-entropy with label smoothing under MixUp.

    ``q_i = (1 − ε)[λ e_a + (1 − λ) e_b] + ε/K``, ``ω_i = λ w_a + (1 − λ) w_b`` and
    ``L = Σ_i ω_i (−Σ_k q_ik log p_ik) / Σ_i ω_i``.

    Args:
        config: Knobs.
        weights: Class weights, [K].
    """

    def __init__(self, config: SupervisedConfig, weights: Float[Tensor, " K"]) -> None:
        self.config = config
        self.weights = weights

    def __call__(self, logits: Float[Tensor, "B K"], batch: Batch, coefficient: float = 1.0) -> Term:
        """Return the per-sample loss and weights.

        Args:
            logits: Student logits.
            batch: Stages, partner stages and λ.
            coefficient: Factor of the term.
        """
        log_p = F.log_softmax(logits.float(), dim=1)
        targets = self.targets(batch, logits.shape[1])
        weights = self.weights.to(logits.device)
        if self.config.weight_mode == "torch":
            # Not normalised by Σω: PyTorch divides by B when targets are probabilities.
            values = -(log_p * targets * weights).sum(1)  # in PyTorch's order, to the last bit
            return Term(values, torch.ones_like(values), coefficient)
        values = -(targets * log_p).sum(1)
        sample_weights = batch.lam * weights[batch.stages] + (1 - batch.lam) * weights[batch.partner_stages]
        return Term(values, sample_weights, coefficient)

    def targets(self, batch: Batch, count: int) -> Float[Tensor, "B K"]:
        """Return the smoothed, mixed target distribution q."""
        lam = batch.lam[:, None]
        hard = lam * F.one_hot(batch.stages, count) + (1 - lam) * F.one_hot(batch.partner_stages, count)
        epsilon = self.config.label_smoothing
        return (1 - epsilon) * hard + epsilon / count


def soft_kl(logits: Float[Tensor, "B K"], target: Float[Tensor, "B K"], kd_temperature: float) -> Float[Tensor, " B"]:
    """Return the per-sample forward KL divergence KL(target ‖ softmax(logits / T)), summed over stages.

    Args:
        logits: Student logits.
        target: Teacher probabilities at the same temperature; rows sum to 1.
        kd_temperature: T.

    References:
        Hinton, Vinyals, Dean, 2015, arXiv:1503.02531, section 2.
    """
    log_p = F.log_softmax(at_least_single(logits) / kd_temperature, dim=1)
    divergence: Tensor = (-torch.special.entr(target) - target * log_p).sum(1)
    return divergence
