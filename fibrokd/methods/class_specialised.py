"""Class-specialised distillation: a student of some stages learns from a teacher of all.

Two losses beside the labels: renormalised distillation (``renorm_kl``; the teacher's answer restricted to the
student's stages) and intra-class variance (``icv``) of the student's pooled vectors. Selection of stages, not merging:
"≥ F2" is another task. Baseline: the teacher itself, restricted (:class:`fibrokd.training.restriction.Restricted`).

The default variance is our reading; ``icv: released`` restores the authors' code. Their
variance runs over the features of each image, which is positive even where all images of a class coincide, and
the norms of classes are added up. Ours (``true_icv``) runs over the images of a class: with vectors scaled to length
√D, (1/D) Σ_d Var_{i∈c}(h_id) is between 0 (all alike) and 1 + 1/(n − 1) whatever the width D; the mean over classes
with two images or more. Images mixed with λ below ``purity`` have no class and are left out. The release adds an
orthogonal projection loss (without the absolute value of its original) that the abstract does not mention: off here
unless ``orthogonal`` is set.

References:
    Li et al., "Class Specialized Knowledge Distillation", ACCV 2022 (OpenReview wjiPAcZqB9z; authors' code).
    Orthogonal projection loss: Ranasinghe et al., ICCV 2021, arXiv:2103.14021.

Shape letters: B batch, K stages of the student, D width of the pooled vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from fibrokd.errors import ConfigError
from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal, soft_kl
from fibrokd.training.restriction import restricted
from fibrokd.training.signals import TeacherSignal


class ClassSpecialisedConfig(MethodConfig):
    """Coefficients of class-specialised distillation; the stages are ``selection.stages`` of the student."""

    kind: Literal["class_specialised"] = "class_specialised"
    """Name of the method."""

    renorm: Annotated[float, Field(ge=0)] = 0.2
    """a_r, factor of the renormalised distillation."""

    kd_temperature: Annotated[float, Field(gt=0)] = 1.0
    """T, at which teacher and student are compared."""

    variance: Annotated[float, Field(ge=0)] = 0.2
    """a_v, factor of the intra-class variance."""

    icv: Literal["true_icv", "released"] = "true_icv"
    """``true_icv``: variance over the images of a class; ``released``: over the features of an image."""

    orthogonal: Annotated[float, Field(ge=0)] = 0.0
    """a_o, factor of the orthogonal projection loss; 0.2 in the released code, 0 switches it off."""

    orthogonal_gamma: Annotated[float, Field(ge=0)] = 0.5
    """γ, factor of the likeness of different classes within that loss."""

    purity: Annotated[float, Field(gt=0.5, le=1)] = 0.9
    """Smallest max(λ, 1 − λ) at which a mixed image still belongs to the class of its dominant part."""


class ClassSpecialised(Objective):
    """L = L_sup + a_r T² mean_i KL(p_t^T restricted ‖ p_s^T) + a_v L_icv + a_o L_opl.

    Args:
        config: Coefficients.
        supervised: The shared supervised term, of the student's stages.
        label_space: Where the student's stages stand among the teacher's.
    """

    needs = LOGITS_ONLY

    def __init__(
        self, config: ClassSpecialisedConfig, supervised: SupervisedTerm, label_space: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised
        self.label_space = label_space

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the terms that have a weight; the moment plays no part.

        Raises:
            TrainingError: There is no teacher signal, or the teacher does not know a stage.
        """
        del moment
        c = self.config
        known = restricted(expect_signal(signal, "class_specialised"), self.label_space)
        values = soft_kl(outputs.logits, known.probabilities(c.kd_temperature), c.kd_temperature)
        terms = {
            "supervised": self.supervised(outputs.logits, batch),
            "renorm_kl": Term.mean(values, coefficient=c.renorm * c.kd_temperature**2),
        }
        count = outputs.logits.shape[1]
        classes = pure_classes(batch, c.purity)
        if c.variance > 0:
            spread = true_icv if c.icv == "true_icv" else released_icv
            terms["icv"] = Term.relation(spread(outputs.pooled, classes, count), coefficient=c.variance)
        if c.orthogonal > 0:
            projection = orthogonal_projection(outputs.pooled, classes, c.orthogonal_gamma)
            terms["opl"] = Term.relation(projection, coefficient=c.orthogonal)
        return terms


