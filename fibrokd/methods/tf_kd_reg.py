"""Teacher-free regularisation (Tf-KD_reg): a hand-made teacher that is right with probability a on every image.

Our reading of the paper is mode ``logprob``. The virtual teacher gives a to the true stage and shares the rest among
the others, u = (a; (1 − a)/(K − 1)), and is tempered like a network whose logits are log u: u^T ∝ u^{1/T}. What the
paper leaves open, or where its released code differs, is an option:

* ``logprob`` (default): student and virtual teacher at T, times T².
* ``released``: what the code does. It tempers the *probabilities* u as if they were logits, leaves the student
  untempered and averages over 100 classes. For five stages and T = 20 the target is (.208, .198, …): practically
  uniform, so that this mode is a confidence penalty.
* ``plain``: T = 1. This is label smoothing with ε = α (1 − a) K/(K − 1), gradient for gradient (where stages weigh
  alike); it is the unit test, and the explanation of the method.

Under MixUp the target is the λ-mixture of two virtual teachers, each tempered on its own. Label smoothing beside it
is refused: labels would be smoothed twice. Class weights act on the label term alone, as in every method.

References:
    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020, arXiv:1909.11723,
    and its released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from fibrokd.training.dataset import Batch
from fibrokd.training.method import MethodConfig, MethodSpec, single_phase
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, soft_kl
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.soft_labels import RELEASED_CLASSES
from fibrokd.training.targets import refuse_smoothing


class TfKdRegConfig(MethodConfig):
    """Knobs of the virtual teacher."""

    kind: Literal["tf_kd_reg"] = "tf_kd_reg"
    """Name of the method."""

    mode: Literal["logprob", "released", "plain"] = "logprob"
    """How the virtual teacher is tempered, see the module."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.1
    """α, the share of the virtual teacher; labels get 1 − α."""

    kd_temperature: Annotated[float, Field(gt=0)] = 20.0
    """T; mode ``plain`` has T = 1 whatever stands here."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """a, the probability of the true stage."""

    t_squared: bool = True
    """Mode ``logprob``: multiply the term by T², which keeps its gradient comparable when T changes."""

    multiplier: Annotated[float, Field(gt=0)] = 1.0
    """Further factor of the released code; only with ``mode: released``, where the term weighs α multiplier / 100."""

    @model_validator(mode="after")
    def _multiplier_has_a_meaning(self) -> TfKdRegConfig:
        if self.mode != "released" and self.multiplier != 1:
            raise ValueError("expected `multiplier` only with `mode: released`")
        return self

    @property
    def weight(self) -> float:
        """Factor of the mean over images of the KL summed over stages."""
        if self.mode == "released":
            return self.alpha * self.multiplier / RELEASED_CLASSES
        squared = self.mode == "logprob" and self.t_squared
        return self.alpha * (self.kd_temperature**2 if squared else 1.0)


def virtual_teacher(config: TfKdRegConfig, stages: Int[Tensor, " B"], count: int) -> Float[Tensor, "B K"]:
    """Return the tempered answer of the virtual teacher to images of known stages.

    Args:
        config: Mode, T and a.
        stages: True stage of every image.
        count: Number of stages K.
    """
    true = F.one_hot(stages, count).bool()
    u = torch.where(true, config.confidence, (1 - config.confidence) / (count - 1))
    if config.mode == "plain":
        return u
    logits = u if config.mode == "released" else u.log()
    return F.softmax(logits / config.kd_temperature, dim=1)


class VirtualTeacher(Objective):
    """L = (1 − α) L_sup + α T² mean_i KL(u_i^T ‖ p_s^T), with λ u_a^T + (1 − λ) u_b^T under MixUp.

    Args:
        config: Mode, α, T and a.
        supervised: The shared supervised term, without smoothing.
    """

    def __init__(self, config: TfKdRegConfig, supervised: SupervisedTerm) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return both terms; there is no teacher, and the moment plays no part."""
        del signal, moment
        c, count, lam = self.config, outputs.logits.shape[1], batch.lam[:, None]
        own, partner = (virtual_teacher(c, stages, count) for stages in (batch.stages, batch.partner_stages))
        student_temperature = c.kd_temperature if c.mode == "logprob" else 1.0
        values = soft_kl(outputs.logits, lam * own + (1 - lam) * partner, student_temperature)
        return {
            "supervised": self.supervised(outputs.logits, batch, coefficient=1 - c.alpha),
            "virtual": Term.mean(values, coefficient=c.weight),
        }


def _check(config: TfKdRegConfig, plan: Any) -> None:
    refuse_smoothing(plan.supervised, config.kind)


METHOD = MethodSpec(
    kind="tf_kd_reg",
    title="Teacher-free regularisation (Tf-KD_reg, virtual teacher)",
    idea="A hand-made teacher that is right with probability a on every image takes a network's place.",
    formula="L = (1 − α) L_sup(ε = 0) + α T² mean_i KL(u_i^T ‖ p_s^T); u = a at the true stage, (1 − a)/(K − 1) else",
    grades="A M",
    reference="Yuan et al., CVPR 2020, arXiv:1909.11723, and its released code",
    config=TfKdRegConfig,
    plan=single_phase(VirtualTeacher, teaches=False),
    seams="virtual teacher; replaces label smoothing",
    cost="None.",
    check=_check,
)
