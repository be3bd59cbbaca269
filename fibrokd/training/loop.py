"""The only fit(). Owns optimiser, learning rate, early stopping, averaging and exact resume.

Knows no distillation method: an objective gives weighted per-sample terms, the loop reduces them over the global
batch. Model selection looks at validation macro-F1 of single centre views, never at training loss and never at
augmented copies.

Shape letters: B batch, N images, K stages, S side.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from jaxtyping import Int, UInt8
from safetensors.torch import load_file, save_file
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from fibrokd.errors import TrainingError
from fibrokd.files import atomic_path, write_text
from fibrokd.progress import say, track
from fibrokd.training.checkpoint import load_checkpoint, read_state, save_checkpoint
from fibrokd.training.companion import Companion, EpochEnd
from fibrokd.training.dataset import Batch, TrainingImages, prefetch
from fibrokd.training.objective import Moment, Objective
from fibrokd.training.parameters import Partition
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime, accelerator, resolve, seed_step
from fibrokd.training.settings import TrainConfig, build_schedule
from fibrokd.training.teachers import TeacherSource
from fibrokd.training.trainee import Trainee


@dataclass(frozen=True)
class Task:
    """What is to be trained on what.

    Args:
        name: Name for progress lines.
        network: What is trained, in place.
        objective: Loss.
        teacher: Source of teacher signals, or None.
        images: Training images and their views.
        val_pixels: Validation frames, [N, S, S].
        val_stages: Their stages, [N].
        partition: Which parameters are trained, and how fast.
        companion: What happens between epochs.
        blind_epochs: First epochs that the plateau schedule does not count.
        first_epoch: Where in the sequence of views and random draws the training begins.
        stop: Ends the training after an epoch whose line in metrics.jsonl it approves of.
    """

    name: str
    network: nn.Module
    objective: Objective
    teacher: TeacherSource | None
    images: TrainingImages
    val_pixels: UInt8[np.ndarray, "N S S"]
    val_stages: Int[np.ndarray, " N"]
    partition: Partition = field(default_factory=Partition)
    companion: Companion = field(default_factory=Companion)
    blind_epochs: int = 0
    first_epoch: int = 0
    stop: Callable[[Mapping[str, Any]], bool] | None = None


@dataclass
class Progress:
    """Where a run stands after its last finished epoch; stored in every checkpoint."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    top_score: float = -1.0  # never falls, while best_score follows what is kept
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(task: Task, config: TrainConfig, folder: Path, runtime_file: Path | None = None) -> tuple[Progress, Runtime]:
    """Train ``task.network`` in place and leave its best weights in it.

    Writes ``metrics.jsonl`` and ``checkpoints/`` into ``folder``. Started again on the same folder it goes on after
    the last finished epoch and ends with the same weights, bit for bit on a CPU.

    Args:
        task: Network, objective, teacher and data.
        config: Budget and optimiser.
        folder: Run folder.
        runtime_file: Remembers precision and memory format; ``runtime.json`` in ``folder`` by default.

    Returns:
        What happened by epoch, and the precision and memory format that were used.

    Raises:
        TrainingError: The loss is not finite, or a checkpoint does not fit.
    """
    run = Trainer(task, config, folder, runtime_file or folder / "runtime.json")
    run.resume()
    while run.unfinished():
        started = time.perf_counter()
        entry = run.train_epoch()
        if run.validation_is_due():
            entry.update(run.validate())
        run.conclude_epoch(entry)
        rate = len(task.images) / (time.perf_counter() - started)
        run.narrate(entry, rate)
    run.load_best()
    return run.progress, run.runtime


