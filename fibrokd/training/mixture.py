"""The loss c_sup L_sup + c_kd KL that most methods contain, and the split of a budget over their phases.

Knows no particular method.

Shape letters: B batch, K stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fibrokd.errors import ConfigError
from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodConfig
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal, soft_kl
from fibrokd.training.signals import TeacherSignal


@runtime_checkable
class Coefficients(Protocol):
    """What the configuration of a method says to :class:`Distillation`."""

    @property
    def kind(self) -> str:
        """Name of the method, for messages."""

    @property
    def kd_temperature(self) -> float:
        """T of the student, and of the teacher where nothing else is said."""

    @property
    def label_weight(self) -> float:
        """c_sup, coefficient of the shared supervised term."""

    @property
    def soft_weight(self) -> float:
        """c_kd, coefficient of the mean divergence; T² is part of it."""


class MixtureConfig(MethodConfig):
    """The coefficients of vanilla distillation, which many methods start from."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.6
    """α, the share of the distillation term; labels get 1 − α."""

    kd_temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, at which teacher and student are compared."""

    @property
    def label_weight(self) -> float:
        """1 − α."""
        return 1 - self.alpha

    @property
    def soft_weight(self) -> float:
        """α T²."""
        return self.alpha * self.kd_temperature**2


class Distillation(Objective):
    """L = c_sup L_sup + c_kd Σ_i w_i KL(t_i ‖ p_s^T) / Σ_i w_i; as it stands, t_i = p_t^T and w_i = 1.

    A method says what it does otherwise: its configuration gives the coefficients, ``taught`` filters the teacher's
    answers and weighs images, ``coefficients`` changes with the moment, ``forward`` adds terms.

    Attributes:
        soft_term: Name of the distillation term.

    Args:
        config: Coefficients.
        supervised: The shared supervised term.
    """

    needs = LOGITS_ONLY
    soft_term = "kd"

    def __init__(self, config: Coefficients, supervised: SupervisedTerm) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return both terms, with the coefficients of the moment.

        Raises:
            TrainingError: There is no teacher signal.
        """
        labels, soft = self.coefficients(moment)
        # Made first: gradients of terms add up by the order the terms are made in, and sums of floats depend on it.
        supervised = self.supervised(outputs.logits, batch, coefficient=labels)
        target, weights = self.taught(signal, batch)
        values = soft_kl(outputs.logits, target, self.config.kd_temperature)
        return {"supervised": supervised, self.soft_term: Term(values, weights, soft)}

    def coefficients(self, moment: Moment) -> tuple[float, float]:
        """Return c_sup and c_kd; the same at any moment."""
        del moment
        return self.config.label_weight, self.config.soft_weight

    def taught(self, signal: TeacherSignal | None, batch: Batch) -> tuple[Float[Tensor, "B K"], Float[Tensor, " B"]]:
        """Return targets, whose rows sum to 1, and what every image weighs; here what the teacher says, and 1.

        Args:
            signal: What the teacher says.
            batch: What it was asked about.

        Raises:
            TrainingError: There is no teacher signal.
        """
        del batch
        target = expect_signal(signal, self.config.kind).probabilities(self.config.kd_temperature)
        return target, torch.ones_like(target[:, 0])


class Mixture(Distillation):
    """L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T), with an α that a method chooses itself.

    Args:
        alpha: α.
        kd_temperature: T.
        supervised: The shared supervised term.
        kind: Name of the method, for messages.
    """

    def __init__(self, alpha: float, kd_temperature: float, supervised: SupervisedTerm, kind: str) -> None:
        super().__init__(MixtureConfig(kind=kind, alpha=alpha, kd_temperature=kd_temperature), supervised)


def split_epochs(epochs: int, shares: Sequence[float]) -> list[int]:
    """Split a budget over phases, so that the parts add up to it and none is empty.

    Args:
        epochs: Epochs of the student.
        shares: Share of every phase, summing to 1.

    Raises:
        ConfigError: There are more phases than epochs.
    """
    if epochs < len(shares):
        raise ConfigError(
            f"Expected at least {len(shares)} epochs, one for every phase of the method, found {epochs}.",
            "Raise `train.epochs`.",
        )
    parts: list[int] = []
    for number, _ in enumerate(shares):
        end = round(epochs * sum(shares[: number + 1]))
        left = len(shares) - number - 1
        parts.append(min(max(1, end - sum(parts)), epochs - sum(parts) - left))
    parts[-1] = epochs - sum(parts[:-1])
    return parts
