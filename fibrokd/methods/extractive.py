"""Extractive distillation: only what a teacher knows beyond uniform ignorance is taught.

Our reading of the paper, from its abstract and a third-party re-implementation. Temperature plays three parts in
vanilla distillation (the teacher's softness, the student's, and the weight of the term); here each has its own knob.
Of the teacher's tempered probabilities only the excess over 1/K is kept and normalised, d = max(p_t^{T_t} − 1/K, 0),
and the target is p̂ = (1 − ε_u) d/Σd + ε_u/K. Stages that the teacher holds for less probable than chance vanish: of
five stages one to three stay, and as T_t → ∞ the target tends to the normalised positive part of the centred logits,
where an ordinary softmax would become uniform.

What the paper leaves open here: the value of ε_u (``uniformity``; 0 in the re-implementation), whether 1/K is
subtracted at all (``extract``; in the cells that were run it was not), and β, γ and the temperatures for five stages
(those below are a starting point, not a result). Where the teacher is uniform nothing can be extracted: the image
then has weight 0. MixUp needs nothing special: the filter acts on the answer to the mixed image, or on the mixture of
two answers where a book holds them separately. The divergence differs from the re-implementation's cross-entropy by
the entropy of the target, which has no gradient.

References:
    Kobayashi, "Extractive Knowledge Distillation", WACV 2022 (abstract); re-implementation in
    github.com/yitian19/ECE1512_2022F_ProjectRepo_HaoxiangNing_YitianLiu.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodConfig, MethodSpec, single_phase
from fibrokd.training.mixture import Distillation
from fibrokd.training.objective import expect_signal
from fibrokd.training.signals import TeacherSignal

_NOTHING = 1e-6  # rounding leaves an excess of about 1e-8 in a uniform answer


class ExtractiveConfig(MethodConfig):
    """Knobs of extractive distillation."""

    kind: Literal["extractive"] = "extractive"
    """Name of the method."""

    beta: Annotated[float, Field(ge=0)] = 1.6
    """β: the distillation term weighs β T_s."""

    gamma: Annotated[float, Field(ge=0)] = 0.6
    """γ, weight of the label term."""

    teacher_temperature: Annotated[float, Field(gt=0, le=1000)] = 16.0
    """T_t, of the teacher alone."""

    student_temperature: Annotated[float, Field(gt=0)] = 4.0
    """T_s, of the student alone."""

    uniformity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """ε_u, share of the uniform distribution in the target."""

    extract: bool = True
    """Keep the excess over 1/K; otherwise the tempered probabilities as they are (split temperatures alone)."""

    @model_validator(mode="after")
    def _uniformity_has_a_meaning(self) -> ExtractiveConfig:
        if not self.extract and self.uniformity > 0:
            raise ValueError("expected `uniformity` only with `extract: true`")
        return self

    @property
    def kd_temperature(self) -> float:
        """T_s: what is compared is compared at the student's."""
        return self.student_temperature

    @property
    def label_weight(self) -> float:
        """γ."""
        return self.gamma

    @property
    def soft_weight(self) -> float:
        """κ = β T_s; there is no T²."""
        return self.beta * self.student_temperature

    @classmethod
    def kd_equivalent(cls, alpha: float = 0.6, kd_temperature: float = 3.0) -> ExtractiveConfig:
        """Return the coefficients that make this vanilla distillation: κ = α T², γ = 1 − α, nothing extracted."""
        return cls(
            beta=alpha * kd_temperature,
            gamma=1 - alpha,
            teacher_temperature=kd_temperature,
            student_temperature=kd_temperature,
            extract=False,
        )


def extract(
    probabilities: Float[Tensor, "B K"], uniformity: float = 0.0
) -> tuple[Float[Tensor, "B K"], Float[Tensor, " B"]]:
    """Return what an answer knows beyond the uniform one, and whether it knows anything.

    Args:
        probabilities: Tempered answers; rows sum to 1.
        uniformity: ε_u.

    Returns:
        Targets whose rows sum to 1, and weights: 1, or 0 where the answer is uniform (the target is then uniform too).
    """
    count = probabilities.shape[1]
    excess = (probabilities - 1 / count).clamp_min(0)
    total = excess.sum(1, keepdim=True)
    knows = total > _NOTHING
    share = torch.where(knows, excess / total.clamp_min(_NOTHING), 1 / count)
    return (1 - uniformity) * share + uniformity / count, knows[:, 0].to(probabilities.dtype)


class Extractive(Distillation):
    """L = γ L_sup + β T_s mean_i KL(p̂_i ‖ p_s^{T_s})."""

    soft_term = "extracted"
    config: ExtractiveConfig

    def taught(self, signal: TeacherSignal | None, batch: Batch) -> tuple[Float[Tensor, "B K"], Float[Tensor, " B"]]:
        """Return p̂ and whether the teacher knew anything.

        Raises:
            TrainingError: There is no teacher signal.
        """
        del batch
        c = self.config
        answer = expect_signal(signal, c.kind).probabilities(c.teacher_temperature)
        return extract(answer, c.uniformity) if c.extract else (answer, torch.ones_like(answer[:, 0]))


METHOD = MethodSpec(
    kind="extractive",
    title="Extractive distillation",
    idea="Teacher, student and weight get temperatures of their own; the teacher's excess over 1/K is taught.",
    formula="L = γ L_sup + β T_s mean_i KL(p̂_i ‖ p_s^{T_s}); p̂ = (1 − ε_u) d/Σd + ε_u/K, d = max(p_t^{T_t} − 1/K, 0)",
    grades="B C D",
    reference="Kobayashi, WACV 2022 (abstract); a third-party re-implementation",
    config=ExtractiveConfig,
    plan=single_phase(Extractive),
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher or book, with a filter on its answers",
    cost="One teacher answer per view, once for all students that read the book.",
)
