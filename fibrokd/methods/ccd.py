"""Cosine confidence distillation (CCD): jointly augmented copies teach as far as the teacher keeps its opinion.

Every image stands twice in a batch: as its view (even rows) and as the same view after joint augmentation (odd rows;
``views.joint``, :mod:`fibrokd.training.joint`). Both rows of a pair are distilled, the augmented one weighted by
c = 1 + cos(z_t of the view, z_t of its copy) ∈ [0, 2], which rests on the teacher alone. Follows the authors' released
code of the conference version; there α_h multiplies the *hard* term, unlike this project's α.

Deviations from that code: operations that destroy stage evidence are not offered; MixUp (which the release does not
have) gives both members of a pair the same partner and λ; where a teacher answered the members of a MixUp pair
separately (pool and static books), c is their λ-mean. A static book knows no copies, so that c = 2 throughout.
``cosine: centred`` is ours: a softmax does not notice a constant added to all logits, the plain cosine does.

References:
    Li, Shao, Qiu, Song, "Multi-perspective analysis on data augmentation in knowledge distillation", Neurocomputing
    583, 2024, DOI 10.1016/j.neucom.2024.127516; its conference version "What Role Does Data Augmentation Play in
    Knowledge Distillation?", ACCV 2022, whose released code was read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fibrokd.errors import ConfigError, TrainingError
from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodConfig, MethodSpec, single_phase
from fibrokd.training.mixture import Distillation
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Term, expect_signal
from fibrokd.training.signals import TeacherSignal


class CcdConfig(MethodConfig):
    """Coefficients of cosine confidence distillation."""

    kind: Literal["ccd"] = "ccd"
    """Name of the method."""

    hard_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """α_h, the share of the *hard* term; the soft one gets 1 − α_h."""

    kd_temperature: Annotated[float, Field(gt=0)] = 4.0
    """T, at which teacher and student are compared."""

    factor: Annotated[float, Field(gt=0)] = 2.0
    """κ, factor of the whole loss."""

    confidence: bool = True
    """Weigh copies by c. Off: c = 1 throughout, vanilla distillation on all rows (joint augmentation alone)."""

    cosine: Literal["logits", "centred"] = "logits"
    """What c compares: ``logits`` as they are (released code), or ``centred`` ones, less their mean over stages."""

    @property
    def label_weight(self) -> float:
        """κ α_h."""
        return self.factor * self.hard_share

    @property
    def soft_weight(self) -> float:
        """κ (1 − α_h) T², of which views and copies get half each."""
        return self.factor * (1 - self.hard_share) * self.kd_temperature**2


class CosineConfidence(Distillation):
    """L = κ [α_h L_sup + (1 − α_h) T² ½ (mean KL of views + mean c·KL of copies)]; L_sup is over all rows."""

    config: CcdConfig

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the supervised term and those of views and copies; the moment plays no part.

        Raises:
            TrainingError: There is no teacher signal, or rows do not come in pairs.
        """
        _expect_pairs(batch)
        terms = dict(super().forward(outputs, signal, batch, moment))
        both = terms.pop(self.soft_term)
        copies = both.values[1::2]
        if self.config.confidence:
            known = expect_signal(signal, self.config.kind)
            copies = cosine_confidence(known, centred=self.config.cosine == "centred") * copies
        return terms | {
            "views": Term.mean(both.values[0::2], both.coefficient / 2),
            "copies": Term.mean(copies, both.coefficient / 2),
        }


def cosine_confidence(signal: TeacherSignal, centred: bool = False) -> Float[Tensor, " P"]:
    """Return c = 1 + cos of every pair of rows, in [0, 2]; 1 where the teacher says nothing at all.

    Args:
        signal: Answers to pairs of rows, [2P, K].
        centred: Compare logits less their mean over stages.
    """
    own = _cosines(signal.logits, centred)
    if signal.partner_logits is None or signal.lam is None:
        return 1 + own
    lam = signal.lam[0::2]
    return 1 + lam * own + (1 - lam) * _cosines(signal.partner_logits, centred)


def _cosines(logits: Float[Tensor, "R K"], centred: bool) -> Float[Tensor, " P"]:
    answers = logits.float()
    if centred:
        answers = answers - answers.mean(1, keepdim=True)
    # Long vectors are shortened first: the squares of extreme logits would not fit fp32.
    answers = answers / answers.abs().amax(1, keepdim=True).clamp_min(torch.finfo(answers.dtype).tiny)
    cosines: Tensor = F.cosine_similarity(answers[0::2], answers[1::2], dim=1)
    return cosines.clamp(-1, 1)


def _expect_pairs(batch: Batch) -> None:
    first, second = batch.index[0::2], batch.index[1::2]
    if len(batch) % 2 or bool(((first % 2 != 0) | (second != first + 1)).any()):
        raise TrainingError(
            "Expected rows in pairs, a view and its jointly augmented copy, found single ones.",
            "Set `views.joint: {}` for student and book.",
        )


def _check(config: Any, plan: Any) -> None:
    del config
    if plan.views.joint is None:
        raise ConfigError(
            "Method 'ccd' learns from pairs of a view and its jointly augmented copy, found `views.joint: null`.",
            "Set `views.joint: {}` (for the book, too), or choose method 'kd'.",
        )


METHOD = MethodSpec(
    kind="ccd",
    title="Cosine confidence distillation with joint augmentation",
    idea="Every image comes with a jointly augmented copy, which counts as far as the teacher answers both alike.",
    formula="L = κ [α_h L_sup + (1 − α_h) T² ½ (mean_i KL_i(view) + mean_i c_i KL_i(copy))], "
    "c_i = 1 + cos(z_t(view_i), z_t(copy_i))",
    grades="A",
    reference="Li et al. 2024, DOI 10.1016/j.neucom.2024.127516; authors' code of the ACCV 2022 version",
    config=CcdConfig,
    plan=single_phase(CosineConfidence),
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher or book, paired views",
    cost="Two rows per image: twice the student steps and teacher answers of an epoch.",
    check=_check,
)
