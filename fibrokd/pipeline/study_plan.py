"""What a study compares: arms × backbones × seeds × training fractions, and the cells that come of it. Data only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fibrokd.config import Config, parse_config
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.files import digest_json
from fibrokd.methods import METHODS
from fibrokd.pipeline.distill import StudentPlan
from fibrokd.pipeline.teach import TeacherPlan
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import BookConfig
from fibrokd.training.networks import BackboneName
from fibrokd.training.teacher_noise import TeacherNoise

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
"""Names of arms and teachers: they become names of folders."""

REFERENCES = ("none", "kd")
"""Arms that every other arm is compared with, where they are part of the study."""


class Arm(Config):
    """One way of training, as it is compared with others."""

    student: dict[str, Any]
    """Changes of the study's ``student``: at least ``method: {kind: …}``; any key of a student plan."""

    teachers: tuple[Name, ...] | None = None
    """Names of teachers of the study; by default the first one, where the method takes a teacher."""

    online: bool = False
    """Teachers answer online although a book would do."""

    views: dict[str, Any] = Field(default_factory=dict)
    """Changes of the study's views."""

    teacher_noise: TeacherNoise = TeacherNoise()
    """Share of the training images about which its teachers are made to answer wrongly."""

    backbones: tuple[BackboneName, ...] | None = None
    """Backbones of this arm, where they are not the study's."""

    note: str = ""
    """What is special about the arm, for the table."""


class StudyConfig(Config):
    """Configuration of the ``study`` command."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    views: ViewSpec = ViewSpec()
    """Augmentation and MixUp of students and books; teachers see the same policy under the next seed."""
    teachers: Annotated[dict[Name, TeacherPlan], Field(min_length=1)]
    """Networks that teach, by name; trained once per training fraction."""
    book: BookConfig = BookConfig()
    """Form of the books; one is written per teacher, views and selection."""
    student: StudentPlan = StudentPlan()
    """What arms have in common: budget, supervised term, weights to start from."""
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    """Name → what is compared, in the order of the tables; ``none`` and ``kd`` are what others are compared with."""
    backbones: Annotated[tuple[BackboneName, ...], Field(min_length=1)] = ("mobilenetv3_small",)
    """Students."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of the students; all cells of one seed are trained before those of the next."""
    fractions: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0,)
    """Shares of the training patients; teachers learn from the same share."""
    minimum_balanced_accuracy: float | None = None
    """Refuse a teacher whose validation balanced accuracy is below; by default 1.25 times chance."""
    bootstrap: BootstrapConfig = BootstrapConfig()
    """How intervals are made."""
    shared: Path | None = None
    """Folder for teachers and books, which several studies can share; by default that of the study. No part of any
    identity."""
    keep_weights: bool = False
    """Keep the run folders of finished cells; otherwise their predictions and figures are all that stays."""
    minutes: Annotated[float, Field(gt=0)] | None = None
    """Begin no further cell after so many minutes; what is done stays done. No part of any identity."""
    resume_from: Path | None = None
    """Folder with finished cells of this study (``results/`` of an earlier OUT, or committed files): they are taken
    over and not trained again. No part of any identity."""

    @model_validator(mode="after")
    def _arms_can_be_built(self) -> StudyConfig:
        """Say now what is wrong with an arm, not after hours."""
        for name, arm in self.arms.items():
            plan = self.plan(name)
            least, most = METHODS[plan.method.kind].teachers
            given = self.teachers_of(name)
            unknown = sorted(set(given) - set(self.teachers))
            if unknown:
                raise ValueError(f"arm {name}: unknown teacher {unknown[0]}; there are {list(self.teachers)}")
            if not least <= len(given) <= most:
                raise ValueError(
                    f"arm {name}: method {plan.method.kind!r} takes {least} to {most} teachers, found {len(given)}"
                )
            self.views_of(name)
            if arm.student.get("selection", {}).get("fraction", 1.0) != 1.0:
                raise ValueError(f"arm {name}: training fractions belong into `fractions` of the study")
        return self

    def plan(self, arm: str) -> StudentPlan:
        """Return the complete student plan of an arm."""
        common = self.student.model_dump(mode="json", exclude={"method"})
        return parse_config(_merged(common, self.arms[arm].student), StudentPlan, source=f"arm {arm}")

    def views_of(self, arm: str) -> ViewSpec:
        """Return the views of an arm."""
        return parse_config(_merged(self.views.as_json(), self.arms[arm].views), ViewSpec, source=f"views of {arm}")

    def teachers_of(self, arm: str) -> tuple[str, ...]:
        """Return the names of an arm's teachers."""
        given = self.arms[arm].teachers
        if given is not None:
            return given
        return (next(iter(self.teachers)),) if METHODS[self.plan(arm).method.kind].needs_teacher else ()


@dataclass(frozen=True)
class Cell:
    """One network of a study.

    Args:
        arm: Name of the arm.
        backbone: Student.
        fraction: Share of the training patients.
        seed: Seed of the student.
        plan: Complete student plan.
        views: Its views.
        teachers: Names of its teachers.
        online: They answer online.
        teacher_noise: How often they are made to be wrong.
    """

    arm: str
    backbone: str
    fraction: float
    seed: int
    plan: StudentPlan
    views: ViewSpec
    teachers: tuple[str, ...]
    online: bool
    teacher_noise: TeacherNoise

    @property
    def name(self) -> str:
        """Name of its folder and files."""
        return f"{self.arm}-{self.backbone}-f{self.fraction:g}-s{self.seed}"

    def identity(self, config: StudyConfig, prepared: str) -> str:
        """Digest of everything that decides its result, as far as configuration and data do.

        Args:
            config: The study.
            prepared: Digest of the prepared folder.
        """
        # What was added later is part of it only where it is used, so that earlier results stay valid.
        noise = {"teacher_noise": self.teacher_noise.as_json()} if self.teacher_noise.share else {}
        return digest_json(
            {
                **noise,
                "plan": self.plan.as_json(),
                "views": self.views.as_json(),
                "teachers": {name: config.teachers[name].as_json() for name in self.teachers},
                "teacher_views": config.views.as_json(),
                "book": None if self.online else config.book.as_json(),
                "prepared": prepared,
            }
        )


def cells(config: StudyConfig) -> Iterator[Cell]:
    """Yield the cells in the order in which they are trained: whole comparisons first, seed by seed."""
    for seed in config.seeds:
        for fraction in config.fractions:
            for arm, settings in config.arms.items():
                for backbone in settings.backbones or config.backbones:
                    yield _cell(config, arm, backbone, fraction, seed)


def _cell(config: StudyConfig, arm: str, backbone: str, fraction: float, seed: int) -> Cell:
    plan = config.plan(arm)
    plan = plan.model_copy(
        update={
            "backbone": backbone,
            "train": plan.train.model_copy(update={"seed": seed}),
            "selection": plan.selection.model_copy(update={"fraction": fraction}),
        }
    )
    spec = METHODS[plan.method.kind]
    settings = config.arms[arm]
    return Cell(
        arm,
        backbone,
        fraction,
        seed,
        plan,
        config.views_of(arm),
        config.teachers_of(arm),
        online=settings.online or not spec.cacheable,
        teacher_noise=settings.teacher_noise,
    )


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``changes``, mappings merged; a mapping with a ``kind`` of its own replaces another kind."""
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and value.get("kind") in (None, old.get("kind")):
            merged[key] = _merged(old, value)
        else:
            merged[key] = value
    return merged
