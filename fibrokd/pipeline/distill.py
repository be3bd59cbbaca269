"""Step ``distill``: trains a student with any method of the catalogue, from a book, a live teacher, or neither."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.config import Config
from fibrokd.data.label_noise import LabelNoise, mislabelled
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select, stage_indices
from fibrokd.errors import ConfigError
from fibrokd.files import digest_file
from fibrokd.methods import METHODS, AnyMethod, open_network
from fibrokd.methods.kd import KdConfig
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.ledger import measured
from fibrokd.training.method import MethodSpec, Workshop
from fibrokd.training.networks import BackboneName, StagingNetwork, build
from fibrokd.training.objective import SupervisedConfig
from fibrokd.training.produce import OUTPUTS, Lesson, produce_network, refuse_unfit, supervised_term
from fibrokd.training.runtime import accelerator
from fibrokd.training.settings import TrainConfig
from fibrokd.training.teacher_noise import Corruption, TeacherNoise
from fibrokd.training.teachers import LiveTeacher, TeacherSource, check_competence


class StudentPlan(Config):
    """A student and how it is trained."""

    backbone: BackboneName = "mobilenetv3_small"
    """Key of the BACKBONES table."""
    pretrained: bool = True
    """Start from ImageNet weights."""
    weights: Path | None = None
    """Local safetensors file with ImageNet weights of the same timm architecture."""
    method: AnyMethod = KdConfig()
    """Distillation method with its coefficients; see ``fibrokd methods``."""
    selection: Selection = Selection()
    """Which stages, and which share of the training patients; by default everything."""
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
    book: Path | tuple[Path, ...] | None = None
    """Folder that ``fibrokd write-book`` wrote; several for methods with several teachers."""
    teacher: Path | tuple[Path, ...] | None = None
    """Folder of a finished network, a teacher or a student: it then answers online; several as above."""
    taught_by: tuple[str, ...] | None = None
    """Digests of the teachers (``digest`` in their ``record.json``) whose answers these must be, in order; books and
    live teachers of others are refused. ``null``: any teacher of these data. No part of the result."""
    minimum_balanced_accuracy: float | None = None
    """Refuse a live teacher whose validation balanced accuracy is below; by default 1.25 times chance."""
    teacher_noise: TeacherNoise = TeacherNoise()
    """Make the teacher wrong about a share of the training images: for experiments on methods that distrust it."""
    label_noise: LabelNoise = LabelNoise()
    """Make the labels of a share of the training groups wrong: for experiments on methods that withstand it."""


def run(config: DistillConfig, out: Path) -> Record:
    """Train the student into ``out``; resumes an interrupted run.

    Raises:
        FibroKDError: The source of knowledge is missing, unneeded, or belongs to other data.
    """
    prepared = Prepared.open(config.prepared)
    refuse_unfit(prepared)
    spec = METHODS[config.method.kind]
    _check_plan(spec, config)
    books, teachers = _folders(config.book), _folders(config.teacher)
    _check_source(spec, config, books, teachers)
    inputs = {"prepared": prepared.record.digest}
    written = [require(folder, "write-book") for folder in books]
    live = [require(folder, read_record(folder).step) for folder in teachers]
    _check_teachers(config, [record.inputs["teacher"] for record in written] + [record.digest for record in live])
    inputs |= _named("book", [record.digest for record in written])
    inputs |= _named("teacher", [record.digest for record in live])
    if config.weights is not None:
        inputs["weights"] = digest_file(config.weights)
    left_out = {"prepared", "book", "teacher", "weights", "taught_by", "label_noise"}
    settings = config.model_dump(mode="json", exclude=left_out) | config.label_noise.used
    with accelerator().main_process_first():
        step = begin(out, "distill", settings, inputs, exclusive=accelerator().is_main_process)
    if step.finished:
        return step.record
    part = mislabelled(select(prepared, config.selection), config.label_noise)
    images = TrainingImages.of(part, config.views)
    noise = config.teacher_noise
    corruption = Corruption.of(noise, images.image_ids, config.views.variants) if noise.share else None
    sources: list[TeacherSource] = []
    for folder in books:
        book = Book.open(folder, images, prepared, config.train.epochs, wrap=config.wrap_book)
        images = book.training_images(images)
        sources.append(replace(book, corruption=corruption))
    for folder in teachers:
        teacher = LiveTeacher.open(folder, prepared, accelerator().device, open_network)
        check_competence(teacher, prepared, config.minimum_balanced_accuracy)
        teacher.corruption = corruption
        sources.append(teacher)
    shop = Workshop(
        stages=len(part.scale),
        label_space=stage_indices(prepared.scale, part.scale),
        backbone=config.backbone,
        supervised=supervised_term(part, config.supervised),
        images=images,
        train=config.train,
        new_network=partial(_new_network, config, len(part.scale)),
        teachers=tuple(sources),
        device=accelerator().device,
    )
    lesson = Lesson(
        role="student",
        backbone=config.backbone,
        phases=spec.plan(config.method, shop),
        images=images,
        facts={
            "method": config.method.as_json(),
            "selection": config.selection.as_json(),
            "pretrained": config.pretrained,
            **config.label_noise.used,
            **inputs,
        },
        export=lambda network: spec.export(network, config.method),
        describe=lambda network: spec.facts(network, config.method),
    )
    with measured(out, accelerator().device, sources):
        produce_network(out, part, lesson, config.train.seed)
    return step.finish(OUTPUTS, device=str(accelerator().device))


def _new_network(config: StudentPlan, stages: int, backbone: str, seed: int) -> StagingNetwork:
    """Make a network; only the student's own backbone has weights to start from."""
    own = backbone == config.backbone
    return build(backbone, stages, config.pretrained and own, config.weights if own else None, seed)


