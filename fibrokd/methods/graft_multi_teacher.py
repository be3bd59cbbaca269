"""Dual-stage progressive grafting with the integrated soft targets of several teachers, made for few images.

Each of the student's four blocks first replaces the host's block alone (phases ``block_1`` … ``block_4``), then the
trained blocks are joined and replace ever more of the host (``net_2`` … ``net_4``), until the host is gone. Only what
is grafted trains. That is the parent method, whose released code was read, with differences that matter:

* There the student's first layers are the teacher's, copied and never trained, and blocks behind them are grafted; ours
  are four, from the pixels on, because student and teacher are of different families.
* Its learning rates (2.5e-4 for blocks, 2.5e-3 for adapters, 1e-4 for nets with Adam, for CIFAR-10; blocks and adapters
  times shots / 10, with a batch that shrinks with them) are too low for blocks that start from nothing: at these rates
  and 10 epochs the joined student stayed near chance (docs/experiments.md). Ours are the student's own.
* The phases share the student's epochs, the whole student getting what blocks and nets leave; the parent has 60 to 100
  for each.
* Its adapters have biases, ours none where two blocks of the student meet, so that they can be folded away exactly and
  the deployed network has the stock architecture (:mod:`fibrokd.training.grafting`).
* It reports the best epoch on test images, which we never look at.

The integration of several teachers is our reading of the second paper, of which only the abstract could be read
("multi-teacher soft targets instead of hard targets", "improve the guiding role of excellent models"):
``ω_mi ∝ exp(κ v_m) (a_mi + δ)`` and ``p̃_i = Σ_m ω_mi σ(z_mi / T)``, with the quality v_m of a teacher and its
agreement a_mi with the labels of the image (soft under MixUp); where every teacher is wrong, half of the target is the
smoothed label. With ``labels: false`` labels of the student's images enter through v_m alone. The host is the best
teacher. With ``graft_loss: norm_mse``, the parent method's loss, the other teachers play no part.

v_m is the balanced accuracy on training images that no teacher was trained on. They exist where teachers were trained
with ``selection.fraction`` below the student's: shares are drawn by whole groups and are parts of larger ones, so this
is an inner grouped split of the training fold. Where there are too few, nothing honest can be measured: all v_m are
equal and the first teacher is the host. Measuring on images that teachers know would only tell which one memorises.

With few shots (``selection.shots``) images are not mixed: ``views.mixup_alpha`` has to be 0.

References:
    "Classification of Histopathologic Images of Breast Cancer by Multi-teacher Small-sample Knowledge Distillation",
    ICAICE 2021 (abstract).
    Shen et al., "Progressive Network Grafting for Few-Shot Knowledge Distillation", AAAI 2021, arXiv:2012.04915, and
    its released code.

Shape letters: B batch, K stages, M teachers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from fibrokd.errors import ConfigError, TrainingError
from fibrokd.progress import say
from fibrokd.training.dataset import Batch
from fibrokd.training.grafting import BLOCKS, Grafted, check_foldable
from fibrokd.training.method import LOGITS_ONLY, MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import split_epochs
from fibrokd.training.networks import Outputs, StagingNetwork, parameter_count
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, soft_kl
from fibrokd.training.parameters import Partition
from fibrokd.training.quality import teacher_qualities
from fibrokd.training.signals import EnsembleSignal, TeacherSignal
from fibrokd.training.targets import agreement
from fibrokd.training.teachers import Ensemble, LiveTeacher

RELEASED_SHOTS = 10
"""Images per class from which on the parent method's learning rates are used in full."""

Positive = Annotated[float, Field(gt=0)]


