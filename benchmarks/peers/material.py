"""What both sides of the training comparison read: pictures, weights, settings, random seeds and all augmented views.

Shape letters: N pictures, S side.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.common import MATERIAL, VIEWS, fresh
from benchmarks.peers.pictures import Pictures, cohort
from benchmarks.peers.teacher import Teacher
from fibrokd.progress import track
from fibrokd.training.augment import ViewSpec
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.runtime import seed_step

NO_MIXUP = ViewSpec(mixup_alpha=0.0)
"""Augmentation as it comes; without MixUp, so that the other side can read whole pictures and plain stages."""
GRADIENT_CLIP, WARM_UP = 5.0, 0.2


def pictures(options: argparse.Namespace) -> tuple[Pictures, Pictures]:
    """Render what is learned from and what is asked; no patient is in both."""
    patients = -(-options.train_images // options.frames)
    seed, rest = options.seed, (options.frames, options.side)
    train = cohort("train", patients, *rest, seed, options.difficulty)
    test = cohort("test", options.test_patients, *rest, seed + 1, options.difficulty)
    n = options.train_images
    return Pictures(train.pixels[:n], train.stages[:n], train.patients[:n]), test


def write_material(
    folder: Path, train: Pictures, test: Pictures, teacher: Teacher, options: argparse.Namespace
) -> float:
    """Write what both sides read.

    Returns:
        Seconds that making the views takes, each once: what fibrokd's side does again in every training.
    """
    images = TrainingImages(train.pixels, train.stages, train.image_ids, NO_MIXUP)
    stages, seconds = _write_views(folder / VIEWS, images, options)
    steps = images.steps(options.batch)
    material = {
        "student_name": options.student,
        "students": [fresh(options.student, number).state_dict() for number in range(options.students)],
        "teacher_name": options.teacher,
        "teacher": teacher.network.network.state_dict(),
        "batch": options.batch,
        "batches": [len(part) for part in stages[:steps]],
        "stages": torch.cat(stages),
        "seeds": [list(dropout_seeds(number, options.epochs, steps)) for number in range(options.students)],
        "pixels": torch.from_numpy(train.pixels),
        "labels": torch.from_numpy(train.stages),
        "image_ids": list(train.image_ids),
        "views": NO_MIXUP.as_json(),
        "test": torch.from_numpy(test.pixels),
        **_settings(teacher, options),
    }
    torch.save(material, folder / MATERIAL)
    return seconds


def _settings(teacher: Teacher, options: argparse.Namespace) -> dict[str, Any]:
    same = {"precision": options.precision, "memory_format": options.memory_format}
    as_it_comes = options.our_runtime == "auto"
    return {
        "epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "gradient_clip": GRADIENT_CLIP,
        "warm_up": WARM_UP,
        "side": options.side,
        "threads": options.threads,
        **same,
        "runtime": {"precision": "auto", "memory_format": "auto"} if as_it_comes else same,
        "teacher_runtime": teacher.runtime.as_json() if as_it_comes else same,
    }


def _write_views(file: Path, images: TrainingImages, options: argparse.Namespace) -> tuple[list[torch.Tensor], float]:
    """Write the bytes of all views in reading order; return the stages of every batch, and the seconds of making."""
    stages: list[torch.Tensor] = []
    seconds = 0.0
    with file.open("wb") as out:
        for epoch in track(range(options.epochs), "views for the other side", options.epochs, "epochs"):
            started = time.perf_counter()
            batches = list(images.batches(epoch, options.batch))
            seconds += time.perf_counter() - started
            for batch in batches:
                out.write(np.rint(batch.images.numpy() * 255).astype(np.uint8).tobytes())
                stages.append(batch.stages)
    return stages, seconds


def dropout_seeds(student: int, epochs: int, steps: int) -> Iterator[int]:
    """Yield the seed that fibrokd's loop sets before every step of a student."""
    for epoch in range(epochs):
        for step in range(steps):
            seed_step(student, epoch, step, 0)
            yield torch.initial_seed()
