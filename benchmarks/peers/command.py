"""Vanilla distillation (T = 3, α = 0.6), fibrokd beside torchdistill: single steps, or whole trainings.

    python -m benchmarks.peers [--peer PYTHON] [--student resnet18] [--side 128] [--repeats 12] [--steps 3]
    python -m benchmarks.peers --training [--peer PYTHON] [--student mobilenet_v3_small] [--side 224] [--work FOLDER]

Both sides train the same torchvision student from the same weights under the same ResNet-50 on the same batches of
phantom pictures. torchdistill runs under PYTHON in a process that waits while others are timed; it is no dependency.
Without ``--peer`` the comparison is left out and ``peer`` says so.

**Steps.** SGD, label smoothing 0.1, fp32, one thread, batches of 32 already in memory, no augmentation, no gradient
clipping. fibrokd's side is the real loop's ``Trainer.step`` (its AdamW exchanged for the common SGD), torchdistill's
the steps of its distillation box. All variants take turns; every ratio is the median over turns. The teacher is in eval
mode on both sides (torchdistill leaves that to its caller). What the book cost to write, one teacher answer per view,
is not in ``ratio_book``: it is paid once for all students. torchdistill 1.1 stores no answers.

The last line is JSON:

* ``ratio``: torchdistill's time ÷ ours, both with the live teacher; ``ratio_book``: ÷ ours from a trajectory book;
* ``ratio_environments``: the same loop written by hand, there ÷ here: what is due to the environments alone;
* ``live_over_plain``: fibrokd's live step ÷ the loop written by hand: what the machinery costs;
* ``loss_difference``: largest difference of both losses on equal logits, relative where they exceed 1;
* ``step_differences``: the same of the losses of the first three steps, fibrokd live against torchdistill; the first
  is that of equal weights, and rounding grows with every step;
* the milliseconds per step, versions and settings.

**Trainings.** The teacher is trained once by fibrokd's loop (kept under ``--work`` for later calls). Then, in turn,
torchdistill trains student after student with the live teacher, and fibrokd writes the book and trains the same
students from it: same initial weights, pictures in the same order, dropout seeds, epochs, AdamW without weight decay,
one cycle, gradient clipping, precision, memory layout and threads. Where the sides cannot be equal, ours has the worse
part: torchdistill reads its augmented pictures from a file, fibrokd makes them while training, and its seconds hold
validation, checkpoints and the book's digests. ``--our-runtime auto`` lets fibrokd choose its precision and layout by
measuring, as it does for its users, while the other side keeps ``--precision`` and ``--memory-format``.

The last line is JSON:

* ``ratio_second``: torchdistill's seconds per student ÷ ours from the second student on, the book reused;
  ``ratio_first``: its first student ÷ our book and first student; ``ratio_all``: all students ÷ book and all students;
* ``views_share``: seconds that making the views takes when done alone ÷ ours per student. They are made in a thread
  beside the network, so it is what they would cost at most;
* ``same_within_interval``: whether the 95 % interval of every paired difference holds 0, patients resampled;
  ``difference``: these, fibrokd − torchdistill, and the share of pictures that both students stage alike;
* ``mean_difference``: of all students, with Student's t interval over trainings: that of the programs, where
  ``difference`` is that of single networks, which rounding alone parts; no interval from fewer than three students;
* ``balanced_accuracy`` on test patients that nobody saw, of the teacher and all students; ``above_chance``: whose
  interval lies above 1/5, for that two students who know nothing are alike means nothing;
* ``seconds``: teacher (when it was trained), book, views, students here and there; ``teacher_reused``;
* ``book_difference``: the book against the live teacher here; ``teacher_difference``: against the live teacher there,
  on the first batch; both relative where they exceed 1, fp16 rounds by 0.0005;
* ``loss_differences``: of the mean loss of every epoch, by student;
* ``peak_mb``: largest resident memory of each side's process; ``book_bytes``; versions and settings.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import steps, torchdistill_side, training

STEPS: dict[str, Any] = {"student": "resnet18", "side": 128, "threads": 1, "memory_format": "nchw"}
TRAINING: dict[str, Any] = {
    "student": "mobilenet_v3_small",
    "side": 224,
    "threads": 2,
    "memory_format": "channels_last",
}


def parser(defaults: dict[str, Any]) -> argparse.ArgumentParser:
    """Make the parser with the defaults of one of the two comparisons."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--peer", type=Path, help="python in which torchdistill is installed")
    made.add_argument("--student", choices=("resnet18", "mobilenet_v3_small"))
    made.add_argument("--side", type=int)
    made.add_argument("--threads", type=int)
    made.add_argument("--memory-format", choices=tuple(torchdistill_side.LAYOUTS), help="of both sides")
    made.add_argument("--training", action="store_true", help="compare whole trainings instead of steps")
    steps = made.add_argument_group("steps")
    steps.add_argument("--repeats", type=int, default=12, help="turns that are counted")
    steps.add_argument("--steps", type=int, default=3, help="steps of a turn")
    training = made.add_argument_group("trainings")
    training.add_argument("--teacher", default="resnet50", help="name in torchvision")
    training.add_argument("--train-images", type=int, default=320)
    training.add_argument("--test-patients", type=int, default=100)
    training.add_argument("--frames", type=int, default=2, help="pictures of each patient")
    training.add_argument("--difficulty", choices=("easy", "medium", "hard"), default="easy")
    training.add_argument("--seed", type=int, default=0, help="of the patients")
    training.add_argument("--students", type=int, default=2)
    training.add_argument("--epochs", type=int, default=12)
    training.add_argument("--teacher-epochs", type=int, default=10)
    training.add_argument("--teacher-batch", type=int, default=8)
    training.add_argument("--batch", type=int, default=16)
    training.add_argument("--learning-rate", type=float, default=3e-3)
    training.add_argument("--teacher-learning-rate", type=float, default=1e-3)
    training.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of both sides")
    training.add_argument("--our-runtime", choices=("same", "auto"), default="same")
    training.add_argument("--work", type=Path, help="folder in which the teacher is kept for later calls")
    made.set_defaults(**defaults)
    return made


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; defaults depend on what is compared."""
    return parser(TRAINING if "--training" in arguments else STEPS).parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = read_options(sys.argv[1:])
    measure = training.measure if options.training else steps.measure
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    print(json.dumps({**found, "settings": settings(options)}))


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return what decides the figures, without paths."""
    told = vars(options)
    if options.training:
        return {name: value for name, value in told.items() if name not in {"peer", "work", "repeats", "steps"}}
    kept = ("student", "side", "repeats", "steps", "threads", "memory_format")
    return {name: told[name] for name in kept} | {"batch": steps.BATCH, "teacher": steps.TEACHER}


if __name__ == "__main__":
    main()
