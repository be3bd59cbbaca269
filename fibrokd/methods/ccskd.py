"""Our reading of channel-correlation selective distillation (CCSKD), after the authors' released code.

Per feature tap a connector (1×1 convolution, batch norm, ReLU; trained with the student, absent from what is
deployed) brings the student to the teacher's width. Compared are means over the maps: channel by channel, and through
relations between samples. Probabilities are distilled twice: for every image alike, and selectively, by whether the
teacher is right. Labels and the selective term join after 30 % of the training, while the channel term decays.

Where this differs from the released code, and why:

* The code multiplies its selective weight into both arguments of the divergence, which gives right answers four times
  the pull of wrong ones, not twice. That is ``mode: released``; the default ``ccskd`` weighs a proper divergence, and
  ``strict`` leaves wrong answers out altogether (in the code they stay, at half weight).
* The code trains its "frozen" teacher's batch-norm statistics. Here a teacher is frozen.
* Break points are shares of the training; the code counts epochs out of 200.
* Under MixUp "right" is the share of the pair that has the stage the teacher thinks most probable.

Early stopping waits until the student has seen labels for as long as its patience, whatever ``min_epochs`` says, and a
learning rate that falls on a plateau does not count the epochs before: there, validation follows the teacher's answers
alone. Only means over feature maps are asked of the teacher, so a trajectory book that stores them can take its place.

References:
    Gou, Xiong, Yu, Zhan, Yi, "Channel-Correlation-Based Selective Knowledge Distillation", IEEE Transactions on
    Cognitive and Developmental Systems, 2022, DOI 10.1109/TCDS.2022.3232569; code gjplab/CCSKD.
    Zhou et al., "Channel Distillation", 2020, arXiv:2006.01683 (its parent).

Shape letters: B batch, K stages, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn

from fibrokd.training.connectors import Widths, connect, student_widths, teacher_widths
from fibrokd.training.dataset import Batch
from fibrokd.training.dropout import known_taps
from fibrokd.training.method import MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal, soft_kl
from fibrokd.training.relations import angle_loss, distance_loss
from fibrokd.training.settings import TrainConfig
from fibrokd.training.signals import GAPS, LOGITS, TeacherSignal
from fibrokd.training.targets import agreement

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class CcskdConfig(MethodConfig):
    """Knobs of channel-correlation selective distillation; defaults are those of the released code."""

    kind: Literal["ccskd"] = "ccskd"
    """Name of the method."""

    taps: Annotated[tuple[str, ...], Field(min_length=1)] = ("s4", "s8", "s16", "s32")
    """Feature taps that are compared."""

    label_weight: Weight = 1.0
    """Coefficient of L_sup, once it has joined."""

    selective_weight: Weight = 0.1
    """Coefficient of the selective term, once it has joined."""

    kd_weight: Weight = 0.1
    """Coefficient of plain distillation, throughout."""

    channel_weight: Weight = 6.0
    """Coefficient of the channel term, before it decays."""

    relation_weight: Weight = 6.0
    """Coefficient of the relations between samples, throughout."""

    angle_weight: Weight = 2.0
    """Weight of angles among the relations; distances count 1. Angles hold B³ numbers per tap."""

    kd_temperature: Annotated[float, Field(gt=0)] = 1.0
    """T of both response terms, which are multiplied by T²."""

    mode: Literal["ccskd", "released", "strict"] = "ccskd"
    """Weight of an image in the selective term, from the teacher's agreement a: 1 + a; the code's effective
    (1 + a)²; or a, which leaves wrong answers out."""

    labels_enter: Share = 0.3
    """Share of the training after which labels and the selective term join; 0: from the start."""

    channel_decays_at: tuple[Share, ...] = (0.3, 0.8)
    """Shares of the training at which the channel term decays by ``decay``."""

    selective_decays_every: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of the training after which the selective weight decays by ``decay``, again and again."""

    decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Factor of one decay."""

    _taps = field_validator("taps")(known_taps)

    @property
    def compared(self) -> tuple[str, ...]:
        """Taps whose maps are asked for: none where neither term that compares them has a weight."""
        return self.taps if self.channel_weight > 0 or self.relation_weight > 0 else ()


class Ccskd(Objective):
    """L = c_ce L_sup + c_sel L_sel + c_kd L_kd + c_cd Σ_l mean_c (g_s − g_t)² + c_rel Σ_l (dist + 2 angle).

    Args:
        config: Coefficients and break points.
        supervised: The shared supervised term.
        student: Tap → the student's channels.
        teacher: Tap → the teacher's channels.
        seed: Seed of the connectors.
    """

    def __init__(
        self, config: CcskdConfig, supervised: SupervisedTerm, student: Widths, teacher: Widths, seed: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised
        self.needs = needs_of(config)
        self.taps = config.compared
        self.connectors = connect(student, teacher, _connector, seed)

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the five terms, or three where no maps are compared.

        Raises:
            TrainingError: There is no teacher signal.
        """
        c = self.config
        teacher = expect_signal(signal, c.kind)
        target = teacher.probabilities(c.kd_temperature)
        own = {tap: self.connectors[tap](outputs.maps[tap].float()).mean((2, 3)) for tap in self.taps}
        apart = [(own[tap] - teacher.gaps[tap]).square().mean(1) for tap in self.taps]
        channel = torch.stack(apart).sum(0) if apart else None
        weights = selective_weights(c, agreement(target, batch), moment)
        scale = c.kd_temperature**2
        labels, channels = schedule(c, moment)
        answers = {
            "supervised": self.supervised(outputs.logits, batch, labels * c.label_weight),
            "selective": Term.mean(
                selective_kl(outputs.logits, target, c.kd_temperature, weights, c.mode),
                labels * c.selective_weight * scale,
            ),
            "kd": Term.mean(soft_kl(outputs.logits, target, c.kd_temperature), c.kd_weight * scale),
        }
        if channel is None:
            return answers
        return {
            **answers,
            "channel": Term.mean(channel, channels * c.channel_weight),
            "relation": Term.relation(self._relation(own, teacher.gaps), c.relation_weight),
        }

    def _relation(self, own: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Float[Tensor, ""]:
        losses = [distance_loss(own[tap], teacher[tap]) for tap in self.taps]
        if self.config.angle_weight > 0:
            losses += [self.config.angle_weight * angle_loss(own[tap], teacher[tap]) for tap in self.taps]
        return torch.stack(losses).sum()


def needs_of(config: CcskdConfig) -> frozenset[str]:
    """Return what is asked of the teacher."""
    return frozenset({LOGITS} | {GAPS + tap for tap in config.compared})


def schedule(config: CcskdConfig, moment: Moment) -> tuple[float, float]:
    """Return the factors of the label and of the channel coefficients at a moment of the training."""
    passed = sum(moment.progress >= share for share in config.channel_decays_at)
    return float(moment.progress >= config.labels_enter), config.decay**passed


def selective_weights(config: CcskdConfig, agree: Float[Tensor, " B"], moment: Moment) -> Float[Tensor, " B"]:
    """Return m_i: how much the teacher's answer counts.

    Args:
        config: Mode and decay.
        agree: Agreement a_i of the teacher with the labels, in [0, 1].
        moment: Where the training stands.
    """
    if config.mode == "strict":
        return agree
    decays = math.floor(moment.progress / config.selective_decays_every + 1e-9)
    return (1 + agree) * config.decay**decays


def selective_kl(
    logits: Float[Tensor, "B K"],
    target: Float[Tensor, "B K"],
    kd_temperature: float,
    weights: Float[Tensor, " B"],
    mode: str,
) -> Float[Tensor, " B"]:
    """Return m_i KL_i; in mode ``released`` the value of the code: m_i² CE_i − m_i H_i + m_i log m_i.

    Args:
        logits: Student logits.
        target: Teacher probabilities at the same temperature.
        kd_temperature: T.
        weights: m_i.
        mode: Mode of the configuration.
    """
    divergence = soft_kl(logits, target, kd_temperature)
    if mode != "released":
        return weights * divergence
    entropy = torch.special.entr(target).sum(1)
    weighted: Tensor = weights.square() * (divergence + entropy) - weights * entropy + torch.xlogy(weights, weights)
    return weighted


def _connector(student: int, teacher: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(student, teacher, 1, bias=False), nn.BatchNorm2d(teacher), nn.ReLU())


def _plan(config: CcskdConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    objective = Ccskd(
        config,
        shop.supervised,
        student_widths(student, config.compared, shop.images),
        teacher_widths(shop.teacher, needs_of(config), shop.images),
        shop.train.seed,
    )
    blind = math.ceil(config.labels_enter * shop.train.epochs)
    train = _budget(blind, shop)
    yield Phase("train", student, objective, shop.teacher, train, blind_epochs=blind)


def _budget(blind: int, shop: Workshop) -> TrainConfig:
    """The student's budget, in which early stopping waits until labels have been seen for its patience."""
    patience = shop.train.early_stopping
    if patience is None or blind == 0:
        return shop.train
    least = blind + patience
    return shop.budget(min_epochs=max(shop.train.min_epochs, min(shop.train.epochs, least)))


METHOD = MethodSpec(
    kind="ccskd",
    title="Channel-correlation selective distillation (CCSKD)",
    idea="Matches channel means at four depths and relations between samples; trusts the teacher more where it is "
    "right.",
    formula="L = c_ce L_sup + c_sel mean_i m_i KL(p_t ‖ p_s) + c_kd KL(p_t ‖ p_s) + c_cd Σ_l mean_c (g_s^l − g_t^l)² "
    "+ c_rel Σ_l (dist^l + 2 angle^l)",
    grades="A D",
    reference="Gou et al., IEEE TCDS 2022, DOI 10.1109/TCDS.2022.3232569; code gjplab/CCSKD",
    config=CcskdConfig,
    plan=_plan,
    needs=needs_of(CcskdConfig()),
    asks=needs_of,
    teachers=(1, 1),
    cacheable=True,
    seams="frozen teacher or a book that stores means over feature maps; connectors; scheduled coefficients",
    cost="Student feature maps, four 1×1 connectors and B³ angles per step; one teacher answer per view.",
)
