"""Step ``compare-views``: how steady is a teacher under different augmentation policies? A table, before any student.

For every policy the standard deviation of the teacher's mean probability over draws of training views ("T. stddev"),
see :mod:`fibrokd.training.teacher_spread`. No student is trained, nothing but training images is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fibrokd.artifacts import Record, begin, read_record, require
from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.files import write_json, write_text
from fibrokd.methods import open_network
from fibrokd.progress import say, track
from fibrokd.training.augment import ViewSpec
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.runtime import accelerator
from fibrokd.training.teacher_spread import SpreadConfig, measure, menu, ranking
from fibrokd.training.teachers import LiveTeacher, check_competence

PolicyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]

HOW = (
    "A draw is {batches} batches of training views; its vector is the teacher's mean probability (T = 1). stddev: over "
    "{draws} draws per stage, averaged over stages; interval: 95 % percentile bootstrap over draws. All policies draw "
    "the same images. agreement: share of the labels (of a mixed pair: its share) that the teacher's answer names; a "
    "low stddev with a low agreement means that the policy destroys what the stage rests on."
)


class CompareViewsConfig(Config):
    """Configuration of the step."""

    prepared: Path
    """Folder that ``fibrokd prepare`` wrote."""
    teacher: Path
    """Folder of a finished network."""
    policies: Annotated[dict[PolicyName, ViewSpec], Field(min_length=1)] = Field(default_factory=menu)
    """Name → views; their seed is replaced by ``seed``, so that all draw the same images."""
    spread: SpreadConfig = SpreadConfig()
    """How many answers are drawn."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draws."""
    minimum_balanced_accuracy: float | None = None
    """Refuse a teacher whose validation balanced accuracy is below; by default 1.25 times chance."""


def run(config: CompareViewsConfig, out: Path) -> Record:
    """Compare policies into ``out`` (views.json, views.csv) and print the table.

    Raises:
        FibroKDError: The teacher belongs to other data, is no better than chance, or there are too few images.
    """
    prepared = Prepared.open(config.prepared)
    teacher_record = require(config.teacher, read_record(config.teacher).step)
    settings = config.model_dump(mode="json", exclude={"prepared", "teacher"})
    inputs = {"prepared": prepared.record.digest, "teacher": teacher_record.digest}
    step = begin(out, "compare-views", settings, inputs)
    if step.finished:
        _show(out)
        return step.record
    device = accelerator().device
    teacher = LiveTeacher.open(config.teacher, prepared, device, open_network)
    check_competence(teacher, prepared, config.minimum_balanced_accuracy)
    results: dict[str, Any] = {}
    for name, policy in track(config.policies.items(), "compare views", len(config.policies), "policies"):
        views = policy.model_copy(update={"seed": config.seed})
        results[name] = measure(teacher, TrainingImages.of(prepared, views), config.spread)
    how = HOW.format(batches=config.spread.batches, draws=config.spread.draws)
    write_json(out / "views.json", {"how": how, "ranking": ranking(results), "policies": results})
    write_text(out / "views.csv", _table(results))
    _show(out)
    return step.finish(["views.csv", "views.json"], device=str(device))


def _table(results: dict[str, Any]) -> str:
    lines = ["policy,stddev,low,high,agreement,images_per_draw"]
    for name in ranking(results):
        entry = results[name]
        numbers = (entry["stddev"], *entry["interval"], entry["agreement"], entry["images_per_draw"])
        lines.append(",".join([name, *(f"{number:.6g}" for number in numbers)]))
    return "\n".join(lines) + "\n"


def _show(out: Path) -> None:
    for line in (out / "views.csv").read_text(encoding="utf-8").splitlines():
        say("  " + "  ".join(f"{cell:<14}" for cell in line.split(",")).rstrip())