class GraftConfig(MethodConfig):
    """Knobs of grafting and of integrated targets."""

    kind: Literal["graft_multi_teacher"] = "graft_multi_teacher"
    """Name of the method."""

    graft_loss: Literal["soft_kl", "norm_mse"] = "soft_kl"
    """``soft_kl``: T² KL to the integrated targets. ``norm_mse``: squared distance to the host's logits, both of
    length 1 (the parent method; no labels)."""

    kd_temperature: Positive = 3.0
    """T of ``soft_kl``."""

    quality: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    """v, one per teacher, where it is known from elsewhere; ``null``: measured on training images that no teacher
    knows, or equal."""

    sharpness: Annotated[float, Field(ge=0)] = 20.0
    """κ, how strongly better teachers are preferred."""

    doubt: Positive = 1e-3
    """δ, what a teacher that is wrong still counts."""

    labels: bool = True
    """Let the labels of the images weigh the teachers image by image, and mend targets where all are wrong."""

    block_share: Positive = 1 / 12
    """Epochs of every block phase, as a share of the student's; at least one."""

    net_share: Positive = 1 / 6
    """The same of the phases that join two and three blocks; what is left trains the whole student."""

    block_rate: Positive = 1.0
    """Learning rate of blocks, as a share of the student's."""

    net_rate: Positive = 1.0
    """Learning rate of net phases, as a share of the student's."""

    adapter_factor: Positive = 1.0
    """Learning rate of adapters in block phases, as a multiple of the block's."""

    rate_by_shots: bool = False
    """Lower the learning rate of block phases in proportion where there are fewer than 10 images per stage."""

    @model_validator(mode="after")
    def _something_is_left_for_the_whole_student(self) -> GraftConfig:
        if self.shares[-1] <= 0:
            raise ValueError(
                "expected 4 · block_share + 2 · net_share below 1, since the rest trains the whole student, found "
                f"{1 - self.shares[-1]:g}; lower one of them"
            )
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the student's epochs of every phase, in their order."""
        joined = BLOCKS * (self.block_share,) + (BLOCKS - 2) * (self.net_share,)
        return (*joined, 1 - sum(joined))


def integrate(
    answers: Sequence[Float[Tensor, "B K"]],
    quality: Sequence[float],
    config: GraftConfig,
    batch: Batch,
    truth: Float[Tensor, "B K"],
) -> Float[Tensor, "B K"]:
    """Return p̃, the teachers' weighted mean.

    Args:
        answers: Probabilities of every teacher at one temperature.
        quality: v of every teacher.
        config: κ, δ and whether labels play a part.
        batch: Stages, partner stages and λ.
        truth: Smoothed, mixed labels.
    """
    probabilities = torch.stack(list(answers))
    scores = config.sharpness * torch.tensor(quality, device=truth.device)[:, None].expand(-1, len(truth))
    if not config.labels:
        return (scores.softmax(0)[:, :, None] * probabilities).sum(0)
    right = torch.stack([agreement(answer, batch) for answer in answers])
    weights = (scores + (right + config.doubt).log()).softmax(0)
    mean = (weights[:, :, None] * probabilities).sum(0)
    nobody = (right.sum(0) == 0)[:, None]
    return torch.where(nobody, 0.5 * mean + 0.5 * truth, mean)