def pure_classes(batch: Batch, purity: float) -> Int[Tensor, " B"]:
    """Return the stage of the dominant part of every image, −1 where neither dominates by ``purity``."""
    dominant = torch.where(batch.lam >= 0.5, batch.stages, batch.partner_stages)
    return torch.where(torch.maximum(batch.lam, 1 - batch.lam) >= purity, dominant, -1)


def true_icv(pooled: Float[Tensor, "B D"], classes: Int[Tensor, " B"], count: int) -> Float[Tensor, ""]:
    """Return the mean over classes of the variance of directions within a class; 0 where no class has two images.

    Args:
        pooled: The student's pooled vectors; only their directions count.
        classes: Stage of each, −1 for none.
        count: Number of stages K.
    """
    directions = F.normalize(pooled.float(), dim=1)
    members = _members(classes, count)
    sizes = members.sum(0)
    means = members.T @ directions / sizes.clamp_min(1)[:, None]
    distances = (directions - members @ means).square().sum(1)
    variances = members.T @ distances / (sizes - 1).clamp_min(1)
    several = sizes >= 2
    return (variances * several).sum() / several.sum().clamp_min(1)


def released_icv(pooled: Float[Tensor, "B D"], classes: Int[Tensor, " B"], count: int) -> Float[Tensor, ""]:
    """Return the sum over classes of the norm, over images, of the variance over the features of each image.

    Args:
        pooled: The student's pooled vectors.
        classes: Stage of each, −1 for none.
        count: Number of stages K.
    """
    variances = pooled.float().var(dim=1)
    total: Tensor = torch.linalg.vector_norm(_members(classes, count) * variances[:, None], dim=0).sum()
    return total


def orthogonal_projection(pooled: Float[Tensor, "B D"], classes: Int[Tensor, " B"], gamma: float) -> Float[Tensor, ""]:
    """Return 1 − mean cosine within classes + γ · mean cosine between classes; a part without pairs counts 0.

    Args:
        pooled: The student's pooled vectors.
        classes: Stage of each, −1 for none.
        gamma: Factor of the second mean.
    """
    directions = F.normalize(pooled.float(), dim=1)
    cosines = directions @ directions.T
    known = (classes >= 0)[:, None] & (classes >= 0)[None, :]
    same = classes[:, None] == classes[None, :]
    alike = known & same & ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    unlike = known & ~same
    within = ((1 - cosines) * alike).sum() / alike.sum().clamp_min(1)
    between = (cosines * unlike).sum() / unlike.sum().clamp_min(1)
    return within + gamma * between


def _members(classes: Int[Tensor, " B"], count: int) -> Float[Tensor, "B K"]:
    """1 where an image belongs to a class."""
    return (classes[:, None] == torch.arange(count, device=classes.device)[None, :]).float()


def _check(config: Any, plan: Any) -> None:
    del config
    if plan.selection.stages is None:
        raise ConfigError(
            "Method 'class_specialised' trains a student of some stages, found `selection.stages: null`.",
            "Name at least two stages, such as `selection: {stages: [F3, F4]}`, or choose method 'kd'.",
        )


def _plan(config: ClassSpecialisedConfig, shop: Workshop) -> Iterator[Phase]:
    objective = ClassSpecialised(config, shop.supervised, shop.label_space)
    yield Phase("train", shop.student(), objective, shop.teacher, shop.train)


METHOD = MethodSpec(
    kind="class_specialised",
    title="Class-specialised distillation (RKD + ICV)",
    idea="A student of some stages learns from a teacher of all, whose answer is renormalised over these stages, and "
    "keeps images of one stage together.",
    formula="L = L_sup + a_r T² mean_i KL(p_t^T restricted to S ‖ p_s^T) + a_v mean_c (1/D) Σ_d Var_{i∈c}(h_id)",
    grades="A D",
    reference="Class Specialized Knowledge Distillation, ACCV 2022, OpenReview wjiPAcZqB9z; authors' code",
    config=ClassSpecialisedConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher or book of the selected images, student of some stages",
    cost="That of vanilla distillation, on the images of the selected stages.",
    check=_check,
    subsets=True,
)
