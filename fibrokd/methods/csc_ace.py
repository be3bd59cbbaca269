"""Channel-and-spatial correlation with adaptive cross-entropy: our reading of Park & Heo, for stages of whole images.

The paper distils semantic segmentation. Its abstract states both ideas: the *full* relationship of channels and
positions of a feature map (earlier work used positions alone), and a cross-entropy that takes the teacher's
probabilities where the teacher is right and the label where it is wrong, so that false knowledge is never passed on.
The exact relation tensor is open; ours compares channel, spatial and joint relation
(:mod:`fibrokd.training.correlations`), after a 1×1 adapter that brings the student to the teacher's width and is
absent from what is deployed.

Each part works alone: ``beta: 0`` is the adaptive cross-entropy without feature maps, ``response: supervised`` is the
correlation beside plain labels, ``response: kd`` beside vanilla distillation. Offered besides: ``relation:
no_adapter`` (positions alone, no adapter), ``cka`` (the same through linear CKA, as sibling methods do), and
``dense``, nearer to segmentation: the student is judged at every position of its last map; the teacher's answer to
the whole image and the image's label stand for every position, where the paper has a label map.

Under MixUp "right" is the share of the pair that has the stage the teacher thinks most probable; the adaptive target
is then a mixture, and its label part is not smoothed. β should leave the gradient of the correlation at about a tenth
to a third of that of the response; the ratio is measured on a few training images after every epoch
(``correlation_gradient`` in metrics.jsonl).

References:
    Park & Heo, "Knowledge Distillation for Semantic Segmentation Using Channel and Spatial Correlations and Adaptive
    Cross Entropy", Sensors 2020, 20(16):4616, DOI 10.3390/s20164616 (abstract).

Shape letters: B batch, K stages, C channels, H W feature map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from fibrokd.training.companion import Companion, EpochEnd
from fibrokd.training.connectors import Widths, connect, student_widths, teacher_widths
from fibrokd.training.correlations import (
    channel_difference,
    cka_difference,
    flatten,
    joint_difference,
    spatial_difference,
)
from fibrokd.training.dataset import Batch
from fibrokd.training.dropout import known_taps
from fibrokd.training.method import MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.networks import Outputs, StagingNetwork
from fibrokd.training.objective import Moment, Objective, SupervisedConfig, SupervisedTerm, Term, soft_kl
from fibrokd.training.objective import expect_signal as expect
from fibrokd.training.signals import LOGITS, MAPS, TeacherSignal
from fibrokd.training.targets import agreement, towards
from fibrokd.training.teachers import TeacherSource, evaluating

DENSE = "dense"
"""Where the student's logits at every position travel among its maps."""


class CscAceConfig(MethodConfig):
    """Knobs of both losses."""

    kind: Literal["csc_ace"] = "csc_ace"
    """Name of the method."""

    response: Literal["ace", "kd", "supervised"] = "ace"
    """``ace``: adaptive cross-entropy, which contains the labels. ``kd``: vanilla distillation. ``supervised``:
    labels alone."""

    alpha: Annotated[float, Field(ge=0, le=1)] = 0.6
    """α of ``response: kd``."""

    kd_temperature: Annotated[float, Field(gt=0)] = 3.0
    """T of ``response: kd``; the adaptive cross-entropy is not tempered."""

    dense: bool = False
    """Adaptive cross-entropy at every position of the student's last feature map instead of once per image."""

    beta: Annotated[float, Field(ge=0)] = 1.0
    """β, the weight of the correlation term; 0 switches it off."""

    relation: Literal["full", "no_adapter", "cka"] = "full"
    """What is compared: channel, spatial and joint relation; the spatial one; the same through linear CKA."""

    kappa: Annotated[float, Field(ge=0)] = 1.0
    """κ, the weight of the joint relation."""

    taps: Annotated[tuple[str, ...], Field(min_length=1)] = ("s16", "s32")
    """Feature taps that are compared."""

    largest_side: Annotated[int, Field(ge=1)] = 14
    """Larger maps are averaged down to so many positions a side, for memory grows with the fourth power."""

    _taps = field_validator("taps")(known_taps)

    @model_validator(mode="after")
    def _something_is_distilled(self) -> CscAceConfig:
        if self.response == "supervised" and self.beta == 0:
            raise ValueError("expected something to distil, found `response: supervised` and `beta: 0`")
        if self.dense and self.response != "ace":
            raise ValueError("expected `dense` only with `response: ace`")
        return self

    @property
    def compared(self) -> tuple[str, ...]:
        """Taps whose maps are needed."""
        return self.taps if self.beta > 0 else ()

    @property
    def needs(self) -> frozenset[str]:
        """What is asked of the teacher."""
        return frozenset({LOGITS} | {MAPS + tap for tap in self.compared})


