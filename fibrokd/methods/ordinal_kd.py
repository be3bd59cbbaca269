"""Distillation that knows the stages are ordered: vanilla distillation, and a divergence that counts distance. Ours.

The KL divergence does not know that F0 taken for F4 is worse than F0 taken for F1. Beside it we compare what teacher
and student say about every cut between neighbouring stages, P(y > k): a binary KL per cut (C), and the squared
difference of these probabilities, the squared earth mover's distance of stages one apart (E). Probability that moves
past more cuts costs more. With Σ_k w_k = 1 the data processing and Pinsker inequalities give 2 E ≤ C ≤ KL: the ordinal
part is bounded by the divergence it stands beside, and the loss is ``kd``'s where λ = 0.

Why cumulative cuts and not the conditional ones of CORN, P(y > k | y ≥ k): by the chain rule the binary KLs of the
conditional cuts, each weighted by the teacher's P(y ≥ k), add up to the plain KL exactly. They would bring nothing new.
The student keeps K plain logits, so that calibration, export and every report work unchanged.

λ > 0 also adds weight to the teacher. A comparison should therefore include ``kd`` with as much: its α' with
α' / (1 − α') = (1 + λ) α / (1 − α) is an upper bound, 0.82 for the defaults.

It has not been shown to beat vanilla distillation: on the medium phantom (MobileNetV3-Small, three seeds) neither its
quadratic kappa nor its mean absolute stage error is shown to differ from that of ``kd``; under a teacher of whom three
answers in ten were altered it was worse with one seed of three, and not shown to differ with the others or from the
``kd`` with as much weight (docs/experiments.md, 2026-11-21).

References (of the parts; the combination is ours and unpublished):
    Hinton, Vinyals, Dean, 2015, arXiv:1503.02531 (KL). Hou, Yu, Samaras, "Squared Earth Mover's Distance-based Loss
    for Training Deep Neural Networks", 2016, arXiv:1611.05916 (E). Shi, Cao, Raschka, "Deep Neural Networks for
    Rank-Consistent Ordinal Regression Based on Conditional Probabilities", 2021, arXiv:2111.08851 (CORN).

Shape letters: B batch, K stages, C = K − 1 cuts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Distillation, MixtureConfig
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, SupervisedTerm, Term
from fibrokd.training.signals import TeacherSignal


class OrdinalKdConfig(MixtureConfig):
    """Coefficients: those of ``kd``, and of the ordinal part beside it."""

    kind: Literal["ordinal_kd"] = "ordinal_kd"
    """Name of the method."""

    ordinal: Annotated[float, Field(ge=0)] = 2.0
    """λ, factor of the ordinal part beside the KL; 0 is ``kd``."""

    transport: Annotated[float, Field(ge=0, le=1)] = 0.5
    """β, share of the squared earth mover's distance in the ordinal part; binary KLs per cut get 1 − β."""

    cut_weights: Literal["uniform", "balanced"] = "uniform"
    """Weights w_k of the cuts. ``balanced``: inversely to the variance of "stage > k" among training images, so that
    cuts with few images on one side count as much."""


