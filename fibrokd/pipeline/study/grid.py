"""The cells of a study: what is trained, in which order, and what decides a result. Data only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fibrokd.data.selection import Selection
from fibrokd.files import digest_json
from fibrokd.methods import METHODS
from fibrokd.pipeline.distill import StudentPlan
from fibrokd.pipeline.study.plan import StudyConfig
from fibrokd.training.augment import ViewSpec
from fibrokd.training.teacher_noise import TeacherNoise


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
                **config.label_noise.used,
                "plan": self.plan.as_json(),
                "views": self.views.as_json(),
                "teachers": {name: config.teachers[name].as_json() for name in self.teachers},
                "teacher_views": config.views.as_json(),
                "book": None if self.online else config.book_of(self.arm).as_json(),
                "prepared": prepared,
            }
        )


def configuration_digest(config: StudyConfig) -> str:
    """Return the digest of what is compared and how: all cells, what arms declared, and how intervals are made.

    Neither folders nor words nor data are part of it; two ways to write the same study have the same digest.
    """
    declared = {
        name: {"against": arm.against, "endpoints": arm.endpoints, "control": arm.control}
        for name, arm in config.arms.items()
    }
    planned = {cell.name: cell.identity(config, "") for cell in cells(config)}
    return digest_json({"cells": planned, "arms": declared, "bootstrap": config.bootstrap.as_json()})


def teacher_selection(selection: Selection) -> Selection:
    """Return what the teachers of a cell learn from: the same share of the patients, but all stages and shots."""
    return Selection(fraction=selection.fraction, seed=selection.seed)


def cells(config: StudyConfig) -> Iterator[Cell]:
    """Yield the cells in the order in which they are trained: whole comparisons first, seed by seed."""
    for seed in config.seeds:
        for fraction in config.fractions:
            for arm in config.arms:
                for backbone in config.backbones_of(arm):
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
        online=settings.online or not spec.takes_book(plan.method),
        teacher_noise=settings.teacher_noise,
    )
