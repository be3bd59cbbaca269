"""Vanilla knowledge distillation with the coefficients of the liver-ultrasound paper: T = 3, α = 0.6.

The paper's abstract does not say which term α multiplies, nor whether T² is used. Both are options here; the
defaults (α on the distillation term, T² on) are our reading of it.

References:
    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    Ultrasound pipeline: DOI 10.1109/icipcn67432.2026.11438428 (abstract).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field

from fibrokd.config import Config
from fibrokd.errors import TrainingError
from fibrokd.training.dataset import Batch
from fibrokd.training.method import MethodSpec
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import SupervisedTerm, TeacherSignal, Term, soft_kl


class KdConfig(Config):
    """Knobs of vanilla distillation."""

    kind: Literal["kd"] = "kd"
    """Name of the method."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.6
    """α, the mixing weight."""

    kd_temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, at which teacher and student are compared."""

    alpha_on: Literal["kd", "ce"] = "kd"
    """Which term α multiplies; the other gets 1 − α."""

    t_squared: bool = True
    """Multiply the distillation term by T², which keeps its gradient comparable when T changes."""


class VanillaKd:
    """L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T).

    Args:
        config: α, T and the two unstated choices.
        supervised: The shared supervised term.
    """

    def __init__(self, config: KdConfig, supervised: SupervisedTerm) -> None:
        self.config = config
        self.supervised = supervised

    def __call__(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, progress: float
    ) -> Mapping[str, Term]:
        """Return both terms; ``progress`` plays no part.

        Raises:
            TrainingError: There is no teacher signal.
        """
        del progress
        if signal is None:
            raise TrainingError("Expected a teacher for method 'kd', found none.", "Give `book` or `teacher`.")
        c = self.config
        kd_share = c.alpha if c.alpha_on == "kd" else 1 - c.alpha
        values = soft_kl(outputs.logits, signal.probabilities(c.kd_temperature), c.kd_temperature)
        factor = kd_share * (c.kd_temperature**2 if c.t_squared else 1.0)
        return {
            "supervised": self.supervised(outputs.logits, batch, coefficient=1 - kd_share),
            "kd": Term(values, torch.ones_like(values), coefficient=factor),
        }


METHOD = MethodSpec(
    kind="kd",
    title="Vanilla knowledge distillation (T = 3, α = 0.6)",
    grade="B",
    reference="Hinton et al. 2015, arXiv:1503.02531; coefficients of DOI 10.1109/icipcn67432.2026.11438428",
    config=KdConfig,
    needs_teacher=True,
    build=VanillaKd,
)