class OrdinalKd(Distillation):
    """L = (1 − α) L_sup + α T² mean_i [KL_i + λ ((1 − β) C_i + 2 β E_i)].

    Args:
        config: Coefficients.
        supervised: The shared supervised term.
        weights: Weights of the cuts, summing to 1, [C].
    """

    config: OrdinalKdConfig

    def __init__(self, config: OrdinalKdConfig, supervised: SupervisedTerm, weights: Float[Tensor, " C"]) -> None:
        super().__init__(config, supervised)
        self.weights = weights

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the terms that have a weight.

        Raises:
            TrainingError: There is no teacher signal.
        """
        c = self.config
        terms = super().forward(outputs, signal, batch, moment)
        if c.ordinal == 0:
            return terms
        target, _ = self.taught(signal, batch)
        weights = self.weights.to(outputs.logits.device)
        cuts = (cut_kl(outputs.logits, target, c.kd_temperature) * weights).sum(1)
        moved = (cut_distance(outputs.logits, target, c.kd_temperature) * weights).sum(1)
        return {
            **terms,
            "cuts": Term.mean(cuts, coefficient=c.soft_weight * c.ordinal * (1 - c.transport)),
            "transport": Term.mean(moved, coefficient=2 * c.soft_weight * c.ordinal * c.transport),
        }


def cut_kl(logits: Float[Tensor, "B K"], target: Float[Tensor, "B K"], kd_temperature: float) -> Float[Tensor, "B C"]:
    """Return the binary KL divergence of "stage > k" for every cut k, from target to student.

    Args:
        logits: Student logits.
        target: Teacher probabilities at the same temperature; rows sum to 1.
        kd_temperature: T.
    """
    above = _above(target)
    log_above, log_below = _log_sides(logits, kd_temperature)
    entropy = torch.special.entr(above) + torch.special.entr(1 - above)
    divergence: Tensor = -entropy - above * log_above - (1 - above) * log_below
    return divergence


def cut_distance(
    logits: Float[Tensor, "B K"], target: Float[Tensor, "B K"], kd_temperature: float
) -> Float[Tensor, "B C"]:
    """Return the squared difference of P(y > k) for every cut k; their sum is the squared earth mover's distance.

    Args:
        logits: Student logits.
        target: Teacher probabilities at the same temperature; rows sum to 1.
        kd_temperature: T.
    """
    student = F.softmax(logits.float() / kd_temperature, dim=1)
    return (_above(student) - _above(target)).square()


def balanced_cuts(stages: Int[np.ndarray, " N"], count: int) -> Float[Tensor, " C"]:
    """Return w_k ∝ 1 / (π_k (1 − π_k)), π_k the share of images with a stage above k; 0 where all lie on one side.

    Args:
        stages: Stage index of every training image.
        count: Number of stages K.
    """
    above = np.array([(stages > cut).mean() for cut in range(count - 1)])
    spread = above * (1 - above)
    weights = np.divide(1.0, spread, out=np.zeros(count - 1), where=spread > 0)
    return torch.from_numpy((weights / max(weights.sum(), 1e-12)).astype(np.float32))


def _above(probabilities: Float[Tensor, "B K"]) -> Float[Tensor, "B C"]:
    """P(y > k) of every cut; rounding must not leave [0, 1], where entropies are infinite."""
    return probabilities.flip(1).cumsum(1).flip(1)[:, 1:].clamp(0, 1)


def _log_sides(logits: Float[Tensor, "B K"], kd_temperature: float) -> tuple[Tensor, Tensor]:
    """Logarithms of P(y > k) and P(y ≤ k) of every cut, exact where the probability itself would be 0 in fp32."""
    log_p = F.log_softmax(logits.float() / kd_temperature, dim=1)
    cuts = range(1, log_p.shape[1])
    above = torch.stack([log_p[:, cut:].logsumexp(1) for cut in cuts], dim=1)
    below = torch.stack([log_p[:, :cut].logsumexp(1) for cut in cuts], dim=1)
    return above, below


def _plan(config: OrdinalKdConfig, shop: Workshop) -> Iterator[Phase]:
    weights = torch.full((shop.stages - 1,), 1 / (shop.stages - 1))
    if config.cut_weights == "balanced":
        weights = balanced_cuts(shop.images.stages, shop.stages)
    objective = OrdinalKd(config, shop.supervised, weights)
    yield Phase("train", shop.student(), objective, shop.teacher, shop.train)


METHOD = MethodSpec(
    kind="ordinal_kd",
    title="Ordinal distillation (ours)",
    idea="Beside the KL, teacher and student are compared at every cut between neighbouring stages, so that "
    "probability which strays further costs more.",
    formula="L = (1 − α) L_sup + α T² mean_i [KL_i + λ Σ_k w_k ((1 − β) KL(P_t(y>k) ‖ P_s(y>k)) "
    "+ 2β (P_t(y>k) − P_s(y>k))²)]",
    grades="O",
    reference="Ours; parts from arXiv:1503.02531 (KL) and arXiv:1611.05916 (squared earth mover's distance)",
    config=OrdinalKdConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher or book",
    cost="That of vanilla distillation.",
)
