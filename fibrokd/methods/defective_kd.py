"""Our reading of defective distillation (De-KD): a teacher whose training was broken off far too early.

An exploratory experiment of the teacher-free paper, whose teachers were right on 15 to 52 % of CIFAR-100. Phase
``undertrained`` trains a network of its own until its validation balanced accuracy enters a band (0.30 to 0.50, where
chance is 0.20) and stops there; phase ``distil`` learns from it. A teacher that never reaches the band, or jumps over
it between two epochs, is refused: then nothing would be shown.

The band is the paper's idea carried over to five stages. It is read on validation data, which thereby choose a
teacher; final figures belong to a test split. A backbone that is not the student's own starts untrained, even where
the student is pretrained. The defaults of α and T are those of method ``kd``; the paper's are converted by
``scale: released``, see :mod:`fibrokd.training.soft_labels`.

References:
    Yuan et al., "Revisiting Knowledge Distillation via Label Smoothing Regularization", CVPR 2020, arXiv:1909.11723,
    and its released code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fibrokd.errors import TrainingError
from fibrokd.training.label_term import LabelTerm
from fibrokd.training.method import MethodSpec, Phase, Workshop
from fibrokd.training.networks import BackboneName
from fibrokd.training.settings import TrainConfig
from fibrokd.training.soft_labels import SoftLabelConfig, SoftLabels


class DefectiveKdConfig(SoftLabelConfig):
    """Knobs of defective distillation."""

    kind: Literal["defective_kd"] = "defective_kd"
    """Name of the method."""

    teacher_backbone: BackboneName = "resnet50"
    """Key of BACKBONES of the undertrained teacher."""

    lowest: Annotated[float, Field(ge=0, lt=1)] = 0.30
    """Validation balanced accuracy at which the teacher's training stops."""

    highest: Annotated[float, Field(gt=0, le=1)] = 0.50
    """Validation balanced accuracy above which the teacher is no longer undertrained."""

    teacher_epochs: Annotated[int, Field(ge=1, le=65535)] = 20
    """Epochs within which the teacher must reach ``lowest``."""

    teacher_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak learning rate of the teacher; ``null``: the student's. Lower it where one epoch jumps over the band."""

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> DefectiveKdConfig:
        if self.lowest >= self.highest:
            raise ValueError("expected `lowest` below `highest`")
        return self


class Band:
    """Ends the teacher's training as soon as it is good enough, and knows whether it is bad enough.

    The loop asks after every epoch, and again where a finished phase is resumed.

    Args:
        lowest: Balanced accuracy at which the training stops.
        highest: Balanced accuracy that it must not exceed.
    """

    def __init__(self, lowest: float, highest: float) -> None:
        self.lowest, self.highest = lowest, highest
        self.found: float | None = None

    def __call__(self, entry: Mapping[str, Any]) -> bool:
        """Return whether the epoch of this line of metrics.jsonl was enough."""
        self.found = float(entry["val_balanced_accuracy"])
        return self.found >= self.lowest

    def require(self) -> None:
        """Refuse a teacher outside the band.

        Raises:
            TrainingError: It was not reached, or jumped over.
        """
        if self.found is not None and self.lowest <= self.found <= self.highest:
            return
        jumped = self.found is not None and self.found > self.highest
        found = "no epoch" if self.found is None else f"{self.found:.3f}"
        raise TrainingError(
            f"Expected an undertrained teacher with a validation balanced accuracy of {self.lowest:.2f} to "
            f"{self.highest:.2f}, found {found}: the band was {'jumped over' if jumped else 'not reached'}.",
            "Lower `teacher_learning_rate`, or widen the band."
            if jumped
            else "Raise `teacher_epochs` or `teacher_learning_rate`, or lower `lowest`.",
        )


def teacher_budget(config: DefectiveKdConfig, shop: Workshop) -> TrainConfig:
    """Return the teacher's budget: the weights of the epoch that stopped it are kept, whatever came before."""
    rate = config.teacher_learning_rate or shop.train.learning_rate
    return shop.budget(epochs=config.teacher_epochs, learning_rate=rate, keep="last", early_stopping=None)


def _plan(config: DefectiveKdConfig, shop: Workshop) -> Iterator[Phase]:
    teacher = shop.new_network(config.teacher_backbone, shop.train.seed + 1)
    band = Band(config.lowest, config.highest)
    labels = LabelTerm(shop.supervised)
    yield Phase("undertrained", teacher, labels, None, teacher_budget(config, shop), stop=band)
    band.require()
    teacher.zero_grad()  # its training is over: the memory is not needed
    yield Phase("distil", shop.student(), SoftLabels(config, shop.supervised), shop.frozen(teacher), shop.train)


METHOD = MethodSpec(
    kind="defective_kd",
    title="Defective distillation (De-KD)",
    idea="A teacher that was stopped at 30 to 50 % balanced accuracy teaches the student.",
    formula="L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T), with an undertrained teacher",
    grades="A D",
    reference="Yuan et al., CVPR 2020, arXiv:1909.11723, and its released code",
    config=DefectiveKdConfig,
    plan=_plan,
    seams="two phases, the first with a stop; frozen undertrained teacher",
    cost="A few epochs of the teacher, and one of its forward passes per step of the student.",
)
