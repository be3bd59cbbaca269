"""Whole trainings by torchdistill's distillation box (``--training``). Imports no fibrokd.

    PYTHON -m benchmarks.peers.there FOLDER

FOLDER holds ``material.pt`` (weights, settings, stages and random seeds) and ``views.u8``, the bytes of all augmented
pictures in the order in which they are read: making them costs this side nothing. ``student K`` on standard input
trains student K under the live teacher; ``memory`` asks for the peak of this process.

Shape letters: B batch, N pictures, S side, K stages.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.common import MATERIAL, VIEWS, fresh, peak_mb, weights_digest
from benchmarks.peers.torchdistill_side import LAYOUTS, Grey, Pair, distillation_box, serve, versions

ANSWERED = 64
"""Pictures per forward pass where nothing is trained."""


class There:
    """torchdistill's side.

    Args:
        folder: Holds the material and the views.

    Attributes:
        material: What the other side wrote down for both.
        teacher: Frozen and in eval mode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.material: dict[str, Any] = torch.load(folder / MATERIAL, weights_only=True)
        self.layout = LAYOUTS[self.material["memory_format"]]
        torch.set_num_threads(self.material["threads"])
        self.teacher = fresh(self.material["teacher_name"], 0)
        self.teacher.load_state_dict(self.material["teacher"])
        self.teacher.eval().requires_grad_(False).to(memory_format=self.layout)

    def student(self, number: int) -> dict[str, Any]:
        """Train one student whole and let it answer the test pictures (which is not in its seconds)."""
        network = fresh(self.material["student_name"], 0)
        network.load_state_dict(self.material["students"][number])
        start = weights_digest(network)
        network.to(memory_format=self.layout)
        started = time.perf_counter()
        losses = self._train(network, self.material["seeds"][number])
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "start": start, "losses": losses, "logits": self._test(network)}

    def first_answers(self) -> list[list[float]]:
        """Return the teacher's logits for the first batch, [B, K]."""
        images, _ = next(self.batches(0))
        return self._answers(self.teacher, images)

    def batches(self, epoch: int) -> Iterator[Pair]:
        """Yield the batches of one epoch as the views file holds them."""
        sizes, side = self.material["batches"], self.material["side"]
        row = epoch * sum(sizes)
        with (self.folder / VIEWS).open("rb") as file:
            file.seek(row * side * side)
            for size in sizes:
                stages = self.material["stages"][row : row + size]
                pixels = np.frombuffer(file.read(size * side * side), np.uint8).reshape(size, 1, side, side)
                yield self._images(pixels), stages
                row += size

    def _train(self, network: Grey, seeds: list[int]) -> list[float]:
        """Return the mean loss of every epoch."""
        epochs, steps = self.material["epochs"], len(self.material["batches"])
        box = distillation_box(network, self.teacher, self._settings(epochs * steps))
        means: list[float] = []
        started = time.perf_counter()
        for epoch in range(epochs):
            box.pre_epoch_process(epoch=epoch)
            losses: list[float] = []
            for seed, pair in zip(seeds[epoch * steps : (epoch + 1) * steps], self.batches(epoch), strict=True):
                torch.manual_seed(seed)  # dropout, the same as on the other side
                with self._computing():
                    loss = box.forward_process(*pair, None)
                box.post_forward_process(loss=loss)
                losses.append(loss.item())
            box.post_epoch_process()
            means.append(sum(losses) / steps)
            left = (time.perf_counter() - started) / (epoch + 1) * (epochs - epoch - 1)
            print(
                f"  torchdistill epoch {epoch + 1}/{epochs}: loss {means[-1]:.3f}, {left:.0f} s left", file=sys.stderr
            )
        return means

    def _settings(self, steps: int) -> dict[str, Any]:
        """Optimiser and schedule, in torchdistill's words; those of the other side are in ``here``."""
        rate = self.material["learning_rate"]
        return {
            "num_epochs": self.material["epochs"],
            "optimizer": {
                "key": "AdamW",
                "kwargs": {"lr": rate, "weight_decay": 0.0, "fused": True},
                "max_grad_norm": self.material["gradient_clip"],
            },
            "scheduler": {
                "key": "OneCycleLR",
                "kwargs": {
                    "max_lr": rate,
                    "total_steps": steps,
                    "pct_start": self.material["warm_up"],
                    "cycle_momentum": False,
                },
                "scheduling_step": 1,
            },
        }

    def _test(self, network: Grey) -> list[list[float]]:
        network.eval()
        pixels = self.material["test"].numpy()[:, None]
        parts = [self._images(pixels[k : k + ANSWERED]) for k in range(0, len(pixels), ANSWERED)]
        return [row for part in parts for row in self._answers(network, part)]

    @torch.no_grad()
    def _answers(self, network: Grey, images: Tensor) -> list[list[float]]:
        with self._computing():
            logits: list[list[float]] = network(images).float().tolist()
        return logits

    def _images(self, pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(pixels.astype(np.float32) / np.float32(255)).contiguous(memory_format=self.layout)

    def _computing(self) -> torch.autocast:
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.material["precision"] == "bf16")


def main() -> None:
    """Answer until standard input ends."""
    logging.disable(logging.INFO)
    there = There(Path(sys.argv[1]))

    def answer(name: str, number: int) -> Any:
        return peak_mb() if name == "memory" else there.student(number)

    serve({"versions": versions("torchvision", "torchdistill"), "first_answers": there.first_answers()}, answer)


if __name__ == "__main__":
    main()
