"""The teacher of whole trainings: trained once by fibrokd's own loop, and found again by a second call."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.common import fresh
from benchmarks.peers.networks import AsOurs, supervised
from benchmarks.peers.pictures import Pictures
from fibrokd.files import digest_bytes, digest_json, read_json, write_json
from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.progress import say
from fibrokd.training.augment import ViewSpec
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.loop import Task, fit
from fibrokd.training.runtime import Runtime
from fibrokd.training.settings import OneCycleConfig, TrainConfig

WATCHED = 32
"""Training pictures whose score the loop tells after every epoch; the last weights are kept, so it decides nothing."""


@dataclass(frozen=True)
class Teacher:
    """A trained teacher.

    Args:
        network: Its network.
        runtime: What it was trained with.
        seconds: What that took when it was done.
        reused: It was done by an earlier call.
    """

    network: AsOurs
    runtime: Runtime
    seconds: float
    reused: bool


def trained_teacher(pictures: Pictures, views: ViewSpec, options: argparse.Namespace, work: Path) -> Teacher:
    """Train the teacher, in the precision that is fastest here, or take the one that an earlier call left.

    Args:
        pictures: What it learns from.
        views: Their augmentation.
        options: See ``benchmarks.peers``.
        work: Its folder is made here, under a name that stands for pictures, views and settings.
    """
    config = TrainConfig(
        epochs=options.teacher_epochs,
        batch_size=options.teacher_batch,
        learning_rate=options.teacher_learning_rate,
        schedule=OneCycleConfig(),
        early_stopping=None,
        keep="last",
    )
    made_of = [
        options.teacher,
        options.threads,
        config.as_json(),
        views.as_json(),
        digest_bytes(pictures.pixels.tobytes()),
    ]
    folder = work / f"teacher-{digest_json(made_of)[:12]}"
    network = AsOurs(fresh(options.teacher, 0))
    task = Task(
        name=options.teacher,
        network=network,
        objective=SupervisedOnly(NoneConfig(), supervised()),
        teacher=None,
        images=TrainingImages(pictures.pixels, pictures.stages, pictures.image_ids, views),
        val_pixels=pictures.pixels[:WATCHED],
        val_stages=pictures.stages[:WATCHED],
    )
    cost, started = folder / "teacher.json", time.perf_counter()
    reused = cost.exists()
    say(f"  {options.teacher}: {'found again' if reused else 'training'} in {folder}")
    _, runtime = fit(task, config, folder)
    if not reused:
        write_json(cost, {"seconds": time.perf_counter() - started})
    return Teacher(network, runtime, read_json(cost)["seconds"], reused)
