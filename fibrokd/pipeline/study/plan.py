"""What a study compares: arms × backbones × seeds × training fractions; see ``grid`` for the cells. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from fibrokd.config import Config, parse_config
from fibrokd.data.label_noise import LabelNoise
from fibrokd.evaluation.study.families import Declaration
from fibrokd.evaluation.study.pooled import StudyBootstrap
from fibrokd.methods import METHODS
from fibrokd.pipeline.distill import StudentPlan, refuse_conflicts
from fibrokd.pipeline.study.arm import Arm, Name
from fibrokd.pipeline.teach import TeacherPlan
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import BookConfig
from fibrokd.training.networks import BackboneName

REFERENCES = ("none", "kd")
"""Arms that every other arm is compared with, where they are part of the study."""


def teacher_title(name: str, seed: int) -> str:
    """Return what tables and files call a teacher: its name, and the seed of the draw of its patients unless 0."""
    return f"{name}-r{seed}" if seed else name


class StudyConfig(Config):
    """Configuration of the ``study`` command."""

    title: str = ""
    """What is asked, in words, for tables and pages. No part of any identity."""
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
    label_noise: LabelNoise = LabelNoise()
    """Share of the training groups whose labels are made wrong, for teachers and students alike."""
    minimum_balanced_accuracy: float | None = None
    """Refuse a teacher whose validation balanced accuracy is below; by default 1.25 times chance."""
    bootstrap: StudyBootstrap = StudyBootstrap()
    """How intervals are made."""
    shared: Path | None = None
    """Folder for teachers and books, which several studies can share; by default that of the study. No part of any
    identity."""
    keep_weights: bool = False
    """Keep the run folders of finished cells; otherwise their predictions and figures are all that stays."""
    minutes: Annotated[float, Field(ge=0)] | None = None
    """Begin no further cell after so many minutes; what is done stays done. 0: train nothing, only write the tables of
    what is there. No part of any identity."""
    resume_from: Path | None = None
    """Folder with finished cells of this study (``results/`` of an earlier OUT, or committed files): they are taken
    over and not trained again. No part of any identity."""
    retry_failed: bool = False
    """Try cells again that have failed before; otherwise they are left out. No part of any identity."""

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
            for backbone in self.backbones_of(name):
                student = plan.model_copy(update={"backbone": backbone})
                refuse_conflicts(student, self.views_of(name), f"arm {name}")
            self.book_of(name)
            if arm.student.get("selection", {}).get("fraction", 1.0) != 1.0:
                raise ValueError(f"arm {name}: training fractions belong into `fractions` of the study")
            self._check_references(name)
        return self

    def _check_references(self, name: str) -> None:
        for other in self.arms[name].against or ():
            if other == name or other not in self.arms:
                raise ValueError(f"arm {name}: expected other arms of the study in `against`, found {other}")
            stages, theirs = (self.plan(arm).selection.stages for arm in (name, other))
            if theirs is not None and (stages is None or not set(stages) <= set(theirs)):
                raise ValueError(f"arm {name}: {other} of `against` does not tell its stages apart")
            if not set(self.backbones_of(name)) & set(self.backbones_of(other)):
                raise ValueError(f"arm {name}: {other} of `against` has none of its backbones")

    def backbones_of(self, arm: str) -> tuple[BackboneName, ...]:
        """Return the students of an arm."""
        return self.arms[arm].backbones or self.backbones

    def declarations(self) -> dict[str, Declaration]:
        """Return what every arm declares before anything is trained."""
        return {
            name: Declaration(
                note=arm.note,
                against=arm.against,
                endpoints=arm.endpoints,
                control=arm.control,
                unaided=self.plan(name).method.kind == "none",
                teachers=tuple(
                    teacher_title(teacher, self.plan(name).selection.seed) for teacher in self.teachers_of(name)
                ),
            )
            for name, arm in self.arms.items()
        }

    def plan(self, arm: str) -> StudentPlan:
        """Return the complete student plan of an arm."""
        common = self.student.model_dump(mode="json", exclude={"method"})
        return parse_config(_merged(common, self.arms[arm].student), StudentPlan, source=f"arm {arm}")

    def views_of(self, arm: str) -> ViewSpec:
        """Return the views of an arm."""
        return parse_config(_merged(self.views.as_json(), self.arms[arm].views), ViewSpec, source=f"views of {arm}")

    def book_of(self, arm: str) -> BookConfig:
        """Return the form of the books of an arm, but for what its method asks for."""
        return parse_config(_merged(self.book.as_json(), self.arms[arm].book), BookConfig, source=f"book of {arm}")

    @property
    def teacher_views(self) -> ViewSpec:
        """Views of the teachers: the study's under the next seed, never in pairs."""
        return self.views.model_copy(update={"seed": self.views.seed + 1, "joint": None})

    def teachers_of(self, arm: str) -> tuple[str, ...]:
        """Return the names of an arm's teachers."""
        given = self.arms[arm].teachers
        if given is not None:
            return given
        return (next(iter(self.teachers)),) if METHODS[self.plan(arm).method.kind].needs_teacher else ()


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
