"""Consistency-regularised distillation: our reading of Cons-KD, for images instead of speech.

The paper distils a recogniser of speech (connectionist temporal classification) and adds a consistency between two
passes with different dropout, against the gap between training and inference. Its abstract states the idea and its
gain; the coefficients and every formula below are ours. The consistency is that of R-Drop: the student looks at the
same batch twice; the teacher looks once. Where nothing but the dropout before the classifier tells both passes apart,
what comes before it is computed once and used twice: the same loss and gradient for half of the work. Otherwise, and
where several processes train one student, both are one forward pass of twice the size.

What the paper leaves open: where β lies (R-Drop uses values of its own for every task; 1 is ours), whether the
consistency is tempered (here T = 1), and where dropout goes in a network that has none. Stochastic depth is noise
like dropout and is meant to contribute. The batch statistics of batch norm do not change when every image comes
twice; where both passes are computed, the unbiased factor of the running variance does, from n/(n − 1) to 2n/(2n − 1).

A fair comparison is ``beta: 0``, which keeps the same dropout: plain distillation of a network without dropout
differs in two things.

References:
    Cons-KD: consistency between training and inference dropout for distilling speech recognisers (abstract).
    Wu et al., "R-Drop: Regularized Dropout for Neural Networks", NeurIPS 2021, arXiv:2106.14448.

Shape letters: B batch, K stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, field_validator
from scipy.special import rel_entr
from torch import Tensor, nn

from fibrokd.training.companion import Companion, EpochEnd
from fibrokd.training.dataset import Batch
from fibrokd.training.dropout import ensure_dropout, known_taps, noisy, only_classifier_is_noisy
from fibrokd.training.findings import Validation
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Distillation, MixtureConfig
from fibrokd.training.networks import Outputs, StagingNetwork
from fibrokd.training.objective import Moment, Term
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.teachers import evaluating

PASSES = 16
"""Noisy passes over the validation images, from which the gap between training and inference is read."""


class ConsKdConfig(MixtureConfig):
    """Knobs of consistency-regularised distillation."""

    kind: Literal["cons_kd"] = "cons_kd"
    """Name of the method."""

    beta: Annotated[float, Field(ge=0)] = 1.0
    """β, the weight of the consistency between both passes; 0 leaves the mean of two distillation losses."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Rate of dropout before the student's classifier where its backbone has none, and after ``taps``."""

    taps: tuple[str, ...] = ()
    """Feature taps after which the student's channels are dropped as well."""

    disagreement_images: Annotated[int, Field(ge=0)] = 256
    """Training images on which, after every epoch, the share of answers that dropout changes is counted; 0: none."""

    _taps = field_validator("taps")(known_taps)


class ConsistentKd(Distillation):
    """L = ½ Σ_j [(1 − α) L_sup(z_j) + α T² KL(p_t^T ‖ p_j^T)] + β ½ [KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)]."""

    config: ConsKdConfig

    def ask(self, network: nn.Module, batch: Batch) -> Outputs:
        """Let the student look twice: logits [2B, K], the second B of them with other dropout."""
        if isinstance(network, StagingNetwork) and only_classifier_is_noisy(network):
            once: Outputs = network(batch.images, self.taps)
            both = torch.cat([once.logits, network.classify(once.pooled)])
            return Outputs(both, once.pooled.repeat(2, 1), {})
        outputs: Outputs = network(torch.cat([batch.images, batch.images]), self.taps)
        return outputs

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the three terms.

        Args:
            outputs: Both passes one after the other, logits [2B, K].
            signal: The teacher's answer, [B, K].
            batch: What both saw.
            moment: Where the training stands.

        Raises:
            TrainingError: There is no teacher signal.
        """
        halves = zip(outputs.logits.float().chunk(2), outputs.pooled.chunk(2), strict=True)
        first, second = (Outputs(logits, pooled, {}) for logits, pooled in halves)
        distil = super().forward
        one, other = (distil(each, signal, batch, moment) for each in (first, second))
        mean = {name: replace(term, values=(term.values + other[name].values) / 2) for name, term in one.items()}
        return {**mean, "consistency": Term.mean(symmetric_kl(first.logits, second.logits), self.config.beta)}


def symmetric_kl(first: Float[Tensor, "B K"], second: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Return ½ [KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)] per sample; the gradient reaches both sides.

    Args:
        first: Logits of one pass.
        second: Logits of the other.
    """
    log_p, log_q = F.log_softmax(first.float(), dim=1), F.log_softmax(second.float(), dim=1)
    divergence: Tensor = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1) / 2
    return divergence


class Disagreement(Companion):
    """Counts how often dropout changes the student's answer: to training images after every epoch, then to others.

    Args:
        images: How many images are asked about.
        batch_size: Images per forward pass.
        seed: Seed of the dropout.
    """

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed

    @torch.no_grad()
    def after_epoch(self, end: EpochEnd) -> dict[str, float]:
        """Return the share of images whose most probable stage differs between a noisy and a plain pass."""
        changed = seen = 0
        devices = [end.device] if end.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), end.runtime.computing(end.device):
            torch.manual_seed(self.seed)
            for batch in end.images.centred(self.batch_size):
                if seen >= self.images:
                    break
                images = batch.images.to(end.device).contiguous(memory_format=end.runtime.layout)
                with evaluating(end.network):
                    plain = end.network(images).logits.argmax(1)
                with noisy(end.network):
                    changed += int((end.network(images).logits.argmax(1) != plain).sum())
                seen += len(batch)
        return {"dropout_disagreement": changed / seen} if seen else {}

    def report(self, network: nn.Module, validation: Validation) -> Mapping[str, Any]:
        """Return the gap between training and inference on the validation images, means over :data:`PASSES` passes.

        ``dropout_disagreement`` is the share of answers that dropout changes, ``dropout_divergence`` the divergence
        KL(plain ‖ noisy), nats.
        """
        plain, told = validation.probabilities(network), validation.noisy_probabilities(network, PASSES)
        changed = told.argmax(axis=2) != plain.argmax(axis=1)
        divergence = rel_entr(plain, told).sum(axis=2)
        means = {"dropout_disagreement": changed.mean(), "dropout_divergence": divergence.mean()}
        return {"validation": {"passes": PASSES, **{name: float(value) for name, value in means.items()}}}


def _plan(config: ConsKdConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    ensure_dropout(student, config.dropout, config.taps)
    companion = Disagreement(config.disagreement_images, shop.train.batch_size, shop.train.seed)
    objective = ConsistentKd(config, shop.supervised)
    yield Phase("train", student, objective, shop.teacher, shop.train, companion=companion)


METHOD = MethodSpec(
    kind="cons_kd",
    title="Consistency-regularised distillation (Cons-KD)",
    idea="The student answers every batch twice under different dropout; both answers are distilled, and agree.",
    formula="L = ½ Σ_j [(1 − α) L_sup(z_j) + α T² KL(p_t^T ‖ p_j^T)] + β ½ [KL(p_1 ‖ p_2) + KL(p_2 ‖ p_1)]",
    grades="B C D",
    reference="Cons-KD (abstract); parent R-Drop: Wu et al., NeurIPS 2021, arXiv:2106.14448",
    config=ConsKdConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher or book; two student passes; dropout put in by hooks",
    cost="One student pass per step, or two where stochastic depth or `taps` are noisy, or several processes train it; "
    "one teacher answer per view.",
    told={
        "validation.dropout_divergence": "divergence of two dropout masks",
        "validation.dropout_disagreement": "share of images whose stage a mask changes",
    },
)