class Trainer:
    """The parts of one fit(): trainee, schedule and progress on one device.

    Args:
        task: Network, objective, teacher and data.
        config: Budget and optimiser.
        folder: Run folder; written after every epoch.
        runtime_file: Written at once.
    """

    def __init__(self, task: Task, config: TrainConfig, folder: Path, runtime_file: Path) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.accelerator = accelerator()
        device = self.accelerator.device
        self.steps = task.images.steps(config.batch_size)
        images = len(task.images.stages) // self.steps
        if images < self.world:
            raise TrainingError(
                f"Expected every process to get an image of every batch, found {self.world} processes for batches of "
                f"{images}.",
                "Raise `batch_size`, or start fewer processes.",
            )
        probe = next(task.images.batches(0, config.batch_size)).images
        if self.accelerator.is_main_process:
            resolve(config.runtime, task.network, probe, runtime_file, device)
        self.accelerator.wait_for_everyone()
        self.runtime, _ = resolve(config.runtime, task.network, probe, runtime_file, device)
        self.checkpoint = folder / "checkpoints" / "last.safetensors"
        if self.checkpoint.exists():
            task.companion.restore(read_state(self.checkpoint)["companion"], task.network)
        for module in task.companion.modules().values():
            module.to(device)
        self.trainee = Trainee(task.name, task.network, task.objective, task.partition, config, self.runtime)
        self.schedule = build_schedule(config, self.trainee.optimizer, self.steps)
        self.progress = Progress()

    @property
    def world(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def _networks(self) -> dict[str, nn.Module]:
        companion = {f"companion.{name}": module for name, module in self.task.companion.modules().items()}
        return {**self.trainee.networks, **companion}

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        if self.checkpoint.exists():
            state = load_checkpoint(self.checkpoint, self._networks, self.trainee.optimizer)
            self.schedule.load_state_dict(state["schedule"])
            self.progress = Progress(**state["progress"])
            if self.accelerator.is_main_process:
                say(f"  {self.task.name}: going on after epoch {self.progress.epoch}")

    def unfinished(self) -> bool:
        """Whether budget and early stopping leave anything to do."""
        p, c = self.progress, self.config
        patience = c.early_stopping
        stale = patience is not None and p.epoch - p.best_epoch >= patience and p.epoch >= c.min_epochs
        stopped = self.task.stop is not None and bool(p.history) and self.task.stop(p.history[-1])
        return p.epoch < c.epochs and not (stale and p.epoch > 0) and not stopped

    def train_epoch(self) -> dict[str, Any]:
        """Train one epoch and return its mean losses."""
        epoch, c = self.progress.epoch, self.config
        self.trainee.set_modes()
        seen = self.task.first_epoch + epoch
        batches = self.task.images.batches(seen, c.batch_size, self.accelerator.process_index, self.world)
        sums: dict[str, float] = {}
        what = f"{self.task.name} epoch {epoch + 1}/{c.epochs}"
        for step, batch in enumerate(track(prefetch(batches), what, self.steps, "steps", summary=False)):
            seed_step(c.seed, seen, step, self.accelerator.process_index)
            for name, value in self.step(batch, Moment(epoch, c.epochs, step / self.steps)).items():
                sums[name] = sums.get(name, 0.0) + value / self.steps
            if isinstance(self.schedule, OneCycleLR):
                self.schedule.step()
            self.trainee.follow(epoch * self.steps + step)
        if self.world > 1:  # each process saw its own part of every batch
            means = self.accelerator.reduce(torch.tensor(list(sums.values()), dtype=torch.float64), reduction="mean")
            sums = dict(zip(sums, means.tolist(), strict=True))
        loss = sums.pop("loss")
        return {"epoch": epoch + 1, "train_loss": loss, "terms": sums}

    def step(self, batch: Batch, moment: Moment) -> dict[str, float]:
        """Let the teacher answer, take one optimiser step, and return the loss and its parts before coefficients."""
        batch = batch.to(self.accelerator.device, self.runtime.layout)
        teacher = self.task.teacher
        signal = None if teacher is None else teacher.signal(batch, self.task.objective.needs)
        return self.trainee.step(batch, signal, moment)

    def validation_is_due(self) -> bool:
        """Whether the validation images are to be looked at after the epoch that has just been trained."""
        epoch, every = self.progress.epoch + 1, self.config.validate_every
        waited_for = self.task.stop is not None or self.task.companion.heeds_validation
        return waited_for or epoch % every == 0 or epoch == self.config.epochs

    def validate(self) -> dict[str, float]:
        """Score the kept network on single centre views of the validation images."""
        logits = predict(self.trainee.kept, self.task.val_pixels, self.runtime, self.accelerator.device)
        truth, answer = self.task.val_stages, logits.argmax(1)
        scores = [
            f1_score(truth, answer, average="macro", labels=np.unique(truth), zero_division=0),
            balanced_accuracy_score(truth, answer),
        ]
        if self.world > 1:  # batch statistics differ between processes; the first one decides for all
            broadcast_object_list(scores)
        return {"val_macro_f1": float(scores[0]), "val_balanced_accuracy": float(scores[1])}

    def conclude_epoch(self, entry: dict[str, Any]) -> None:
        """Count the epoch, adapt the learning rate and write the checkpoint."""
        p = self.progress
        entry["learning_rate"] = self.trainee.optimizer.param_groups[0]["lr"]
        p.epoch += 1
        p.history.append(entry)
        if isinstance(self.schedule, ReduceLROnPlateau) and p.epoch > self.task.blind_epochs:
            self.schedule.step(entry["val_macro_f1"])
        score = entry.get("val_macro_f1", -1.0)
        better = score > p.best_score or self.config.keep == "last"
        if better:
            p.best_epoch, p.best_score = p.epoch, score
        improved = score > p.top_score
        p.top_score = max(p.top_score, score)
        entry.update(self._accompany(improved))
        if self.accelerator.is_main_process:
            self._save(better)
        self.accelerator.wait_for_everyone()

    def _accompany(self, improved: bool) -> dict[str, float]:
        """Let the companion act; the checkpoint that follows holds what it did."""
        c = self.config
        end = EpochEnd(
            network=self.trainee.network,
            kept=self.trainee.kept,
            optimizer=self.trainee.optimizer,
            images=self.task.images,
            epoch=self.progress.epoch,
            epochs=c.epochs,
            better=improved,
            runtime=self.runtime,
            device=self.accelerator.device,
        )
        return self.task.companion.after_epoch(end)

    def _save(self, better: bool) -> None:
        """Write the best weights before the checkpoint that counts on them: a kill in between repeats the epoch."""
        checkpoints = self.folder / "checkpoints"
        if better:
            with atomic_path(checkpoints / "best.safetensors") as temporary:
                state = self.trainee.kept.state_dict()
                save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, temporary)
        lines = [json.dumps(entry) for entry in self.progress.history]
        write_text(self.folder / "metrics.jsonl", "\n".join(lines) + "\n")
        state = {
            "schedule": _plain(self.schedule.state_dict()),
            "progress": vars(self.progress),
            "companion": self.task.companion.state(),
        }
        save_checkpoint(self.checkpoint, self._networks, self.trainee.optimizer, state)

    def load_best(self) -> None:
        """Put the best weights into the network."""
        self.accelerator.wait_for_everyone()
        self.trainee.network.load_state_dict(load_file(self.folder / "checkpoints" / "best.safetensors"))

    def narrate(self, entry: Mapping[str, Any], rate: float) -> None:
        """Say how the epoch went."""
        if self.accelerator.is_main_process:
            left = (self.config.epochs - entry["epoch"]) * len(self.task.images) / rate
            score = f"val macro-F1 {entry['val_macro_f1']:.3f}, " if "val_macro_f1" in entry else ""
            say(
                f"  {self.task.name} epoch {entry['epoch']}/{self.config.epochs}: loss {entry['train_loss']:.3f}, "
                f"{score}{rate:.0f} images/s, at most {left:.0f} s left"
            )


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is not data (bound functions) from a scheduler's state."""
    return {name: value for name, value in state.items() if not callable(value)}
