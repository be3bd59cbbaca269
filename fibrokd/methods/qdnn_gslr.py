"""Our reading of gradual soft-loss reduction (GSLR) for students whose weights have two to eight bits.

A float student is trained first; then its weights are quantised and it is trained on while the share of the teacher
falls: ``L_e = (1 − λ_e) L_sup + λ_e T² KL``. The abstract states the idea: the mixing ratio of hard and soft losses
changes during training, which makes the result depend less on T and the ratio. Ours is what it leaves open: λ falls
from 1 to 0, linearly over epochs (or by a cosine, or on four plateaus), and the step sizes. ``fixed_share`` runs the
control with a ratio that does not change.

Weights: symmetric uniform levels, ternary at two bits; step size by least squares when quantisation starts, then
fixed or found again before every epoch; straight-through gradients. First convolution and last linear layer stay at 8
bits, and so do depthwise convolutions, which collapse at two: a "2-bit" MobileNet is not two bits throughout.
Activations and batch norm stay in fp32. The deployed network is the plain backbone with quantised values in its
weights; the card says how many bytes they take when packed, no kernel here computes with packed weights.

Early stopping does not act before the schedule has finished: without that, the hard end of the schedule would
silently be missing. The best epoch by validation is kept all the same, unless ``train.keep`` is ``last``.

References:
    Shin, Boo, Sung, "Knowledge Distillation for Optimization of Quantized Deep Neural Networks", SiPS 2020,
    arXiv:1909.01688 (abstract).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from fibrokd.errors import ConfigError
from fibrokd.training import fake_quant
from fibrokd.training.companion import Companion, EpochEnd
from fibrokd.training.dataset import Batch
from fibrokd.training.folding import folded
from fibrokd.training.method import LOGITS_ONLY, MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Mixture, split_epochs
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, SupervisedTerm

Bits = Annotated[int, Field(ge=2, le=16)]
Share = Annotated[float, Field(ge=0, le=1)]


class QdnnGslrConfig(MethodConfig):
    """Knobs of quantisation and of the falling share of the teacher."""

    kind: Literal["qdnn_gslr"] = "qdnn_gslr"
    """Name of the method."""

    kd_temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, at which teacher and student are compared."""

    first_share: Share = 1.0
    """λ in the first epoch of quantised training."""

    last_share: Share = 0.0
    """λ in its last epoch."""

    schedule: Literal["linear", "cosine", "step"] = "linear"
    """How λ gets from one to the other; ``step``: on four plateaus."""

    fixed_share: Share | None = None
    """The control: this λ in every epoch of quantised training; ``null``: gradual."""

    bits: Bits = 2
    """Bits per weight of most layers; 2 is ternary."""

    edge_bits: Bits = 8
    """Bits of the first convolution and the last linear layer."""

    depthwise_bits: Bits = 8
    """Bits of depthwise convolutions."""

    excitation_bits: Bits = 8
    """Bits of squeeze-and-excitation layers: few weights, each of which moves a whole channel."""

    per_channel: bool = False
    """A step size per output channel instead of per layer."""

    step_sizes: Literal["fixed", "epoch"] = "fixed"
    """Step sizes are found when quantisation starts and stay, or are found again before every epoch."""

    float_epochs: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of all epochs in which the student has float weights."""

    float_share: Share = 0.6
    """Share of the teacher in that phase; 0: labels alone."""

    quantised_rate: Annotated[float, Field(gt=0)] = 0.3
    """Factor of the learning rate once weights are quantised."""

    def share(self, progress: float) -> float:
        """Return λ.

        Args:
            progress: 0 in the first epoch, 1 in the last.
        """
        if self.fixed_share is not None:
            return self.fixed_share
        curves = {
            "linear": progress,
            "cosine": (1 - math.cos(math.pi * progress)) / 2,
            "step": min(3, math.floor(4 * progress)) / 3,
        }
        done = curves[self.schedule]
        return (1 - done) * self.first_share + done * self.last_share


class StepSizes(Companion):
    """Remembers that step sizes are due: they are found before an epoch, so that what was validated is what is kept."""

    def __init__(self) -> None:
        self.due = False

    def restore(self, state: Mapping[str, Any], network: nn.Module) -> None:
        """A checkpoint is written between two epochs."""
        del state, network
        self.due = True

    def after_epoch(self, end: EpochEnd) -> dict[str, float]:
        """Note that an epoch is over."""
        del end
        self.due = True
        return {}


class GradualKd(Mixture):
    """L_e = (1 − λ_e) L_sup + λ_e T² KL.

    Args:
        config: Schedule and T.
        supervised: The shared supervised term.
        steps: Says when step sizes are due; ``None`` leaves them.
    """

    def __init__(self, config: QdnnGslrConfig, supervised: SupervisedTerm, steps: StepSizes | None = None) -> None:
        super().__init__(config.first_share, config.kd_temperature, supervised, config.kind)
        self.gradual = config
        self.steps = steps

    def ask(self, network: nn.Module, batch: Batch) -> Outputs:
        """Let the student answer, after new step sizes where they are due."""
        if self.steps is not None and self.steps.due:
            fake_quant.refit(network)
            self.steps.due = False
        return super().ask(network, batch)

    def share(self, moment: Moment) -> float:
        """Return λ_e; constant within an epoch."""
        return self.gradual.share(moment.epoch_share)

    def coefficients(self, moment: Moment) -> tuple[float, float]:
        """Return 1 − λ_e and λ_e T²."""
        share = self.share(moment)
        return 1 - share, share * self.config.kd_temperature**2


def _plan(config: QdnnGslrConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    first, second = split_epochs(shop.train.epochs, (config.float_epochs, 1 - config.float_epochs))
    vanilla = Mixture(config.float_share, config.kd_temperature, shop.supervised, config.kind)
    yield Phase("float", student, vanilla, shop.teacher, shop.budget(epochs=first))
    bits = fake_quant.bits_of_layers(
        student, config.bits, config.edge_bits, config.depthwise_bits, config.excitation_bits
    )
    fake_quant.attach(student, bits, config.per_channel)
    steps = StepSizes() if config.step_sizes == "epoch" else None
    rate = config.quantised_rate * shop.train.learning_rate
    budget = shop.budget(epochs=second, learning_rate=rate, min_epochs=second)
    objective = GradualKd(config, shop.supervised, steps)
    yield Phase("quantised", student, objective, shop.teacher, budget, companion=steps or Companion())


def _export(network: nn.Module, config: QdnnGslrConfig) -> nn.Module:
    del config
    return folded(network)


def _facts(network: nn.Module, config: QdnnGslrConfig) -> dict[str, Any]:
    del config
    counts: dict[str, int] = {}
    for _, module, quantiser in fake_quant.quantised(network):
        key = str(quantiser.bits)
        counts[key] = counts.get(key, 0) + module.get_parameter("parametrizations.weight.original").numel()
    return {"deployed_bytes": fake_quant.deployed_bytes(network), "weights_by_bits": counts}


def _check(config: QdnnGslrConfig, student: Any) -> None:
    _, quantised = split_epochs(student.train.epochs, (config.float_epochs, 1 - config.float_epochs))
    if quantised < 2 and config.fixed_share is None:  # a single one would have the last share, the labels' alone
        raise ConfigError(
            "Expected at least two epochs with quantised weights for the teacher's share to change in method "
            f"'{config.kind}', found {quantised} of {student.train.epochs}.",
            "Raise `train.epochs`, lower `method.float_epochs`, or set `method.fixed_share`.",
        )


METHOD = MethodSpec(
    kind="qdnn_gslr",
    title="Quantised student with gradual soft-loss reduction",
    idea="A student with weights of few bits learns from the teacher first and from the labels in the end.",
    formula="L_e = (1 − λ_e) L_sup + λ_e T² mean_i KL(p_t^T ‖ p_s^T), λ_e = λ_0 + (λ_E − λ_0) e/(E − 1); "
    "w ↦ Δ clip(round(w/Δ), −n, n)",
    grades="B D M",
    reference="Shin, Boo, Sung, SiPS 2020, arXiv:1909.01688 (abstract)",
    config=QdnnGslrConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 1),
    cacheable=True,
    seams="two phases, scheduled coefficient, parametrised weights baked at export; frozen teacher or book",
    cost="Quantising every weight once per step.",
    export=_export,
    facts=_facts,
    check=_check,
    told={
        "deployed_bytes": "bytes deployed",
    },
)
