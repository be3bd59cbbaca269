"""What every distillation method costs beside a student that learns alone, in one run of equal budgets.

For every method of the catalogue its whole plan is carried out for a few epochs on rendered phantoms, from a book
where one will do and else from a live ResNet-50, and every training step is timed. Two ratios:

* ``step``: median time of the steps that train the student (the network of the plan's last phase), without the first
  of every phase ÷ that of the same network that learns alone;
* ``plan``: time of all steps of the plan, assistants and teachers that it trains included ÷ the same.

``same_rows`` is ``step``, but for methods that show two views of every image, so that a batch of 32 images has 64 rows:
there it is the step ÷ that of a student that learns alone from the same 64 rows. The student is the one of the
method's own configuration: a MobileNetV3-Small, but for ``reversed_kd``.

Timings are taken in one process, one method after the other, and the student alone again after every one: only ratios
mean anything. A single pair of runs is off by a tenth on a machine that others share, so every ratio is the median of
``--rounds`` pairs, and ``least_most`` the lowest and highest ``step`` among them. Every student tells all stages apart.

``ratio`` is the largest ``step`` among methods that read nothing but logits, from a book; ``ratio_books`` that of all
methods that read one; ``over`` names those above 1.10, ``over_same_rows`` those whose ``same_rows`` is.

Run: ``python -m benchmarks.methods [--side 224] [--images 128] [--epochs 7] [--rounds 3] [--methods books|kd,vam,…]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.training_material import STAGES, rendered_images
from fibrokd.config import load_config
from fibrokd.methods import METHODS
from fibrokd.methods.none import NoneConfig
from fibrokd.pipeline.distill import DistillConfig
from fibrokd.training import loop
from fibrokd.training.book import Book
from fibrokd.training.carry_out import carry_out
from fibrokd.training.dataset import Batch, TrainingImages
from fibrokd.training.method import LOGITS_ONLY, MethodSpec, Workshop
from fibrokd.training.networks import build
from fibrokd.training.objective import Moment, SupervisedTerm, class_weights
from fibrokd.training.runtime import Runtime, RuntimeConfig
from fibrokd.training.settings import TrainConfig
from fibrokd.training.signals import LOGITS
from fibrokd.training.stores import answers
from fibrokd.training.teachers import LiveTeacher, TeacherSource

LIMIT = 1.10
SETTINGS: dict[str, dict[str, Any]] = {
    "defective_kd": {"lowest": 0.0, "highest": 1.0, "teacher_epochs": 1},
    "dil": {"rounds": 1},
}
"""What a method needs to get through on pictures that teach nothing."""


class Taken(NamedTuple):
    """One step: what it trained, whether it was the first of its phase, and its seconds."""

    network: nn.Module
    first: bool
    seconds: float


@dataclass(frozen=True)
class Clock:
    """Seconds of a plan.

    Attributes:
        step: Median of the steps that train the student, without the first of every phase.
        plan: Sum of all steps.
    """

    step: float
    plan: float


@contextmanager
def timed() -> Iterator[list[Taken]]:
    """Time every step of every phase."""
    whole = loop.Trainer.step
    taken: list[Taken] = []
    phase: loop.Trainer | None = None

    def step(self: loop.Trainer, batch: Batch, moment: Moment) -> dict[str, float]:
        nonlocal phase
        started = time.perf_counter()
        parts = whole(self, batch, moment)
        taken.append(Taken(self.trainee.network, self is not phase, time.perf_counter() - started))
        phase = self
        return parts

    loop.Trainer.step = step  # type: ignore[method-assign]  # put back below
    try:
        yield taken
    finally:
        loop.Trainer.step = whole  # type: ignore[method-assign]  # as it was


def settings(kind: str, arguments: argparse.Namespace) -> DistillConfig:
    """Return the settings of a method's student, after checking that its plan fits the budget.

    Raises:
        ConfigError: It does not.
    """
    nowhere = ["prepared=nowhere"]  # the pictures are rendered here
    plan = load_config(Path("configs/methods") / f"{kind}.yaml", DistillConfig, nowhere)
    train = TrainConfig(
        epochs=arguments.epochs,
        batch_size=32 * plan.views.variants,
        early_stopping=None,
        keep="last",
        runtime=RuntimeConfig(precision=arguments.precision, memory_format="channels_last"),
    )
    method = plan.method.model_copy(update=SETTINGS.get(kind, {}))
    config = plan.model_copy(update={"method": method, "train": train})
    METHODS[kind].check(config.method, config)
    return config


def alone(config: DistillConfig, paired: bool) -> DistillConfig:
    """Return the settings of the same student that learns alone.

    Args:
        config: The student.
        paired: From two views of every image, where it has them; otherwise from one.
    """
    views = config.views if paired else config.views.model_copy(update={"joint": None})
    train = config.train.model_copy(update={"batch_size": 32 * views.variants})
    return DistillConfig(prepared=Path(), backbone=config.backbone, method=NoneConfig(), views=views, train=train)


def measure(config: DistillConfig, arguments: argparse.Namespace, teacher: LiveTeacher) -> Clock:
    """Carry out the plan of a method and return its times."""
    spec = METHODS[config.method.kind]
    images = rendered_images(arguments.images, arguments.side, config.views)
    shop = Workshop(
        stages=STAGES,
        label_space=tuple(range(STAGES)),
        backbone=config.backbone,
        supervised=SupervisedTerm(config.supervised, class_weights(images.stages, STAGES, "balanced")),
        images=images,
        train=config.train,
        new_network=lambda backbone, seed: build(backbone, STAGES, False, None, seed),
        teachers=tuple(_sources(spec, images, teacher, arguments.epochs)),
        device=torch.device("cpu"),
    )
    prepared: Any = SimpleNamespace(rows=lambda _: np.arange(8), pixels=images.pixels, stages=images.stages)
    with timed() as taken, tempfile.TemporaryDirectory(prefix=f"{spec.kind}_") as folder:
        student = carry_out(Path(folder), prepared, images, spec.plan(config.method, shop)).network
    own = [step.seconds for step in taken if step.network is student and not step.first]
    return Clock(statistics.median(own), sum(step.seconds for step in taken))


def one_round(config: DistillConfig, arguments: argparse.Namespace, teacher: LiveTeacher) -> dict[str, float]:
    """Carry out a method and, right after it, the same student alone; return ``step``, ``same_rows`` and ``plan``."""
    clock, by_itself = (measure(one, arguments, teacher) for one in (config, alone(config, paired=False)))
    two_views = config.views.joint is not None
    beside = measure(alone(config, paired=True), arguments, teacher) if two_views else by_itself
    return {
        "step": clock.step / by_itself.step,
        "same_rows": clock.step / beside.step,
        "plan": clock.plan / by_itself.plan,
    }


def _sources(spec: MethodSpec, images: TrainingImages, teacher: LiveTeacher, epochs: int) -> list[TeacherSource]:
    least = spec.teachers[0]
    return [_book(spec, images, teacher, epochs) if spec.cacheable else teacher] * least


def _book(spec: MethodSpec, images: TrainingImages, teacher: LiveTeacher, epochs: int) -> Book:
    """Make a book of random logits, and of the teacher's answers to one batch over and over beside them."""
    told = answers(teacher, next(images.batches(0, 2 * images.views.variants)), sorted(spec.needs - {LOGITS}))
    shape = epochs, len(images)
    stores = {name: np.resize(rows, (*shape, rows.shape[1])).astype(np.float16) for name, rows in told.items()}
    stores[LOGITS] = np.random.default_rng(0).normal(size=(*shape, STAGES)).astype(np.float16)
    return Book(stores.pop(LOGITS), "trajectory", "", wrap=True, stores=stores)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=7, help="some plans need seven")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs of which the median is taken")
    parser.add_argument("--methods", default=",".join(METHODS), help="names, or `books`: those that read a book")
    arguments = parser.parse_args()
    kinds = [kind for kind in METHODS if METHODS[kind].cacheable]
    kinds = kinds if arguments.methods == "books" else arguments.methods.split(",")
    plans = {kind: settings(kind, arguments) for kind in kinds}  # before any is timed
    teacher = LiveTeacher(
        build("resnet50", STAGES, False, None, 0), Runtime(arguments.precision, "channels_last"), torch.device("cpu")
    )
    measure(settings("none", arguments), arguments, teacher)  # warm-up
    found: dict[str, Any] = {}
    for kind, config in plans.items():
        rounds = [one_round(config, arguments, teacher) for _ in range(arguments.rounds)]
        found[kind] = {
            **{name: round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]},
            "least_most": [round(pick(each["step"] for each in rounds), 3) for pick in (min, max)],
            "from_book": METHODS[kind].cacheable,
            "logits_alone": METHODS[kind].cacheable and METHODS[kind].needs == LOGITS_ONLY,
        }
        print(json.dumps({kind: found[kind]}), flush=True)
    print(json.dumps({**summary(found), "side": arguments.side, "methods": found}))


def summary(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the largest ratios; None where no method counts."""
    books = {kind: entry["step"] for kind, entry in found.items() if entry["from_book"]}
    logits = {kind: step for kind, step in books.items() if found[kind]["logits_alone"]}
    return {
        "ratio": max(logits.values(), default=None),
        "ratio_books": max(books.values(), default=None),
        "over": sorted(kind for kind, step in books.items() if step > LIMIT),
        "over_same_rows": sorted(kind for kind in books if found[kind]["same_rows"] > LIMIT),
    }


if __name__ == "__main__":
    main()
