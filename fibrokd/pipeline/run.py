"""Step ``run``: one configuration through all steps in order; finished steps with equal digests are not redone.

The only step that knows the others.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError
from fibrokd.evaluation.summary import summary_table
from fibrokd.files import read_json
from fibrokd.methods import METHODS
from fibrokd.pipeline import assess, distill, phantom, predict, prepare, release, teach, write_book
from fibrokd.pipeline.assess import AssessPlan
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


class ReleasePlan(Config):
    """Which network becomes a bundle."""

    student: StudentName = "student_kd"
    """Key of ``students``."""
    name: str = "fibrokd"
    """Name of the bundle."""
    tolerance: float = 1e-4
    """Largest accepted difference of any probability between PyTorch and the exported network."""


class RunConfig(PrepareConfig):
    """Everything from images to a bundle; the keys of ``fibrokd prepare`` stand at the top level."""

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
    release: ReleasePlan = ReleasePlan()
    """What is released."""

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
    def _book_is_long_enough(self) -> RunConfig:
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
    def _students_can_be_trained(self) -> RunConfig:
        """The same for what their methods cannot be combined with."""
        for name, plan in self.students.items():
            refuse_conflicts(plan, self.views, name)
        return self

    @model_validator(mode="after")
    def _release_exists(self) -> RunConfig:
        if self.release.student not in self.students:
            raise ValueError(f"release.student names {self.release.student!r}, students are {list(self.students)}")
        return self


def run(config: RunConfig, out: Path) -> int:
    """Run all steps into ``out`` and print the closing table.

    Returns:
        Exit code 0.

    Raises:
        FibroKDError: A step cannot go on; everything finished so far is kept.
    """
    started = time.perf_counter()
    prepared, teacher, book = out / "prepared", out / "teacher", out / "book"
    root = _prepare(config, out)
    _banner("teach")
    teacher_views = config.views.model_copy(update={"seed": config.views.seed + 1, "joint": None})
    teach.run(_made(teach.TeachConfig, config.teacher, prepared=prepared, views=teacher_views), teacher)
    if any("book" in _knowledge(plan, config.book, book, teacher) for plan in config.students.values()):
        _banner("write-book")
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
        _banner(f"distill {name}")
        made = _made(
            distill.DistillConfig,
            plan,
            prepared=prepared,
            views=config.views,
            **_knowledge(plan, config.book, book, teacher),
        )
        distill.run(made, out / name)
        networks[name] = out / name
    _banner("assess")
    assess.run(_made(assess.AssessConfig, config.assess, prepared=prepared, networks=networks), out / "assess")
    _banner("release")
    release.run(
        release.ReleaseConfig(
            student=networks[config.release.student],
            prepared=prepared,
            assess=out / "assess",
            name=config.release.name,
            tolerance=config.release.tolerance,
        ),
        out / "bundle",
    )
    _conclude(out, root, time.perf_counter() - started)
    return 0


def _prepare(config: RunConfig, out: Path) -> Path:
    """Render, if that is asked for, and prepare; return the folder of the images."""
    data = config.data
    if config.phantom is not None:
        _banner("phantom")
        phantom.run(config.phantom, out / "phantom")
        data = data.model_copy(update={"root": out / "phantom"})
    _banner("prepare")
    fields = {name: getattr(config, name) for name in PrepareConfig.model_fields}
    prepare.run(PrepareConfig(**(fields | {"data": data})), out / "prepared")
    return data.root


def _made(kind: Any, plan: Config, **more: Any) -> Any:
    """Complete a plan into the configuration of its step."""
    return kind(**{name: getattr(plan, name) for name in type(plan).model_fields}, **more)


def _program() -> str:
    """The command as it was called, so that the printed line can be pasted."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "fibrokd" else "fibrokd"


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


def _banner(step: str) -> None:
    say(f"── {step}")


def _conclude(out: Path, root: Path, seconds: float) -> None:
    """Print what the run found, where it lies, and how to look at it."""
    from rich.console import Console

    bundle, report = out / "bundle", out / "assess" / "report.html"
    data = Prepared.open(out / "prepared")
    shown = data.table.iloc[data.rows("test")[0]]
    example = root / str(shown["path"])
    timings = read_json(out / "assess" / "timings.json")["networks"]
    latencies = {name: entry["latency_ms"] for name, entry in timings.items()}
    # A log file has no width of its own; the table needs about 110 columns.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    _banner("predict")
    predict.run(bundle, [example], as_json=False, titles={example: f"test image {shown['image_id']}"})
    console.print(summary_table(read_json(out / "assess" / "metrics.json"), latencies))
    print(f"report  {report}")
    print(f"bundle  {bundle}")
    print(f"app     {_program()} app {bundle}")
    say(f"done in {seconds:.0f} s; running this again redoes nothing that is finished")
