"""Distillation from one frozen network, with the coefficients in either of two scales.

Owns what reversed, defective and teacher-free self-distillation have in common: vanilla distillation whose numbers
may be written as this project counts them (KL summed over stages) or as the teacher-free paper's released code does:
there the KL is averaged over images *and* classes, of which CIFAR-100 has 100, and multiplied by a further factor.
Numbers of that code mean something else here unless they are converted.

References:
    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020, arXiv:1909.11723,
    and its released code; Hinton, Vinyals, Dean, 2015, arXiv:1503.02531.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodConfig
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal, soft_kl
from fibrokd.training.signals import TeacherSignal

RELEASED_CLASSES = 100
"""Classes of CIFAR-100, over which the released code averages the divergence."""


class SoftLabelConfig(MethodConfig):
    """Coefficients of a frozen teacher's soft labels."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.6
    """α, the share of the distillation term; labels get 1 − α."""

    kd_temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, at which teacher and student are compared."""

    scale: Literal["batchmean", "released"] = "batchmean"
    """``batchmean``: α T² times the KL summed over stages, comparable with method ``kd``. ``released``: α, T and
    ``multiplier`` are those of the paper's code and are converted: α T² multiplier / 100."""

    multiplier: Annotated[float, Field(gt=0)] = 1.0
    """Further factor of the released code; only with ``scale: released``."""

    @model_validator(mode="after")
    def _multiplier_has_a_meaning(self) -> SoftLabelConfig:
        if self.scale == "batchmean" and self.multiplier != 1:
            raise ValueError("expected `multiplier` only with `scale: released`")
        return self

    @property
    def soft_weight(self) -> float:
        """Factor of the mean over images of the KL summed over stages."""
        weight = self.alpha * self.kd_temperature**2
        return weight if self.scale == "batchmean" else weight * self.multiplier / RELEASED_CLASSES


class SoftLabels(Objective):
    """L = (1 − α) L_sup + w mean_i KL(p_t^T ‖ p_s^T), with w from the configured scale.

    Args:
        config: α, T and their scale.
        supervised: The shared supervised term.
    """

    needs = LOGITS_ONLY

    def __init__(self, config: SoftLabelConfig, supervised: SupervisedTerm) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return both terms; the moment plays no part.

        Raises:
            TrainingError: There is no teacher signal.
        """
        del moment
        c = self.config
        target = expect_signal(signal, c.kind).probabilities(c.kd_temperature)
        values = soft_kl(outputs.logits, target, c.kd_temperature)
        return {
            "supervised": self.supervised(outputs.logits, batch, coefficient=1 - c.alpha),
            "kd": Term.mean(values, coefficient=c.soft_weight),
        }
