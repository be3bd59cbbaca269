"""Vanilla knowledge distillation with the coefficients of the liver-ultrasound paper: T = 3, α = 0.6.

The paper's abstract does not say which term α multiplies, nor whether T² is used. Both are options here; the
defaults (α on the distillation term, T² on) are our reading of it.

References:
    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    Ultrasound pipeline: DOI 10.1109/icipcn67432.2026.11438428 (abstract).
"""

from __future__ import annotations

from typing import Literal

from fibrokd.training.method import LOGITS_ONLY, MethodSpec, single_phase
from fibrokd.training.mixture import Distillation, MixtureConfig


class KdConfig(MixtureConfig):
    """Knobs of vanilla distillation."""

    kind: Literal["kd"] = "kd"
    """Name of the method."""

    alpha_on: Literal["kd", "ce"] = "kd"
    """Which term's share α is; the other gets 1 − α."""

    t_squared: bool = True
    """Multiply the distillation term by T², which keeps its gradient comparable when T changes."""

    @property
    def kd_share(self) -> float:
        """Share of the distillation term: α, or 1 − α where α is on the labels."""
        return self.alpha if self.alpha_on == "kd" else 1 - self.alpha

    @property
    def label_weight(self) -> float:
        """What is left of 1."""
        return 1 - self.kd_share

    @property
    def soft_weight(self) -> float:
        """The share, times T² where it is wanted."""
        return self.kd_share * (self.kd_temperature**2 if self.t_squared else 1.0)


class VanillaKd(Distillation):
    """L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T)."""


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
