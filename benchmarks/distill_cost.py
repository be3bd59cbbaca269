"""What a teacher costs per step: from a book, online, or not at all (MobileNetV3-Small, 224 px, batch 32).

``ratio`` = step from a trajectory book ÷ student-only step (wanted ≤ 1.10); ``online_ratio`` = the same with the
ResNet-50 teacher answering online. Steps are those of the real loop on batches that are already in memory.

Run: ``python -m benchmarks.distill_cost [--repeats 12] [--side 224]``
"""

from __future__ import annotations

import argparse
import json
import statistics

import numpy as np
import torch

from benchmarks.training_material import STAGES, interleaved, paired_ratio, rendered_images, trainer
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book
from fibrokd.training.networks import build
from fibrokd.training.objective import Moment
from fibrokd.training.runtime import Runtime, RuntimeConfig
from fibrokd.training.teachers import LiveTeacher

STUDENT = RuntimeConfig(precision="fp32", memory_format="channels_last")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--teacher-precision", choices=["fp32", "bf16"], default="bf16")
    arguments = parser.parse_args()
    images = rendered_images(320, arguments.side, ViewSpec())
    batches = list(images.batches(0, 32))
    logits = np.random.default_rng(0).normal(size=(1, len(images), STAGES)).astype(np.float16)
    teacher = LiveTeacher(
        build("resnet50", STAGES, False, None, 0),
        Runtime(arguments.teacher_precision, "channels_last"),
        torch.device("cpu"),
    )
    trainers = {
        "student_only": trainer("mobilenetv3_small", images, None, STUDENT),
        "book": trainer("mobilenetv3_small", images, Book(logits, "trajectory", ""), STUDENT),
        "online": trainer("mobilenetv3_small", images, teacher, STUDENT),
    }
    start = Moment(0, 1)
    # Three batches a turn: a turn then lasts long enough for the clock and the scheduler.
    turns = {
        name: (lambda run=run: [run.step(batch, start) for batch in batches[:3]]) for name, run in trainers.items()
    }
    for run in trainers.values():
        run.trainee.set_modes()
    seconds = interleaved(turns, arguments.repeats)
    result = {
        "ratio": paired_ratio(seconds, "book", "student_only"),
        "online_ratio": paired_ratio(seconds, "online", "student_only"),
        "student_only_ms_per_step": round(statistics.median(seconds["student_only"]) / 3 * 1000, 1),
        "side": arguments.side,
        "batch_size": 32,
        "teacher_precision": arguments.teacher_precision,
        "threads": torch.get_num_threads(),
        "turns": arguments.repeats,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
