"""Our reading of knowledge distillation with dynamic pruning (KDDP): the width of a hidden layer finds itself.

The student's last hidden layer is distilled with an L1 penalty on its activations; neurons that fall silent are cut
out while the training goes on, and a phase of fixed width follows. The abstract states the idea. What it leaves open
is ours: λ₁, when a neuron counts as inactive, when and how often neurons are cut, and which layer. MobileNetV3 has a
hidden layer (its Hardswish becomes a ReLU, because Hardswish is not zero where it is inactive); others get one
inserted before the classifier.

A neuron is inactive when its mean |activation| over the training images (in eval mode, unmixed) is at most θ times
the median *of those that are not zero*: the plain median would spare silent neurons once they are the majority. A cut
may still move the output on average: ``compensate`` adds what the cut neurons said on average to the next bias. The
last phase has no penalty.

In MobileNetV3-Small the layer holds 0.6 of 1.5 million parameters but 1 % of the operations at 224 px (3 % at 128):
size shrinks, latency does not.

References:
    Şener, Akbaş, "Improved Knowledge Distillation with Dynamic Network Pruning", Gazi University Journal of Science
    Part C 10(3), 2022, DOI 10.29109/gujsc.1141648 (abstract).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import nn

from fibrokd.errors import ConfigError, TrainingError
from fibrokd.training.companion import Companion, EpochEnd
from fibrokd.training.dataset import Batch
from fibrokd.training.hidden_layer import active, activity, cut, give_hidden_layer, hidden_width
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Distillation, MixtureConfig, split_epochs
from fibrokd.training.networks import Outputs, StagingNetwork, parameter_count
from fibrokd.training.objective import Moment, Term
from fibrokd.training.runtime import accelerator
from fibrokd.training.signals import TeacherSignal


class KddpConfig(MixtureConfig):
    """Knobs of distillation with dynamic pruning."""

    kind: Literal["kddp"] = "kddp"
    """Name of the method."""

    l1: Annotated[float, Field(ge=0)] = 0.1
    """λ₁, the weight of the mean |activation| of the hidden layer; 0: vanilla distillation, nothing is pruned. A mean
    over a thousand neurons: at 0.001 its gradient on the layer is a ten-thousandth of the labels'."""

    width: Annotated[int, Field(ge=8)] = 512
    """Neurons of the hidden layer where the backbone has none."""

    relu: bool = True
    """Replace the activation of a hidden layer that the backbone has by ReLU."""

    threshold: Annotated[float, Field(ge=0)] = 1e-2
    """θ: neurons go whose mean |activation| is at most θ times the median of those that are not silent."""

    least: Annotated[int, Field(ge=1)] = 8
    """Fewest neurons that are kept."""

    every: Annotated[int, Field(ge=1)] = 2
    """Epochs between two cuts."""

    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the pruning phase before the first interval begins."""

    compensate: bool = False
    """Add what cut neurons said on average to the bias of the classifier."""

    fine_tune: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of all epochs that follows at fixed width, without the penalty."""

    fine_tune_rate: Annotated[float, Field(gt=0)] = 0.1
    """Factor of the learning rate then."""

    def cuts_after(self, epoch: int, epochs: int) -> bool:
        """Return whether neurons are cut after an epoch.

        Args:
            epoch: From 1.
            epochs: Of the pruning phase.
        """
        since = epoch - round(self.warm_up * epochs)
        return since > 0 and since % self.every == 0


class SparseKd(Distillation):
    """L = (1 − α) L_sup + α T² KL + λ₁ mean_i ‖h_i‖₁ / D."""

    config: KddpConfig

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the terms; the pooled vector is the activation of the hidden layer.

        Raises:
            TrainingError: There is no teacher signal.
        """
        terms = super().forward(outputs, signal, batch, moment)
        return {**terms, "activity": Term.mean(outputs.pooled.float().abs().mean(1), self.config.l1)}


class Pruner(Companion):
    """Cuts silent neurons out of the hidden layer every few epochs.

    Args:
        config: When, and which.
        width: Neurons at the start.
    """

    def __init__(self, config: KddpConfig, width: int) -> None:
        self.config = config
        self.width = width

    def state(self) -> dict[str, Any]:
        """Return the width: the checkpoint's weights have it."""
        return {"width": self.width}

    def restore(self, state: Mapping[str, Any], network: nn.Module) -> None:
        """Give the network the width it had; which neurons they are is in the weights."""
        self.width = state["width"]
        cut(cast(StagingNetwork, network), torch.arange(self.width))

    def after_epoch(self, end: EpochEnd) -> dict[str, float]:
        """Cut, if it is time."""
        network, c = cast(StagingNetwork, end.network), self.config
        if c.cuts_after(end.epoch, end.epochs):
            found = activity(network, end.images, end.runtime, end.device)
            kept = active(found.size, c.threshold, min(c.least, self.width))
            if len(kept) < self.width:
                cut(network, kept, end.optimizer, found.mean if c.compensate else None)
                self.width = len(kept)
        return {"hidden_width": float(self.width)}


