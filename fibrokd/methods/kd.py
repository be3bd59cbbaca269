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

from pydantic import Field

from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodConfig, MethodSpec, single_phase
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal, soft_kl
from fibrokd.training.signals import TeacherSignal


class KdConfig(MethodConfig):
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


class VanillaKd(Objective):
    """L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T).

    Args:
        config: α, T and the two unstated choices.
        supervised: The shared supervised term.
    """

    needs = LOGITS_ONLY

    def __init__(self, config: KdConfig, supervised: SupervisedTerm) -> None:
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
        kd_share = c.alpha if c.alpha_on == "kd" else 1 - c.alpha
        target = expect_signal(signal, "kd").probabilities(c.kd_temperature)
        values = soft_kl(outputs.logits, target, c.kd_temperature)
        factor = kd_share * (c.kd_temperature**2 if c.t_squared else 1.0)
        return {
            "supervised": self.supervised(outputs.logits, batch, coefficient=1 - kd_share),
            "kd": Term.mean(values, coefficient=factor),
        }


METHOD = MethodSpec(
    kind="kd",
    title="Vanilla knowledge distillation (T = 3, α = 0.6)",
    idea="The student matches the teacher's softened probabilities beside the labels.",
    formula="L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T)",
    grades="B D",
    reference="Hinton et al. 2015, arXiv:1503.02531; coefficients of DOI 10.1109/icipcn67432.2026.11438428",
    config=KdConfig,
    plan=single_phase(VanillaKd),
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher or book",
    cost="One teacher answer per view, once for all students that read the book.",
)
