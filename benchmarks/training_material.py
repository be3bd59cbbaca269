"""What the training benchmarks share: rendered images, a task on them, and interleaved timing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.methods.none import NoneConfig, SupervisedOnly
from fibrokd.phantom.cohort import render_case
from fibrokd.training.augment import ViewSpec
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.loop import Task, Trainer
from fibrokd.training.networks import build
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm, class_weights
from fibrokd.training.runtime import RuntimeConfig
from fibrokd.training.settings import TrainConfig
from fibrokd.training.teachers import TeacherSource

STAGES = 5


def rendered_images(count: int, side: int, views: ViewSpec) -> TrainingImages:
    """Render a few phantom images, repeated to ``count`` (contents do not matter for speed, black borders might)."""
    few = [render_case(k, 0, k % STAGES, 256, "easy") for k in range(10)]
    small = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in few]
    pixels = np.stack([small[k % len(small)] for k in range(count)])
    return TrainingImages(pixels, np.arange(count) % STAGES, tuple(f"image{k}" for k in range(count)), views)


def trainer(backbone: str, images: TrainingImages, teacher: TeacherSource | None, runtime: RuntimeConfig) -> Trainer:
    """Make the real loop for ``backbone``, at batch 32 of 224 px or whatever ``images`` holds."""
    supervised = SupervisedTerm(SupervisedConfig(), class_weights(images.stages, STAGES, "balanced"))
    task = Task(
        name=backbone,
        network=build(backbone, STAGES, False, None, 0),
        objective=SupervisedOnly(NoneConfig(), supervised) if teacher is None else VanillaKd(KdConfig(), supervised),
        teacher=teacher,
        images=images,
        val_pixels=images.pixels[:8],
        val_stages=images.stages[:8],
    )
    folder = Path(tempfile.mkdtemp())
    config = TrainConfig(batch_size=32, epochs=1000, runtime=runtime)
    return Trainer(task, config, folder, folder / "runtime.json")


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time every call ``repeats`` times in turn, after one round that is not counted.

    Returns:
        Seconds by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def paired_ratio(seconds: Mapping[str, list[float]], above: str, below: str) -> float:
    """Return the median of turn-by-turn ratios."""
    return round(statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True)), 3)