class CscAce(Objective):
    """L = mean_i −Σ_k [a_i p_t + (1 − a_i) q] log p_s + β L_csc.

    Args:
        config: Which losses, with their coefficients.
        supervised: The shared supervised term.
        student: Tap → the student's channels; only where adapters are needed.
        teacher: Tap → the teacher's channels.
        seed: Seed of the adapters.
    """

    def __init__(
        self,
        config: CscAceConfig,
        supervised: SupervisedTerm,
        student: Widths | None = None,
        teacher: Widths | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.config = config
        self.supervised = supervised
        self.needs = config.needs
        self.taps = config.compared
        self.plain = SupervisedTerm(SupervisedConfig(label_smoothing=0.0), supervised.weights)
        self.adapters = connect(student or {}, teacher or {}, _adapter, seed)

    def ask(self, network: nn.Module, batch: Batch) -> Outputs:
        """Let the student answer, at every position as well where that is asked for."""
        if not self.config.dense:
            return super().ask(network, batch)
        plain: Any = getattr(network, "module", network)  # inside its wrapper for several processes
        last: list[Tensor] = []
        # Every body pools its last map in a module of this name, whatever follows before the classifier.
        handle = plain.body.global_pool.register_forward_pre_hook(lambda _, args: last.append(args[0]))
        try:
            outputs = super().ask(network, batch)
        finally:
            handle.remove()
        return replace(outputs, maps={**outputs.maps, DENSE: _everywhere(plain, last[0])})

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the terms that are switched on; the moment plays no part.

        Raises:
            TrainingError: There is no teacher signal.
        """
        del moment
        teacher = expect(signal, self.config.kind)
        terms = self.response(outputs, teacher, batch)
        if self.config.beta > 0:
            terms["correlation"] = Term.mean(self.correlation(outputs.maps, teacher.maps), self.config.beta)
        return terms

    def response(self, outputs: Outputs, teacher: TeacherSignal, batch: Batch) -> dict[str, Term]:
        """Return the terms on the student's answer."""
        c = self.config
        if c.response == "supervised":
            return {"supervised": self.supervised(outputs.logits, batch)}
        if c.response == "kd":
            values = soft_kl(outputs.logits, teacher.probabilities(c.kd_temperature), c.kd_temperature)
            labels = self.supervised(outputs.logits, batch, coefficient=1 - c.alpha)
            return {"supervised": labels, "kd": Term.mean(values, c.alpha * c.kd_temperature**2)}
        target = self.adaptive_target(teacher, batch)
        if not c.dense:
            return {"ace": towards(self.supervised, outputs.logits, target, batch)}
        places = outputs.maps[DENSE].flatten(2).unbind(2)
        each = [towards(self.supervised, logits, target, batch) for logits in places]
        return {"ace": Term(torch.stack([term.values for term in each]).mean(0), each[0].weights)}

    def adaptive_target(self, teacher: TeacherSignal, batch: Batch) -> Float[Tensor, "B K"]:
        """Return a_i p_t,i + (1 − a_i) q_i, with labels that are not smoothed."""
        probabilities = teacher.probabilities()
        right = agreement(probabilities, batch)[:, None]
        return right * probabilities + (1 - right) * self.plain.targets(batch, probabilities.shape[1])

    def correlation(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Float[Tensor, " B"]:
        """Return the mean over the taps of what the relations of both maps differ by.

        Args:
            student: Tap → feature map, [B, C, H, W].
            teacher: The same of the teacher, of any width.
        """
        return torch.stack([self._at(tap, student[tap].float(), teacher[tap].float()) for tap in self.taps]).mean(0)

    def _at(self, tap: str, student: Tensor, teacher: Tensor) -> Float[Tensor, " B"]:
        side = min(self.config.largest_side, *student.shape[2:], *teacher.shape[2:])
        known = flatten(teacher, side)
        if self.config.relation != "full":
            compare = cka_difference if self.config.relation == "cka" else spatial_difference
            return compare(flatten(student, side), known)
        own = flatten(self.adapters[tap](student), side)
        apart = channel_difference(own, known) + spatial_difference(own, known)
        return apart + self.config.kappa * joint_difference(own, known)


class GradientRatio(Companion):
    """Measures, after every epoch, how the gradients of both losses at the student's maps compare in length.

    Args:
        objective: The losses.
        teacher: The teacher.
        images: Training images that are looked at.
    """

    def __init__(self, objective: CscAce, teacher: TeacherSource, images: int = 8) -> None:
        self.objective, self.teacher, self.images = objective, teacher, images

    def after_epoch(self, end: EpochEnd) -> dict[str, float]:
        """Return ‖∂ β L_csc / ∂F‖ / ‖∂ L_response / ∂F‖, F being the maps of all taps."""
        objective = self.objective
        if objective.config.beta == 0:
            return {}
        batch = next(end.images.batches(0, self.images)).to(end.device, end.runtime.layout)
        signal = self.teacher.signal(batch, objective.needs)
        with evaluating(end.network), end.runtime.computing(end.device):
            outputs = objective.ask(end.network, batch)
        maps = [outputs.maps[tap] for tap in objective.taps]
        correlation = objective.config.beta * objective.correlation(outputs.maps, signal.maps).mean()
        response = torch.stack([_reduced(term) for term in objective.response(outputs, signal, batch).values()]).sum()
        lengths = [
            torch.cat([g.float().flatten() for g in torch.autograd.grad(loss, maps, retain_graph=True)]).norm().item()
            for loss in (correlation, response)
        ]
        return {"correlation_gradient": lengths[0] / max(lengths[1], 1e-12)}


def _reduced(term: Term) -> Tensor:
    return term.coefficient * (term.weights * term.values).sum() / term.weights.sum().clamp_min(1e-12)


def _everywhere(network: StagingNetwork, last: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
    """Logits of every position, as if the map were constant and equal to it."""
    batch, channels, height, width = last.shape
    places = last.permute(0, 2, 3, 1).reshape(-1, channels, 1, 1)
    logits = network.classify(network.body.forward_head(places, pre_logits=True))
    return logits.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _adapter(student: int, teacher: int) -> nn.Module:
    return nn.Conv2d(student, teacher, 1, bias=False)


def _plan(config: CscAceConfig, shop: Workshop) -> Iterator[Phase]:
    student = shop.student()
    widths: tuple[Any, ...] = ()
    if config.relation == "full" and config.compared:
        own = student_widths(student, config.taps, shop.images)
        widths = (own, teacher_widths(shop.teacher, config.needs, shop.images), shop.train.seed)
    objective = CscAce(config, shop.supervised, *widths)
    companion = GradientRatio(objective, shop.teacher)
    yield Phase("train", student, objective, shop.teacher, shop.train, companion=companion)


METHOD = MethodSpec(
    kind="csc_ace",
    title="Channel-and-spatial correlation with adaptive cross-entropy (CSC, ACE)",
    idea="Matches how channels and positions of feature maps go together; believes the teacher where it is right and "
    "the label where it is wrong.",
    formula="L = Σ_i ω_i/Σω · −Σ_k [a_i p_t,i + (1 − a_i) q_i]_k log p_s,ik + β mean_l (‖G_c^s − G_c^t‖²/C² + "
    "‖G_s^s − G_s^t‖²/N² + κ ‖J^s − J^t‖²)",
    grades="B D",
    reference="Park & Heo, Sensors 2020, 20(16):4616, DOI 10.3390/s20164616 (abstract)",
    config=CscAceConfig,
    plan=_plan,
    needs=CscAceConfig().needs,
    asks=lambda config: config.needs,
    teachers=(1, 1),
    cacheable=False,
    seams="frozen teacher with feature maps; adapters",
    cost="A teacher that answers online with feature maps; 1×1 adapters and N×N matrices per step.",
)
