"""Adaptive label smoothing with self-knowledge: a network smooths labels by its own confidence, towards its own past.

Our reading of the paper, whose idea is known to us and whose formula is from memory. Image by image the amount of
smoothing is the confidence of the network in training, α_i = 1 − H(p_i)/log K: the surer, the more is smoothed. Labels
are smoothed towards the answer φ_i of the network's own best checkpoint so far (by validation macro-F1), to the same
mixed image; before there is one, towards the uniform distribution. No gradient flows through α or φ.

What the paper leaves open for five stages is an option: a well-trained network is nearly certain, α_i ≈ 1 and the
label almost vanishes. ``alpha_cap`` bounds α_i (1, the default, is the formula as we remember it; 0.5 is worth an
experiment), and the mean of α is written to metrics.jsonl as the term ``alpha``, which adds nothing to the loss.

The method replaces label smoothing and refuses it beside itself. Class weights act on the whole loss of an image. The
prior is chosen on validation data, which therefore have a small say in the targets: final figures belong to a test
split. It is what was validated best, a moving average of the weights where there is one, whatever is kept in the end.
No least number of epochs is set: nothing here follows a schedule that early stopping could cut short.

References:
    Lee, Cheung, Zhang, "Adaptive Label Smoothing with Self-Knowledge in Natural Language Generation", EMNLP 2022,
    arXiv:2210.13459.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fibrokd.training.companion import Companion, EpochEnd
from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY, MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal
from fibrokd.training.signals import LOGITS, TeacherSignal
from fibrokd.training.targets import refuse_smoothing, towards
from fibrokd.training.teachers import LiveTeacher


class SelfKnowledgeConfig(MethodConfig):
    """Knobs of adaptive label smoothing."""

    kind: Literal["self_knowledge_ls"] = "self_knowledge_ls"
    """Name of the method."""

    alpha_cap: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Largest α_i, the amount of smoothing of an image; 0 leaves plain labels."""


def smoothing(logits: Float[Tensor, "B K"], cap: float) -> Float[Tensor, " B"]:
    """Return α_i = min(1 − H(p_i)/log K, cap), without gradient, in [0, cap].

    Args:
        logits: Answers of the network in training.
        cap: Largest amount.
    """
    entropy = torch.special.entr(logits.detach().float().softmax(1)).sum(1)
    certainty: Tensor = 1 - entropy / math.log(logits.shape[1])
    return certainty.clamp(0, cap)


class AdaptiveSmoothing(Objective):
    """L = Σ_i ω_i [(1 − α_i) CE(q_i, p_i) + α_i CE(φ_i, p_i)] / Σ_i ω_i.

    Args:
        config: Largest amount of smoothing.
        supervised: The shared supervised term, without smoothing.
    """

    needs = LOGITS_ONLY

    def __init__(self, config: SelfKnowledgeConfig, supervised: SupervisedTerm) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the loss, and the amounts of smoothing with coefficient 0, to be seen in metrics.jsonl.

        Raises:
            TrainingError: There is no prior.
        """
        del moment
        prior = expect_signal(signal, self.config.kind).probabilities()
        alpha = smoothing(outputs.logits, self.config.alpha_cap)
        labels = self.supervised.targets(batch, outputs.logits.shape[1])
        target = (1 - alpha[:, None]) * labels + alpha[:, None] * prior
        return {
            "supervised": towards(self.supervised, outputs.logits, target, batch),
            "alpha": Term.mean(alpha, coefficient=0.0),
        }


class BestSoFar(Companion):
    """The network's own best checkpoint: a teacher that is promoted between epochs. Uniform before that.

    Args:
        source: Answers with a copy of the network in training.
        stages: Number of stages K.
    """

    heeds_validation = True

    def __init__(self, source: LiveTeacher, stages: int) -> None:
        self.source, self.stages = source, stages
        self.epoch = 0  # whose weights are the prior; 0: none yet
        self.caps = frozenset({LOGITS})
        self.reach: int | None = None

    def signal(self, batch: Batch, needs: frozenset[str] = LOGITS_ONLY) -> TeacherSignal:
        """Return the prior's logits for the mixed images."""
        if not self.epoch:
            return TeacherSignal(torch.zeros(len(batch), self.stages, device=batch.images.device))
        return self.source.signal(batch, needs)

    def modules(self) -> Mapping[str, nn.Module]:
        """Return the prior: its weights belong into the checkpoint."""
        return {"prior": self.source.network}

    def state(self) -> dict[str, Any]:
        """Return the epoch whose weights are the prior."""
        return {"epoch": self.epoch}

    def restore(self, state: Mapping[str, Any], network: nn.Module) -> None:
        """Take up the epoch; the weights follow with the checkpoint."""
        del network
        self.epoch = int(state["epoch"])

    def after_epoch(self, end: EpochEnd) -> dict[str, float]:
        """Take over the weights of an epoch that validated better than all before."""
        if end.better:
            self.source.network.load_state_dict(end.kept.state_dict())
            self.epoch = end.epoch
        return {"prior_epoch": float(self.epoch)}


def _plan(config: SelfKnowledgeConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    prior = BestSoFar(shop.frozen(copy.deepcopy(student)), shop.stages)
    yield Phase("train", student, AdaptiveSmoothing(config, shop.supervised), prior, shop.train, companion=prior)


def _check(config: SelfKnowledgeConfig, plan: Any) -> None:
    refuse_smoothing(plan.supervised, config.kind)


METHOD = MethodSpec(
    kind="self_knowledge_ls",
    title="Adaptive label smoothing with self-knowledge",
    idea="Labels are smoothed by the network's own confidence, towards the answers of its own best checkpoint.",
    formula="L = mean_i [(1 − α_i) CE(q_i, p_i) + α_i CE(φ_i, p_i)]; α_i = sg[1 − H(p_i)/log K], φ_i of the best epoch",
    grades="B M",
    reference="Lee, Cheung, Zhang, EMNLP 2022, arXiv:2210.13459",
    config=SelfKnowledgeConfig,
    plan=_plan,
    seams="teacher that is promoted between epochs; replaces label smoothing",
    cost="One more forward pass of the student per step.",
    check=_check,
)
