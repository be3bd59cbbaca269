"""The peer of ``benchmarks.peers``: torchdistill's distillation box and its KDLoss. Imports no fibrokd.

    PYTHON -m benchmarks.peers.torchdistill_side MATERIAL.pt

PYTHON is any interpreter in which torchdistill can be imported; it is no dependency of fibrokd. Networks, loss
coefficients and optimiser are defined here once and imported by the other side, so that both do the same work; weights
and batches come from MATERIAL. Every line on standard input asks for something (``torchdistill N`` or ``plain N``: take
N steps) and is answered by one line of JSON; ``plain`` is a loop written out by hand, which shows whether the two
environments are equally fast.

Conventions differ: torchdistill's alpha multiplies the cross-entropy and 1 - alpha the distillation term; fibrokd's
multiplies the distillation term. Both multiply that term by T² and average it over the batch.

Shape letters: M batches, B batch, S side, K stages.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

T = TypeVar("T")

STAGES = 5
ALPHA, TEMPERATURE, SMOOTHING = 0.6, 3.0, 0.1  # ALPHA in fibrokd's sense: the share of the distillation term
SGD: dict[str, float] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}

Pair = tuple[Tensor, Tensor]
"""Images [B, 1, S, S] and their stages [B]."""


class Grey(nn.Module):
    """A torchvision network for grey levels, with random weights.

    Args:
        name: Name in torchvision.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        models: Any = import_module("torchvision.models")  # ships no types
        self.body = models.get_model(name, weights=None, num_classes=STAGES)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits [B, K] of images [B, 1, S, S]."""
        logits: Tensor = self.body(images.expand(-1, 3, -1, -1))
        return logits


def sgd(network: nn.Module) -> torch.optim.SGD:
    """Make the optimiser of both sides."""
    return torch.optim.SGD(network.parameters(), SGD["lr"], SGD["momentum"], weight_decay=SGD["weight_decay"])


def networks(material: dict[str, Any]) -> tuple[Grey, Grey]:
    """Make student and teacher with the weights of the material; the teacher frozen and in eval mode."""
    student, teacher = Grey(material["student_name"]), Grey(material["teacher_name"])
    student.load_state_dict(material["student"])
    teacher.load_state_dict(material["teacher"])
    layout = LAYOUTS[material["memory_format"]]
    teacher.eval().requires_grad_(False)
    return student.train().to(memory_format=layout), teacher.to(memory_format=layout)


def plain(material: dict[str, Any]) -> Callable[[Pair], float]:
    """Make the step that is written out by hand."""
    student, teacher = networks(material)
    optimizer = sgd(student)

    def step(pair: Pair) -> float:
        images, stages = pair
        with torch.no_grad():
            answer = teacher(images)
        logits = student(images)
        log_p, target = F.log_softmax(logits / TEMPERATURE, 1), F.softmax(answer / TEMPERATURE, 1)
        soft = F.kl_div(log_p, target, reduction="batchmean")
        hard = F.cross_entropy(logits, stages, label_smoothing=SMOOTHING)
        loss = ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * hard
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    return step


def distillation_box(student: nn.Module, teacher: nn.Module, settings: dict[str, Any]) -> Any:
    """Make torchdistill's box with the common loss.

    Args:
        student: What is trained; in training mode from the first epoch on.
        teacher: Frozen, in eval mode.
        settings: The optimiser, the schedule and the number of epochs, as a configuration of torchdistill names them.
    """
    config = {
        "num_epochs": 1,
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only"},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": KD_LOSS}, "weight": 1.0}}},
        },
        **settings,
    }
    make = import_module("torchdistill.core.distillation").get_distillation_box
    return make(teacher, student, {}, config, torch.device("cpu"), None, False, 1)


def peer(material: dict[str, Any]) -> Callable[[Pair], float]:
    """Make the step of torchdistill's distillation box, as its image classification example takes it."""
    student, teacher = networks(material)
    box = distillation_box(student, teacher, {"optimizer": {"key": "SGD", "kwargs": dict(SGD)}})
    box.pre_epoch_process(epoch=0)

    def step(pair: Pair) -> float:
        loss = box.forward_process(*pair, None)
        box.post_forward_process(loss=loss)
        return float(loss.item())

    return step


KD_LOSS: dict[str, Any] = {
    "student_module_path": ".",
    "student_module_io": "output",
    "teacher_module_path": ".",
    "teacher_module_io": "output",
    "temperature": TEMPERATURE,
    "alpha": 1 - ALPHA,
    "label_smoothing": SMOOTHING,
}
"""Arguments of torchdistill's KDLoss; the last one goes on to the cross-entropy."""


def losses(material: dict[str, Any]) -> list[float]:
    """Return KDLoss of every set of logits of the material."""
    criterion = import_module("torchdistill.losses.mid_level").KDLoss(**KD_LOSS)
    sets = zip(material["student_logits"], material["teacher_logits"], material["logit_stages"], strict=True)
    return [
        float(criterion({".": {"output": student}}, {".": {"output": teacher}}, stages))
        for student, teacher, stages in sets
    ]


class Walk(Generic[T]):
    """Takes steps over batches, round and round.

    Args:
        step: What is done with a batch; returns the loss.
        batches: What it is done with.

    Attributes:
        losses: Of all steps so far.
    """

    def __init__(self, step: Callable[[T], float], batches: Sequence[T]) -> None:
        self.step, self.batches = step, batches
        self.losses: list[float] = []

    def go(self, steps: int) -> None:
        """Take ``steps`` steps."""
        for _ in range(steps):
            number = len(self.losses)
            torch.manual_seed(number)  # dropout, where the student has it
            self.losses.append(self.step(self.batches[number % len(self.batches)]))


def pairs(material: dict[str, Any]) -> list[Pair]:
    """Return the batches of the material, [M, B, 1, S, S] and [M, B], one by one."""
    layout = LAYOUTS[material["memory_format"]]
    batches = zip(material["images"], material["stages"], strict=True)
    return [(images.contiguous(memory_format=layout), stages) for images, stages in batches]


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages."""
    metadata = import_module("importlib.metadata")
    return {"torch": torch.__version__, **{package: metadata.version(package) for package in packages}}


def serve(facts: dict[str, Any], answer: Callable[[str, int], Any]) -> None:
    """Tell facts, then answer every line on standard input, ``NAME`` or ``NAME NUMBER``, until it ends."""
    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        name, _, number = line.strip().partition(" ")
        print(json.dumps(answer(name, int(number or 0))), flush=True)


def main() -> None:
    """Answer until standard input ends."""
    logging.disable(logging.INFO)
    material = torch.load(Path(sys.argv[1]), weights_only=True)
    torch.set_num_threads(material["threads"])
    batches = pairs(material)
    walks = {"torchdistill": Walk(peer(material), batches), "plain": Walk(plain(material), batches)}

    def answer(name: str, steps: int) -> list[float]:
        walks[name].go(steps)
        return walks[name].losses

    serve({"versions": versions("torchvision", "torchdistill"), "losses": losses(material)}, answer)


if __name__ == "__main__":
    main()