def _plan(config: KddpConfig, shop: Workshop) -> Iterator[Phase]:
    if accelerator().num_processes > 1:
        raise TrainingError(
            f"Expected one process for method 'kddp', found {accelerator().num_processes}: the shape of the network "
            "changes while it is trained.",
            "Start one process.",
        )
    student = shop.student()
    give_hidden_layer(student, config.width, config.relu, shop.train.seed)
    vanilla = Distillation(config, shop.supervised)
    if config.l1 == 0:
        yield Phase("train", student, vanilla, shop.teacher, shop.train)
        return
    pruning, fixed = split_epochs(shop.train.epochs, (1 - config.fine_tune, config.fine_tune))
    # The last weights, not the best: those may have had another width.
    budget = shop.budget(epochs=pruning, keep="last", early_stopping=None)
    pruner = Pruner(config, hidden_width(student))
    yield Phase("prune", student, SparseKd(config, shop.supervised), shop.teacher, budget, companion=pruner)
    rate = config.fine_tune_rate * shop.train.learning_rate
    yield Phase("fine_tune", student, vanilla, shop.teacher, shop.budget(epochs=fixed, learning_rate=rate))


def _rebuild(network: StagingNetwork, config: KddpConfig, shapes: Mapping[str, torch.Size]) -> nn.Module:
    give_hidden_layer(network, config.width, config.relu, seed=0)
    name = next(name for name, parameter in network.named_parameters() if parameter is _classifier_weight(network))
    stored = shapes[name][1]
    if stored < hidden_width(network):
        cut(network, torch.arange(stored))
    return network


def _classifier_weight(network: StagingNetwork) -> nn.Parameter:
    weight: nn.Parameter = network.body.get_classifier().weight
    return weight


def _facts(network: nn.Module, config: KddpConfig) -> dict[str, Any]:
    student = cast(StagingNetwork, network)
    with torch.device("meta"):
        plain = StagingNetwork(student.backbone_name, student.stages)
    whole = parameter_count(plain)
    give_hidden_layer(plain, config.width, config.relu, seed=0)
    return {
        "hidden_width": hidden_width(student),
        "hidden_width_at_start": hidden_width(plain),
        "parameters_of_plain_backbone": whole,
        "training_parameters": parameter_count(plain),
    }


def _check(config: KddpConfig, student: Any) -> None:
    if config.l1 > 0 and student.train.average_decay is not None:
        raise ConfigError(
            "Expected no moving average beside method 'kddp': an average of networks of different widths does not "
            f"exist; found `train.average_decay: {student.train.average_decay}`.",
            "Set `train.average_decay: null`.",
        )
    if config.l1 > 0:
        pruning, _ = split_epochs(student.train.epochs, (1 - config.fine_tune, config.fine_tune))
        if not any(config.cuts_after(epoch, pruning) for epoch in range(1, pruning + 1)):
            raise ConfigError(
                f"Expected an epoch after which method 'kddp' cuts, found none in the {pruning} before the last ones: "
                f"warm-up {config.warm_up:g} of them, a cut every {config.every}.",
                "Raise `train.epochs`, or lower `method.every` or `method.warm_up`.",
            )


METHOD = MethodSpec(
    kind="kddp",
    title="Distillation with dynamic pruning",
    idea="An L1 penalty silences neurons of the hidden layer; they are cut out while the student learns.",
    formula="L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T) + λ₁ mean_i ‖h_i‖₁ / D_h; "
    "drop j if s_j ≤ θ·median of s_j > 0",
    grades="B D",
    reference="Şener and Akbaş 2022, DOI 10.29109/gujsc.1141648 (abstract)",
    config=KddpConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="companion that prunes and remaps the optimiser; two phases; frozen teacher or book",
    cost="One pass over the training images per cut.",
    rebuild=_rebuild,
    facts=_facts,
    check=_check,
    told={
        "hidden_width": "hidden neurons left",
        "hidden_width_at_start": "at the start",
    },
)