def _folders(given: Path | tuple[Path, ...] | None) -> tuple[Path, ...]:
    return () if given is None else (given,) if isinstance(given, Path) else given


def _named(name: str, digests: list[str]) -> dict[str, str]:
    """Key digests of inputs: by the bare name where there is one."""
    return {name: digests[0]} if len(digests) == 1 else {f"{name}_{k}": digest for k, digest in enumerate(digests)}


def refuse_conflicts(plan: StudentPlan, views: ViewSpec, name: str) -> None:
    """Refuse what a method cannot be combined with as soon as the plan is read, not when its teacher is trained.

    Args:
        plan: A student.
        views: What it will be shown.
        name: What the configuration calls it.

    Raises:
        ValueError: The reason, and what to do.
    """
    settings = {field: getattr(plan, field) for field in type(plan).model_fields}
    try:
        _check_plan(METHODS[plan.method.kind], DistillConfig(**settings, prepared=Path(), views=views))
    except ConfigError as error:
        raise ValueError(f"{name}: {error.problem} {error.todo}") from error


def _check_plan(spec: MethodSpec, config: DistillConfig) -> None:
    """Check all that can be told without data."""
    spec.check(config.method, config)
    if config.selection.stages is not None and spec.needs_teacher and not spec.subsets:
        raise ConfigError(
            f"Method '{spec.kind}' compares stage by stage, found a student of some stages and a teacher of all.",
            "Leave `selection.stages` out, or choose method 'class_specialised' or 'none'.",
        )


def _check_teachers(config: DistillConfig, found: list[str]) -> None:
    """Compare the teachers behind books and live answers with those that are asked for."""
    if config.taught_by is not None and list(config.taught_by) != found:
        raise ConfigError(
            f"Expected answers of {', '.join(config.taught_by) or 'no teacher'} (`taught_by`), found those of "
            f"{', '.join(found) or 'none'}.",
            "Give the book or the folder of that teacher, or leave taught_by out.",
        )


def _check_source(spec: MethodSpec, config: DistillConfig, books: tuple[Path, ...], teachers: tuple[Path, ...]) -> None:
    least, most = spec.teachers
    found = len(books) + len(teachers)
    if not least <= found <= most or (books and teachers):
        if not most:
            raise ConfigError(
                f"Method '{spec.kind}' takes neither `book` nor `teacher`, found {len(books)} book(s) and "
                f"{len(teachers)} teacher(s): it learns without a teacher that is given.",
                "Leave both out, or choose another method.",
            )
        wanted = f"{least} to {most}" if least != most else ("exactly one" if most == 1 else most)
        raise ConfigError(
            f"Method '{spec.kind}' needs {wanted} of `book` and `teacher`, found {len(books)} book(s) and "
            f"{len(teachers)} teacher(s).",
            "Give folders of books, or of networks that answer online, or choose another method.",
        )
    if books and not spec.takes_book(config.method):
        raise ConfigError(
            f"Method '{spec.kind}' needs a teacher that answers online, found a book: what it asks for is not, or "
            "cannot be, written down.",
            "Give the teacher's folder as `teacher`.",
        )
    if config.teacher_noise.share and not found:
        raise ConfigError(
            f"Expected a teacher for `teacher_noise` to mislead, found none: method '{spec.kind}' learns without one "
            "that is given.",
            "Leave teacher_noise out, or choose a method with a teacher.",
        )
