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

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fibrokd.training.mixture import Distillation, MixtureConfig

RELEASED_CLASSES = 100
"""Classes of CIFAR-100, over which the released code averages the divergence."""


class SoftLabelConfig(MixtureConfig):
    """Coefficients of a frozen teacher's soft labels."""

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
        weight = super().soft_weight
        return weight if self.scale == "batchmean" else weight * self.multiplier / RELEASED_CLASSES


class SoftLabels(Distillation):
    """L = (1 − α) L_sup + w mean_i KL(p_t^T ‖ p_s^T), with w from the configured scale."""
