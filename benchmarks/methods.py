"""What every distillation method costs beside a student that learns alone, in one run of equal budgets.

For every method of the catalogue its whole plan is carried out for a few epochs on rendered phantoms, from a book
where one will do and else from a live ResNet-50, and every training step is timed. Two ratios:

* ``step``: median time of the steps that train the student ÷ that of the student that learns alone;
* ``plan``: time of all steps of the plan, assistants and teachers that it trains included ÷ the same.

``ratio`` is the largest ``step`` among methods that read logits from a book. Timings are taken in one process, one
method after the other, and the student alone again after every one: only ratios mean anything.

Run: ``python -m benchmarks.methods [--side 224] [--images 128] [--epochs 2] [--methods kd,vam,…]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.training_material import STAGES, rendered_images
from fibrokd.config import load_config
from fibrokd.methods import METHODS
from fibrokd.pipeline.distill import StudentPlan
from fibrokd.training import loop
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book
from fibrokd.training.carry_out import carry_out
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.joint import JointSpec
from fibrokd.training.method import MethodSpec, Workshop
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedTerm, class_weights
from fibrokd.training.runtime import Runtime, RuntimeConfig
from fibrokd.training.settings import TrainConfig
from fibrokd.training.signals import LOGITS
from fibrokd.training.teachers import LiveTeacher, TeacherSource

BACKBONE = "mobilenetv3_small"
LEFT_OUT = frozenset(["reversed_kd"])  # its student is the big network: another baseline
SETTINGS: dict[str, dict[str, Any]] = {
    "defective_kd": {"lowest": 0.0, "highest": 1.0, "teacher_epochs": 1},
    "dil": {"rounds": 1},
}
"""What a method needs to get through on pictures that teach nothing."""


@dataclass
class Clock:
    """Seconds of every step, by whether it trains the student.

    Attributes:
        student: Of steps that train a network of the student's backbone.
        others: Of all other steps.
    """

    student: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Seconds of all steps."""
        return sum(self.student) + sum(self.others)


@contextmanager
def timed(clock: Clock, student_parameters: int) -> Iterator[None]:
    """Time every step of every phase; the first of a phase is warm-up and not counted for the median."""
    whole = loop.Trainer.step

    def step(self: loop.Trainer, batch: Any, moment: Any) -> dict[str, float]:
        started = time.perf_counter()
        parts = whole(self, batch, moment)
        count = sum(parameter.numel() for parameter in self.trainee.network.parameters())
        own = 0.5 * student_parameters < count < 2 * student_parameters
        (clock.student if own else clock.others).append(time.perf_counter() - started)
        return parts

    loop.Trainer.step = step  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        loop.Trainer.step = whole  # type: ignore[method-assign]  # as it was


def measure(kind: str, arguments: argparse.Namespace, teacher: LiveTeacher) -> Clock:
    """Carry out the plan of a method and return its step times."""
    spec = METHODS[kind]
    plan = load_config(Path("configs/methods") / f"{kind}.yaml", StudentPlan)
    method = plan.method.model_copy(update=SETTINGS.get(kind, {}))
    views = ViewSpec(joint=JointSpec() if kind == "ccd" else None)
    images = rendered_images(arguments.images, arguments.side, views)
    runtime = RuntimeConfig(precision=arguments.precision, memory_format="channels_last")
    train = TrainConfig(
        epochs=arguments.epochs,
        batch_size=64 if kind == "ccd" else 32,
        early_stopping=None,
        keep="last",
        runtime=runtime,
    )
    supervised = plan.supervised
    shop = Workshop(
        stages=STAGES,
        label_space=tuple(range(STAGES)),
        backbone=BACKBONE,
        supervised=SupervisedTerm(supervised, class_weights(images.stages, STAGES, "balanced")),
        images=images,
        train=train,
        new_network=lambda backbone, seed: build(backbone, STAGES, False, None, seed),
        teachers=tuple(_sources(spec, images, teacher, arguments.epochs)),
        device=torch.device("cpu"),
    )
    clock = Clock()
    prepared: Any = SimpleNamespace(rows=lambda _: np.arange(8), pixels=images.pixels, stages=images.stages)
    alone = sum(parameter.numel() for parameter in shop.student().parameters())
    with timed(clock, alone), tempfile.TemporaryDirectory() as folder:
        carry_out(Path(folder), prepared, images, spec.plan(method, shop))
    return clock


def _sources(spec: MethodSpec, images: TrainingImages, teacher: LiveTeacher, epochs: int) -> list[TeacherSource]:
    least = spec.teachers[0]
    if spec.cacheable and spec.needs == {LOGITS}:
        random = np.random.default_rng(0)
        logits = random.normal(size=(epochs, len(images), STAGES)).astype(np.float16)
        return [Book(logits, "trajectory", "", wrap=True) for _ in range(least)]
    return [teacher] * least


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--methods", default=",".join(kind for kind in METHODS if kind not in LEFT_OUT))
    arguments = parser.parse_args()
    teacher = LiveTeacher(
        build("resnet50", STAGES, False, None, 0), Runtime(arguments.precision, "channels_last"), torch.device("cpu")
    )
    measure("none", arguments, teacher)  # warm-up
    found: dict[str, Any] = {}
    for kind in arguments.methods.split(","):
        clock, alone = measure(kind, arguments, teacher), measure("none", arguments, teacher)
        step = statistics.median(clock.student) / statistics.median(alone.student)
        cached = METHODS[kind].cacheable and METHODS[kind].needs == {LOGITS}
        found[kind] = {"step": round(step, 3), "plan": round(clock.total / alone.total, 2), "from_book": cached}
        print(json.dumps({kind: found[kind]}), flush=True)
    cacheable = [entry["step"] for entry in found.values() if entry["from_book"]]
    print(json.dumps({"ratio": max(cacheable, default=None), "side": arguments.side, "methods": found}))


if __name__ == "__main__":
    main()
