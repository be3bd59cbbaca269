"""The step comparison of ``benchmarks.peers``: the material of both sides, the turns, and what they tell.

Both sides train the same torchvision student from the same weights under the same ResNet-50 on the same batches of 32
phantom pictures: SGD, label smoothing 0.1, fp32, no augmentation, no gradient clipping, batches already in memory.
fibrokd's side is the real loop's ``Trainer.step`` (its AdamW exchanged for the common SGD), torchdistill's the steps of
its distillation box in a process that waits while others are timed. Owns no command line.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import torchdistill_side as common
from benchmarks.peers.networks import AsOurs, objective
from benchmarks.peers.process import open_peer
from benchmarks.training_material import STAGES, interleaved, paired_ratio, rendered_images
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book
from fibrokd.training.dataset import Batch, TrainingImages
from fibrokd.training.loop import Task, Trainer
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment
from fibrokd.training.runtime import Runtime, RuntimeConfig
from fibrokd.training.settings import TrainConfig
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.teachers import LiveTeacher, TeacherSource

BATCH, BATCHES = 32, 4
TEACHER = "resnet50"
COMPARED_STEPS = 3  # after more, rounding grows into differences that mean nothing
_START = Moment(0, 1)


def make_material(images: TrainingImages, options: argparse.Namespace) -> tuple[dict[str, Any], list[Batch]]:
    """Draw weights, and logits to compare losses on, from seed 0.

    The teacher's batch-norm statistics are taken from the pictures, without which its answers would not be of this
    world.

    Returns:
        What the peer reads, and the batches that it holds as fibrokd's loop wants them.
    """
    batches = list(images.batches(0, BATCH))
    torch.manual_seed(0)
    student, teacher = common.Grey(options.student), common.Grey(TEACHER)
    with torch.no_grad():
        for batch in batches:
            teacher.train()(batch.images)
    scales = torch.tensor([0.1, 1.0, 3.0, 10.0])[:, None, None]
    material = {
        "student_name": options.student,
        "teacher_name": TEACHER,
        "memory_format": options.memory_format,
        "threads": options.threads,
        "student": student.state_dict(),
        "teacher": teacher.state_dict(),
        "images": torch.stack([batch.images for batch in batches]),
        "stages": torch.stack([batch.stages for batch in batches]),
        "student_logits": scales * torch.randn(4, BATCH, STAGES),
        "teacher_logits": scales * torch.randn(4, BATCH, STAGES),
        "logit_stages": torch.randint(STAGES, (4, BATCH)),
    }
    return material, batches


def our_losses(material: dict[str, Any]) -> list[float]:
    """Return fibrokd's loss of every set of logits of the material."""
    return [
        _loss(student, teacher, stages)
        for student, teacher, stages in zip(
            material["student_logits"], material["teacher_logits"], material["logit_stages"], strict=True
        )
    ]


def _loss(student: Tensor, teacher: Tensor, stages: Tensor) -> float:
    rows, count = torch.arange(len(stages)), len(stages)
    batch = Batch(torch.zeros(count, 1, 1, 1), stages, stages, torch.ones(count), rows, rows, 0)
    outputs = Outputs(student, student.new_empty((count, 0)), {})
    terms = objective()(outputs, TeacherSignal(teacher), batch, _START).values()
    return float(sum(t.coefficient * (t.weights * t.values).sum() / t.weights.sum() for t in terms))


def our_walk(
    material: dict[str, Any], images: TrainingImages, batches: Sequence[Batch], book: bool, folder: Path
) -> common.Walk[Batch]:
    """Make fibrokd's real step, under the live teacher or from a book of its answers."""
    student, teacher = common.networks(material)
    layout = material["memory_format"]
    live = LiveTeacher(AsOurs(teacher), Runtime("fp32", layout), torch.device("cpu"))
    source: TeacherSource = _book(live, batches, len(images)) if book else live
    task = Task(
        name="book" if book else "live",
        network=AsOurs(student),
        objective=objective(),
        teacher=source,
        images=images,
        val_pixels=images.pixels[:8],
        val_stages=images.stages[:8],
    )
    runtime = RuntimeConfig(precision="fp32", memory_format=layout)
    config = TrainConfig(batch_size=BATCH, epochs=1, gradient_clip=None, runtime=runtime)
    run = Trainer(task, config, folder, folder / f"{task.name}.json")
    run.trainee.optimizer = common.sgd(student)  # type: ignore[assignment]  # the loop itself knows only AdamW
    run.trainee.set_modes()
    return common.Walk(lambda batch: run.step(batch, _START)["loss"], batches)


def _book(teacher: LiveTeacher, batches: Sequence[Batch], rows: int) -> Book:
    logits = np.empty((1, rows, STAGES), np.float16)
    for batch in batches:
        logits[0, batch.index.numpy()] = teacher.signal(batch).logits.numpy()
    return Book(logits, "trajectory", "", wrap=True)


def apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the largest difference, relative where the second exceeds 1."""
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(ours, theirs, strict=True))


def beside(
    facts: Mapping[str, Any],
    theirs: Sequence[float],
    material: dict[str, Any],
    live: common.Walk[Batch],
    seconds: Mapping[str, list[float]],
) -> dict[str, Any]:
    """Return what only both sides together tell."""
    first = slice(COMPARED_STEPS)
    return {
        "ratio": paired_ratio(seconds, "torchdistill", "live"),
        "ratio_book": paired_ratio(seconds, "torchdistill", "book"),
        "ratio_environments": paired_ratio(seconds, "plain_there", "plain_here"),
        "loss_difference": apart(our_losses(material), facts["losses"]),
        "step_differences": [apart([a], [b]) for a, b in zip(live.losses[first], theirs[first], strict=True)],
        "versions_there": facts["versions"],
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time all variants in turn.

    Args:
        options: See ``benchmarks.peers``.
        folder: For the material and the loop's files.
    """
    torch.set_num_threads(options.threads)
    images = rendered_images(BATCH * BATCHES, options.side, ViewSpec(augment=None, mixup_alpha=0.0))
    material, batches = make_material(images, options)
    live, book = (our_walk(material, images, batches, from_book, folder) for from_book in (False, True))
    plain = common.Walk(common.plain(material), common.pairs(material))
    steps = options.steps
    turns: dict[str, Callable[[], object]] = {
        "live": lambda: live.go(steps),
        "book": lambda: book.go(steps),
        "plain_here": lambda: plain.go(steps),
    }
    found: dict[str, Any] = {"ratio": None, "peer": "absent: give --peer PYTHON"}
    if options.peer:
        torch.save(material, folder / "material.pt")
        with closing(open_peer(options.peer, "torchdistill_side", folder / "material.pt")) as peer:
            # In order: what is compared stands side by side.
            there: dict[str, Callable[[], object]] = {
                "plain_there": lambda: peer.ask(f"plain {steps}"),
                "torchdistill": lambda: peer.ask(f"torchdistill {steps}"),
            }
            seconds = interleaved({"plain_here": turns["plain_here"], **there, **turns}, options.repeats)
            theirs = peer.ask("torchdistill 0")  # no further step, only the losses of all so far
        found = beside(peer.facts, theirs, material, live, seconds)
    else:
        seconds = interleaved(turns, options.repeats)
    return {
        **found,
        "live_over_plain": paired_ratio(seconds, "live", "plain_here"),
        "live_over_book": paired_ratio(seconds, "live", "book"),
        "milliseconds_per_step": {n: round(statistics.median(s) / steps * 1000, 1) for n, s in seconds.items()},
        "versions_here": common.versions("torchvision"),
    }