class GraftLoss(Objective):
    """T² mean_i KL(p̃_i ‖ p_i^T), or mean_i ‖z_i/‖z_i‖ − z_host,i/‖z_host,i‖‖².

    Args:
        config: Which, and its coefficients.
        quality: v of every teacher.
        host: Which teacher is the host.
        supervised: The shared supervised term, for its targets.
    """

    needs = LOGITS_ONLY

    def __init__(self, config: GraftConfig, quality: Sequence[float], host: int, supervised: SupervisedTerm) -> None:
        super().__init__()
        self.config, self.quality, self.host, self.supervised = config, tuple(quality), host, supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the term; the moment plays no part.

        Raises:
            TrainingError: There are no teachers.
        """
        del moment
        if not isinstance(signal, EnsembleSignal):
            raise TrainingError("Expected the answers of several teachers, found none.", "Give `teacher`.")
        c = self.config
        if c.graft_loss == "norm_mse":
            ours, theirs = outputs.logits.float(), signal.members[self.host].logits.float()
            values = (F.normalize(ours, dim=1) - F.normalize(theirs, dim=1)).square().sum(1)
            return {"graft": Term.mean(values)}
        answers = [member.probabilities(c.kd_temperature) for member in signal.members]
        truth = self.supervised.targets(batch, outputs.logits.shape[1])
        target = integrate(answers, self.quality, c, batch, truth)
        return {"graft": Term.mean(soft_kl(outputs.logits, target, c.kd_temperature), c.kd_temperature**2)}


def _live(shop: Workshop) -> list[LiveTeacher]:
    live = [teacher for teacher in shop.teachers if isinstance(teacher, LiveTeacher)]
    if len(live) < len(shop.teachers):
        raise ConfigError("Expected teachers that answer online, found a book.", "Give folders as `teacher`.")
    return live


def _qualities(config: GraftConfig, teachers: Sequence[LiveTeacher], shop: Workshop) -> tuple[float, ...]:
    if config.quality is None:
        found = teacher_qualities(teachers, shop.images, shop.stages)
        say(
            f"  qualities of teachers: {found or 'equal; they were trained on all of these images, or on unknown ones'}"
        )
        return found or (1.0,) * len(teachers)
    if len(config.quality) != len(teachers):
        raise ConfigError(
            f"Expected one quality for each of {len(teachers)} teachers, found {len(config.quality)}.",
            "Correct `method.quality`, or leave it out.",
        )
    return config.quality


def _host(teachers: Sequence[LiveTeacher], quality: Sequence[float]) -> tuple[int, StagingNetwork]:
    """Return which teacher is best of those that can be cut, and its network."""
    networks = [(k, teacher.network) for k, teacher in enumerate(teachers)]
    able = [(k, network) for k, network in networks if isinstance(network, StagingNetwork)]
    if not able:
        raise ConfigError(
            "Expected a teacher that is a plain backbone, found none: there is no host to graft on.",
            "Give a teacher that `fibrokd teach` made.",
        )
    return max(able, key=lambda one: quality[one[0]])


def _plan(config: GraftConfig, shop: Workshop) -> Iterator[Phase]:
    teachers = _live(shop)
    quality = _qualities(config, teachers, shop)
    best, host = _host(teachers, quality)
    if config.graft_loss == "norm_mse":  # the others would answer for nothing
        teachers, quality, best = [teachers[best]], (quality[best],), 0
    grafted = Grafted(host, shop.student(), shop.train.seed)
    check_foldable(grafted)
    objective, ensemble = GraftLoss(config, quality, best, shop.supervised), Ensemble(teachers)
    few = min(1.0, len(shop.images.stages) / shop.stages / RELEASED_SHOTS) if config.rate_by_shots else 1.0
    epochs = iter(split_epochs(shop.train.epochs, config.shares))
    block, net = (shop.train.learning_rate * rate for rate in (config.block_rate * few, config.net_rate))
    for j in range(1, BLOCKS + 1):
        grafted.graft(j, j)
        partition = Partition(grafted.trained(), {r"^(adapters|exits)\.": config.adapter_factor})
        train = shop.budget(epochs=next(epochs), learning_rate=block)
        yield Phase(f"block_{j}", grafted, objective, ensemble, train, partition)
    for j in range(2, BLOCKS + 1):
        grafted.graft(1, j)
        train = shop.budget(epochs=next(epochs), learning_rate=net)
        yield Phase(f"net_{j}", grafted, objective, ensemble, train, Partition(grafted.trained()))


def _check(config: GraftConfig, student: Any) -> None:
    split_epochs(student.train.epochs, config.shares)
    if student.selection.shots is not None and student.views.mixup_alpha > 0:
        raise ConfigError(
            f"Expected no MixUp where method '{config.kind}' has {student.selection.shots} image(s) per stage: "
            f"mixtures of so few teach little; found `views.mixup_alpha: {student.views.mixup_alpha}`.",
            "Set `views.mixup_alpha: 0`.",
        )


def _export(network: Any, config: GraftConfig) -> nn.Module:
    del config
    student: StagingNetwork = network.folded()
    return student


def _facts(network: Any, config: GraftConfig) -> Mapping[str, Any]:
    del config
    return {
        "host": network.host.backbone_name,
        "trained_parameters": parameter_count(network),
        "adapter_parameters": parameter_count(network.adapters) + parameter_count(network.exits),
    }


METHOD = MethodSpec(
    kind="graft_multi_teacher",
    title="Dual-stage grafting with several teachers' soft targets",
    idea="The student's blocks replace the teacher's one by one, then together; several teachers set the targets.",
    formula="L = T² mean_i KL(p̃_i ‖ p_s^T), p̃_i = Σ_m ω_mi σ(z_mi / T), ω_mi ∝ exp(κ v_m) (a_mi + δ); "
    "or L = mean_i ‖z_s/‖z_s‖ − z_t/‖z_t‖‖²",
    grades="A D",
    reference="Shen et al., AAAI 2021, arXiv:2012.04915, and its code; several teachers: ICAICE 2021 (abstract)",
    config=GraftConfig,
    plan=_plan,
    needs=LOGITS_ONLY,
    teachers=(1, 8),
    seams="several frozen teachers, phases that train parts, adapters folded away",
    cost="Every teacher answers every view, and parts of the host run in every step but those of the last phase.",
    export=_export,
    facts=_facts,
    check=_check,
)
