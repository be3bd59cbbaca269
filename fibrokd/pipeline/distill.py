"""Step ``distill``: trains a student with any method of the catalogue, from a book, a live teacher, or neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fibrokd.artifacts import Record, begin, require
from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError
from fibrokd.files import digest_file
from fibrokd.methods import METHODS, MethodConfig, build_objective
from fibrokd.methods.kd import KdConfig
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.networks import BackboneName, build
from fibrokd.training.objective import SupervisedConfig
from fibrokd.training.produce import OUTPUTS, Lesson, produce_network, refuse_unfit, supervised_term
from fibrokd.training.runtime import accelerator
from fibrokd.training.settings import TrainConfig
from fibrokd.training.teachers import LiveTeacher, TeacherSource, check_competence


class StudentPlan(Config):
    """A student and how it is trained."""

    backbone: BackboneName = "mobilenetv3_small"
    """Key of the BACKBONES table."""
    pretrained: bool = True
    """Start from ImageNet weights."""
    weights: Path | None = None
    """Local safetensors file with ImageNet weights of the same timm architecture."""
    method: MethodConfig = KdConfig()
    """Distillation method with its coefficients; see ``fibrokd methods``."""
    supervised: SupervisedConfig = SupervisedConfig()
    """Label smoothing and class weights."""
    train: TrainConfig = TrainConfig()
    """Budget and optimiser."""
    wrap_book: bool = False
    """Read a trajectory book again from its start when the student trains longer than it is."""


class DistillConfig(StudentPlan):
    """Configuration of the step: the student, its data, and where its teacher's knowledge is."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    views: ViewSpec = ViewSpec()
    """Augmentation and MixUp; must be the book's, where there is one."""
    book: Path | None = None
    """Folder that ``fibrokd write-book`` wrote."""
    teacher: Path | None = None
    """Folder that ``fibrokd teach`` wrote: the teacher then answers online."""
    minimum_balanced_accuracy: float | None = None
    """Refuse a live teacher whose validation balanced accuracy is below; by default 1.25 times chance."""


def run(config: DistillConfig, out: Path) -> Record:
    """Train the student into ``out``; resumes an interrupted run.

    Raises:
        FibroKDError: The source of knowledge is missing, unneeded, or belongs to other data.
    """
    prepared = Prepared.open(config.prepared)
    refuse_unfit(prepared)
    objective = build_objective(config.method, supervised_term(prepared, config.supervised))
    _check_source(config, METHODS[config.method.kind].needs_teacher)
    inputs = {"prepared": prepared.record.digest}
    if config.book is not None:
        inputs["book"] = require(config.book, "write-book").digest
    if config.teacher is not None:
        inputs["teacher"] = require(config.teacher, "teach").digest
    if config.weights is not None:
        inputs["weights"] = digest_file(config.weights)
    settings = config.model_dump(mode="json", exclude={"prepared", "book", "teacher", "weights"})
    with accelerator().main_process_first():
        step = begin(out, "distill", settings, inputs, exclusive=accelerator().is_main_process)
    if step.finished:
        return step.record
    images = TrainingImages.of(prepared, config.views)
    source, images = _source(config, prepared, images)
    facts: dict[str, Any] = {
        "method": config.method.as_json(),
        "pretrained": config.pretrained,
        **inputs,
    }
    lesson = Lesson(
        role="student",
        network=build(config.backbone, len(prepared.scale), config.pretrained, config.weights, config.train.seed),
        objective=objective,
        teacher=source,
        images=images,
        facts=facts,
    )
    produce_network(out, prepared, lesson, config.train)
    return step.finish(OUTPUTS, device=str(accelerator().device))


def _check_source(config: DistillConfig, needed: bool) -> None:
    given = [name for name in ("book", "teacher") if getattr(config, name) is not None]
    if needed and len(given) != 1:
        raise ConfigError(
            f"Method '{config.method.kind}' needs exactly one of `book` and `teacher`, found {given or 'neither'}.",
            "Give the folder of a book, or of a teacher that answers online.",
        )
    if not needed and given:
        raise ConfigError(
            f"Method '{config.method.kind}' uses no teacher, found `{given[0]}`.", "Leave it out, or choose a method."
        )


def _source(
    config: DistillConfig, prepared: Prepared, images: TrainingImages
) -> tuple[TeacherSource | None, TrainingImages]:
    if config.book is not None:
        book = Book.open(config.book, prepared, config.views, config.train.epochs, wrap=config.wrap_book)
        return book, book.training_images(images)
    if config.teacher is not None:
        teacher = LiveTeacher.open(config.teacher, prepared, accelerator().device)
        check_competence(teacher, prepared, config.minimum_balanced_accuracy)
        return teacher, images
    return None, images
