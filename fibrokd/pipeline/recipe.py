"""One recipe from images to assessed networks: what ``run`` does once, and cross-validation several times.

The only part that calls the steps; they meet on disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from fibrokd.config import Config
from fibrokd.errors import ConfigError
from fibrokd.methods import METHODS
from fibrokd.pipeline import assess, distill, phantom, prepare, teach, write_book
from fibrokd.pipeline.assess_numbers import AssessPlan
from fibrokd.pipeline.distill import StudentPlan, refuse_conflicts
from fibrokd.pipeline.phantom import PhantomConfig
from fibrokd.pipeline.prepare import PrepareConfig
from fibrokd.pipeline.teach import TeacherPlan
from fibrokd.progress import say
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import BookConfig
from fibrokd.training.signals import LOGITS

_STUDENT = re.compile(r"student_[a-z0-9_]+")
StudentName = Annotated[str, Field(pattern=rf"^{_STUDENT.pattern}$")]


class RecipeConfig(PrepareConfig):
    """From images to assessed networks; the keys of ``fibrokd prepare`` stand at the top level."""

    phantom: PhantomConfig | None = None
    """Render this cohort first and use it as data; leave out for data of your own."""
    views: ViewSpec = ViewSpec()
    """Augmentation and MixUp of book and students; the teacher sees the same policy under the next seed, so that
    the book does not hold answers to views that the teacher has memorised."""
    teacher: TeacherPlan = TeacherPlan()
    """Teacher."""
    book: BookConfig = BookConfig()
    """Book of the teacher's answers."""
    minimum_balanced_accuracy: float | None = None
    """Refuse to distil from a teacher whose validation balanced accuracy is below; by default 1.25 times chance."""
    students: dict[str, StudentPlan]
    """Name of the student's folder, ``student_`` and then a-z, 0-9 or _ → plan; ``method: {kind: none}``
    makes a control without a teacher."""
    assess: AssessPlan = AssessPlan()
    """Title and contents of the report."""

    @classmethod
    def completed(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A phantom is its own data; its folder is known only when the run starts."""
        if data.get("phantom") is None:
            return data
        if data.get("data") is not None:
            raise ConfigError("Expected either `phantom` or `data`, found both.", "Leave one of them out.")
        facts = ["view", "steatosis"]
        return {**data, "data": {"root": "phantom", "layout": "table", "labels": "truth.csv", "facts": facts}}

    @field_validator("students")
    @classmethod
    def _students_are_named_so(cls, values: dict[str, StudentPlan]) -> dict[str, StudentPlan]:
        """Their folders lie beside ``teacher`` and ``book``, and are told from them by their names."""
        wrong = [name for name in values if not _STUDENT.fullmatch(name)]
        if wrong:
            raise ValueError(
                f"names of students are student_ and then a-z, 0-9 or _, such as student_kd; rename "
                f"{', '.join(map(repr, wrong))} here and in release.student"
            )
        return values

    @model_validator(mode="after")
    def _book_is_long_enough(self) -> RecipeConfig:
        """Say it now, not after the teacher has been trained for hours."""
        for name, plan in self.students.items():
            short = self.book.mode == "trajectory" and plan.train.epochs > self.book.views and not plan.wrap_book
            if short and _reads_the_book(plan, self.book):
                raise ValueError(
                    f"{name} may train {plan.train.epochs} epochs, the trajectory book holds {self.book.views} views; "
                    "raise book.views, lower the epochs, or set wrap_book"
                )
        return self

    @model_validator(mode="after")
    def _students_can_be_trained(self) -> RecipeConfig:
        """The same for what their methods cannot be combined with."""
        for name, plan in self.students.items():
            refuse_conflicts(plan, self.views, name)
        return self


def prepare_data(config: RecipeConfig, out: Path) -> Path:
    """Render into ``out``, if that is asked for, and prepare; return the folder of the images."""
    data = config.data
    if config.phantom is not None:
        banner("phantom")
        phantom.run(config.phantom, out / "phantom")
        data = data.model_copy(update={"root": out / "phantom"})
    banner("prepare")
    fields = {name: getattr(config, name) for name in PrepareConfig.model_fields}
    prepare.run(PrepareConfig(**(fields | {"data": data})), out / "prepared")
    return data.root


def train(config: RecipeConfig, prepared: Path, out: Path) -> dict[str, Path]:
    """Train teacher, book and students on a prepared folder; return the networks by name.

    Args:
        config: The recipe.
        prepared: Folder that ``prepare`` wrote.
        out: Where ``teacher``, ``book`` and the students' folders go.

    Raises:
        FibroKDError: A step cannot go on; everything finished so far is kept.
    """
    teacher, book = out / "teacher", out / "book"
    banner("teach")
    teacher_views = config.views.model_copy(update={"seed": config.views.seed + 1, "joint": None})
    teach.run(_made(teach.TeachConfig, config.teacher, prepared=prepared, views=teacher_views), teacher)
    if any("book" in _knowledge(plan, config.book, book, teacher) for plan in config.students.values()):
        banner("write-book")
        write_book.run(
            write_book.WriteBookConfig(
                prepared=prepared,
                teacher=teacher,
                book=config.book,
                views=config.views,
                minimum_balanced_accuracy=config.minimum_balanced_accuracy,
            ),
            book,
        )
    networks = {"teacher": teacher}
    for name, plan in config.students.items():
        banner(f"distill {name}")
        made = _made(
            distill.DistillConfig,
            plan,
            prepared=prepared,
            views=config.views,
            **_knowledge(plan, config.book, book, teacher),
        )
        distill.run(made, out / name)
        networks[name] = out / name
    return networks


def assess_networks(
    config: RecipeConfig, prepared: Path, networks: Mapping[str, Path], out: Path, phantom: Path | None = None
) -> None:
    """Assess networks into ``out``.

    Args:
        config: The recipe.
        prepared: Folder that ``prepare`` wrote.
        networks: Name → folder.
        out: Folder of the step.
        phantom: Folder of the cohort that the images were rendered in, where its patients can be rendered otherwise.
    """
    banner("assess")
    made = _made(assess.AssessConfig, config.assess, prepared=prepared, networks=dict(networks), phantom=phantom)
    assess.run(made, out)


def _made(kind: Any, plan: Config, **more: Any) -> Any:
    """Complete a plan into the configuration of its step."""
    return kind(**{name: getattr(plan, name) for name in type(plan).model_fields}, **more)


def _knowledge(plan: StudentPlan, form: BookConfig, book: Path, teacher: Path) -> dict[str, Path]:
    """Where the student's knowledge comes from: the book, unless its method or its data ask for more."""
    if not METHODS[plan.method.kind].needs_teacher:
        return {}
    return {"book": book} if _reads_the_book(plan, form) else {"teacher": teacher}


def _reads_the_book(plan: StudentPlan, form: BookConfig) -> bool:
    spec = METHODS[plan.method.kind]
    written = spec.asks_of(plan.method) <= {LOGITS, *form.stores}
    masks_are_its_own = getattr(plan.method, "thinning", form.thinning) == form.thinning
    takes_it = spec.needs_teacher and spec.takes_book(plan.method)
    return takes_it and plan.selection.is_everything and written and masks_are_its_own


def banner(step: str) -> None:
    """Say which step begins."""
    say(f"── {step}")
