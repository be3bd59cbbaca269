"""What a teacher costs per step: from a book, online, or not at all (MobileNetV3-Small, 224 px, batch 32).

``ratio`` = step from a trajectory book ÷ student-only step (wanted ≤ 1.10); ``online_ratio`` = the same with the
ResNet-50 teacher answering online. Steps are those of the real loop on batches that are already in memory.

``--memory`` asks for resident memory instead. A process of its own each makes the same steps alone, from a book on
disk, and with the teacher online: its peak, and how much that is more than alone. ``teacher_weights_mb`` says what the
weights of the teacher would take.

Run: ``python -m benchmarks.distill_cost [--repeats 12] [--side 224] [--memory]``
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training_material import STAGES, interleaved, paired_ratio, rendered_images, trainer
from fibrokd.memory import peak_mb
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.loop import Trainer
from fibrokd.training.networks import build, parameter_count
from fibrokd.training.objective import Moment
from fibrokd.training.runtime import Runtime, RuntimeConfig
from fibrokd.training.teachers import LiveTeacher

STUDENT = RuntimeConfig(precision="fp32", memory_format="channels_last")
TEACHER = "resnet50"
SOURCES = ("student_only", "book", "online")
IMAGES = 320
STEPS_OF_A_TURN = 3
"""A turn then lasts long enough for the clock and the scheduler."""


def learner(source: str, images: TrainingImages, precision: str, folder: Path) -> Trainer:
    """Return the real loop of a student with one of the sources.

    Args:
        source: One of SOURCES.
        images: What it sees.
        precision: Of the teacher, where it answers online.
        folder: Where the book is written.
    """
    teacher: Book | LiveTeacher | None = None
    if source == "book":
        told = np.random.default_rng(0).normal(size=(1, len(images), STAGES)).astype(np.float16)
        np.save(folder / "logits.npy", told)
        teacher = Book(np.load(folder / "logits.npy", mmap_mode="r"), "trajectory", "")
    elif source == "online":
        runtime = Runtime("bf16" if precision == "bf16" else "fp32", "channels_last")
        teacher = LiveTeacher(build(TEACHER, STAGES, False, None, 0), runtime, torch.device("cpu"))
    return trainer("mobilenetv3_small", images, teacher, STUDENT)


def steps(images: TrainingImages, arguments: argparse.Namespace) -> dict[str, Any]:
    """Time steps from every source in turn."""
    batches = list(images.batches(0, 32))[:STEPS_OF_A_TURN]
    with tempfile.TemporaryDirectory() as folder:
        loops = {name: learner(name, images, arguments.teacher_precision, Path(folder)) for name in SOURCES}
        for loop in loops.values():
            loop.trainee.set_modes()
        turns = {
            name: (lambda loop=loop: [loop.step(batch, Moment(0, 1)) for batch in batches])
            for name, loop in loops.items()
        }
        seconds = interleaved(turns, arguments.repeats)
    return {
        "ratio": paired_ratio(seconds, "book", "student_only"),
        "online_ratio": paired_ratio(seconds, "online", "student_only"),
        "student_only_ms_per_step": round(statistics.median(seconds["student_only"]) / STEPS_OF_A_TURN * 1000, 1),
    }


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Let a fresh process make the steps of every source, and return their peaks."""
    peaks = {}
    for name in SOURCES:
        words = ["--peak-of", name, "--side", str(arguments.side), "--repeats", str(arguments.repeats)]
        words += ["--teacher-precision", arguments.teacher_precision]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.distill_cost", *words], capture_output=True, check=True, text=True
        )
        peaks[name] = json.loads(done.stdout.splitlines()[-1])["peak_mb"]
    more = {f"{name}_more_mb": round(peaks[name] - peaks["student_only"], 1) for name in SOURCES[1:]}
    weights = 4 * parameter_count(build(TEACHER, STAGES, False, None, 0)) / 2**20
    return {"peak_mb": peaks, **more, "teacher_weights_mb": round(weights, 1)}


def peak_of(source: str, images: TrainingImages, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make as many steps as a timing would, and return the peak of this process."""
    with tempfile.TemporaryDirectory() as folder:
        loop = learner(source, images, arguments.teacher_precision, Path(folder))
        loop.trainee.set_modes()
        batches = list(images.batches(0, 32))[:STEPS_OF_A_TURN]
        for _ in range(arguments.repeats):
            for batch in batches:
                loop.step(batch, Moment(0, 1))
    return {"peak_mb": round(peak_mb(), 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--teacher-precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--memory", action="store_true", help="peaks of memory instead of times")
    parser.add_argument("--peak-of", choices=SOURCES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        result = memory(arguments)
    else:
        images = rendered_images(IMAGES, arguments.side, ViewSpec())
        result = peak_of(arguments.peak_of, images, arguments) if arguments.peak_of else steps(images, arguments)
    settings = {
        "side": arguments.side,
        "batch_size": 32,
        "teacher_precision": arguments.teacher_precision,
        "threads": torch.get_num_threads(),
        "turns": arguments.repeats,
    }
    print(json.dumps({**result, **settings}))


if __name__ == "__main__":
    main()
