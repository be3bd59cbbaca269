"""Step ``teach``: trains a teacher (or any network from labels alone) on a prepared folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibrokd.artifacts import Record, begin
from fibrokd.config import Config
from fibrokd.data.label_noise import LabelNoise, mislabelled
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.files import digest_file
from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.progress import say
from fibrokd.training.augment import ViewSpec
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.ledger import measured
from fibrokd.training.method import Phase
from fibrokd.training.networks import BackboneName, build
from fibrokd.training.objective import SupervisedConfig
from fibrokd.training.produce import OUTPUTS, Lesson, produce_network, refuse_unfit, supervised_term
from fibrokd.training.runtime import accelerator
from fibrokd.training.settings import TrainConfig


class TeacherPlan(Config):
    """A teacher and how it is trained."""

    backbone: BackboneName = "resnet50"
    """Key of the BACKBONES table: resnet50, resnet18, efficientnet_b0, mobilenetv3_small."""
    pretrained: bool = True
    """Start from ImageNet weights (through timm's hub, or from ``weights``)."""
    weights: Path | None = None
    """Local safetensors file with ImageNet weights of the same timm architecture."""
    supervised: SupervisedConfig = SupervisedConfig()
    """Label smoothing and class weights."""
    selection: Selection = Selection()
    """Which stages, and which share of the training patients; by default everything."""
    train: TrainConfig = TrainConfig()
    """Budget and optimiser."""


class TeachConfig(TeacherPlan):
    """Configuration of the step: the teacher, its data and its views."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    views: ViewSpec = ViewSpec()
    """Augmentation and MixUp."""
    label_noise: LabelNoise = LabelNoise()
    """Make the labels of a share of the training groups wrong: for experiments on methods that withstand it."""

    @property
    def settings(self) -> dict[str, Any]:
        """What its record holds of it: neither data nor folders."""
        data = self.model_dump(mode="json", exclude={"prepared", "weights", "label_noise"})
        return data | self.label_noise.used


def run(config: TeachConfig, out: Path) -> Record:
    """Train the teacher into ``out``; resumes an interrupted run.

    Raises:
        FibroKDError: Data is unfit, weights cannot be had, or ``out`` holds something else.
    """
    prepared = Prepared.open(config.prepared)
    refuse_unfit(prepared)
    inputs = {"prepared": prepared.record.digest}
    if config.weights is not None:
        inputs["weights"] = digest_file(config.weights)
    with accelerator().main_process_first():
        step = begin(out, "teach", config.settings, inputs, exclusive=accelerator().is_main_process)
    if step.finished:
        return step.record
    part = mislabelled(select(prepared, config.selection), config.label_noise)
    network = build(config.backbone, len(part.scale), config.pretrained, config.weights, config.train.seed)
    objective = SupervisedOnly(NoneConfig(), supervised_term(part, config.supervised))
    lesson = Lesson(
        role="teacher",
        backbone=config.backbone,
        phases=iter([Phase("train", network, objective, None, config.train)]),
        images=TrainingImages.of(part, config.views),
        facts={"method": {"kind": "none"}, "pretrained": config.pretrained, **config.label_noise.used, **inputs},
    )
    with measured(out, accelerator().device):
        produce_network(out, part, lesson, config.train.seed)
    record = step.finish(OUTPUTS, device=str(accelerator().device))
    say(f"  the teacher lies in {out}")
    return record
