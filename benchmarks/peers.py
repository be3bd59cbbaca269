"""A step of vanilla distillation (T = 3, α = 0.6), fibrokd beside torchdistill: time, and whether both do the same.

    python -m benchmarks.peers [--peer PYTHON] [--student resnet18] [--side 128] [--repeats 12] [--steps 3]

Both sides train the same torchvision student from the same weights under the same ResNet-50 on the same batches of 32
phantom pictures: SGD, label smoothing 0.1, fp32, one thread, no augmentation, no gradient clipping, batches already in
memory. fibrokd's side is the real loop's ``Trainer.step`` (its AdamW exchanged for the common SGD), torchdistill's the
steps of its distillation box, run by PYTHON in a process that waits while others are timed. Without ``--peer`` the
comparison is left out and said to be. All variants take turns in one run; every ratio is the median over turns.

The teacher is in eval mode on both sides (torchdistill leaves that to its caller). What the book cost to write, one
teacher answer per view, is not in ``ratio_book``: it is paid once for all students. torchdistill 1.1 stores no answers.

The last line is JSON:

* ``ratio``: torchdistill's time ÷ ours, both with the live teacher; ``ratio_book``: ÷ ours from a trajectory book;
* ``ratio_environments``: the same loop written by hand, there ÷ here: what is due to the environments alone;
* ``live_over_plain``: fibrokd's live step ÷ the loop written by hand: what the machinery costs;
* ``loss_difference``: largest difference of both losses on equal logits, relative where they exceed 1;
* ``step_differences``: the same of the losses of the first three steps, fibrokd live against torchdistill; the first
  is that of equal weights, and rounding grows with every step;
* the milliseconds per step, versions and settings.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import torchdistill_peer as common
from benchmarks.training_material import STAGES, interleaved, paired_ratio, rendered_images
from fibrokd.methods.kd import KdConfig, VanillaKd
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import Book
from fibrokd.training.dataset import Batch, TrainingImages
from fibrokd.training.loop import Task, Trainer
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, SupervisedConfig, SupervisedTerm
from fibrokd.training.runtime import Runtime, RuntimeConfig
from fibrokd.training.settings import TrainConfig
from fibrokd.training.signals import TeacherSignal
from fibrokd.training.teachers import LiveTeacher, TeacherSource

BATCH, BATCHES = 32, 4
TEACHER = "resnet50"
COMPARED_STEPS = 3  # after more, rounding grows into differences that mean nothing
_START = Moment(0, 1)


class AsOurs(nn.Module):
    """One of the common networks, answering as the loop expects; it hands out no pooled vector.

    Args:
        network: Takes images [B, 1, S, S], returns logits [B, K].
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, taps: Collection[str] = ()) -> Outputs:
        """Return the logits."""
        del taps
        return Outputs(self.network(images), images.new_empty((len(images), 0)), {})


def objective() -> VanillaKd:
    """Make fibrokd's objective with the coefficients of both sides; all stages weigh alike."""
    supervised = SupervisedTerm(
        SupervisedConfig(label_smoothing=common.SMOOTHING, class_weights="none"), torch.ones(STAGES)
    )
    return VanillaKd(KdConfig(alpha=common.ALPHA, kd_temperature=common.TEMPERATURE), supervised)


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


class Peer:
    """The other environment: a process that waits for questions.

    Args:
        python: Interpreter with torchdistill.
        material: File to read.

    Raises:
        SystemExit: The process ended; its own message stands above.
    """

    def __init__(self, python: Path, material: Path) -> None:
        script = Path(common.__file__)
        self.process = subprocess.Popen(
            [str(python), str(script), str(material)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.losses: dict[str, list[float]] = {}
        self.facts = self._answer()

    def go(self, name: str, steps: int) -> None:
        """Let the process take steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {steps}\n")
        self.process.stdin.flush()
        self.losses[name] = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise SystemExit(f"The peer ended ({self.process.returncode}): expected a Python with torchdistill.")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def apart(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the largest difference, relative where the second exceeds 1."""
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(ours, theirs, strict=True))


def beside(
    peer: Peer, material: dict[str, Any], live: common.Walk[Batch], seconds: Mapping[str, list[float]]
) -> dict[str, Any]:
    """Return what only both sides together tell."""
    first, theirs = slice(COMPARED_STEPS), peer.losses["torchdistill"]
    return {
        "ratio": paired_ratio(seconds, "torchdistill", "live"),
        "ratio_book": paired_ratio(seconds, "torchdistill", "book"),
        "ratio_environments": paired_ratio(seconds, "plain_there", "plain_here"),
        "loss_difference": apart(our_losses(material), peer.facts["losses"]),
        "step_differences": [apart([a], [b]) for a, b in zip(live.losses[first], theirs[first], strict=True)],
        "versions_there": peer.facts["versions"],
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Time all variants in turn.

    Args:
        options: See ``main``.
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
        with closing(Peer(options.peer, folder / "material.pt")) as peer:
            # In order: what is compared stands side by side.
            there: dict[str, Callable[[], object]] = {
                "plain_there": lambda: peer.go("plain", steps),
                "torchdistill": lambda: peer.go("torchdistill", steps),
            }
            seconds = interleaved({"plain_here": turns["plain_here"], **there, **turns}, options.repeats)
        found = beside(peer, material, live, seconds)
    else:
        seconds = interleaved(turns, options.repeats)
    return {
        **found,
        "live_over_plain": paired_ratio(seconds, "live", "plain_here"),
        "live_over_book": paired_ratio(seconds, "live", "book"),
        "milliseconds_per_step": {n: round(statistics.median(s) / steps * 1000, 1) for n, s in seconds.items()},
        "versions_here": common.versions("torchvision"),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="python in which torchdistill is installed")
    parser.add_argument("--student", choices=("resnet18", "mobilenet_v3_small"), default="resnet18")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=12, help="turns that are counted")
    parser.add_argument("--steps", type=int, default=3, help="steps of a turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-format", choices=tuple(common.LAYOUTS), default="nchw", help="of both sides")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    settings = {key: value for key, value in vars(options).items() if key != "peer"}
    print(json.dumps({**found, "settings": settings | {"batch": BATCH, "teacher": TEACHER}}))


if __name__ == "__main__":
    main()
