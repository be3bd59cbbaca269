"""The only fit(). Owns optimiser, learning rate, early stopping, averaging and exact resume.

Knows no distillation method: an objective gives weighted per-sample terms, the loop reduces them over the global
batch. Model selection looks at validation macro-F1 of single centre views, never at training loss and never at
augmented copies.

Shape letters: B batch, N images, K stages, S side.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from jaxtyping import Int, UInt8
from safetensors.torch import load_file, save_file
from sklearn.metrics import balanced_accuracy_score, f1_score
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from fibrokd.errors import TrainingError
from fibrokd.files import atomic_path, write_text
from fibrokd.progress import say, track
from fibrokd.training.checkpoint import load_checkpoint, save_checkpoint
from fibrokd.training.dataset import Batch, TrainingImages, prefetch
from fibrokd.training.networks import StagingNetwork
from fibrokd.training.objective import Objective, Term
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime, accelerator, resolve, seed_step
from fibrokd.training.settings import TrainConfig, build_schedule
from fibrokd.training.teachers import TeacherSource


@dataclass(frozen=True)
class Task:
    """What is to be trained on what.

    Args:
        name: Name for progress lines.
        network: Freshly built network.
        objective: Loss.
        teacher: Source of teacher signals, or None.
        images: Training images and their views.
        val_pixels: Validation frames, [N, S, S].
        val_stages: Their stages, [N].
    """

    name: str
    network: StagingNetwork
    objective: Objective
    teacher: TeacherSource | None
    images: TrainingImages
    val_pixels: UInt8[np.ndarray, "N S S"]
    val_stages: Int[np.ndarray, " N"]


@dataclass
class Progress:
    """Where a run stands after its last finished epoch; stored in every checkpoint."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(task: Task, config: TrainConfig, folder: Path) -> tuple[Progress, Runtime]:
    """Train ``task.network`` in place and leave its best weights in it.

    Writes ``runtime.json``, ``metrics.jsonl`` and ``checkpoints/`` into ``folder``. Started again on the same folder
    it goes on after the last finished epoch and ends with the same weights, bit for bit on a CPU.

    Args:
        task: Network, objective, teacher and data.
        config: Budget and optimiser.
        folder: Run folder.

    Returns:
        What happened by epoch, and the precision and memory format that were used.

    Raises:
        TrainingError: The loss is not finite, or a checkpoint does not fit.
    """
    run = Trainer(task, config, folder)
    run.resume()
    while run.unfinished():
        started = time.perf_counter()
        entry = run.train_epoch()
        entry.update(run.validate())
        run.conclude_epoch(entry)
        rate = len(task.images) / (time.perf_counter() - started)
        run.narrate(entry, rate)
    run.load_best()
    return run.progress, run.runtime


class Trainer:
    """The parts of one fit(): network, average, optimiser, schedule and progress on one device.

    Args:
        task: Network, objective, teacher and data.
        config: Budget and optimiser.
        folder: Run folder; ``runtime.json`` is written into it at once, the rest after every epoch.
    """

    def __init__(self, task: Task, config: TrainConfig, folder: Path) -> None:
        self.task, self.config, self.folder = task, config, folder
        self.accelerator = accelerator()
        device = self.accelerator.device
        self.steps = task.images.steps(config.batch_size)
        if len(task.images) // self.steps < self.world:
            raise TrainingError(
                f"Expected every process to get an image of every batch, found {self.world} processes for batches of "
                f"{len(task.images) // self.steps}.",
                "Raise `batch_size`, or start fewer processes.",
            )
        probe = next(task.images.batches(0, config.batch_size)).images
        if self.accelerator.is_main_process:
            resolve(config.runtime, task.network, probe, folder / "runtime.json", device)
        self.accelerator.wait_for_everyone()
        self.runtime, _ = resolve(config.runtime, task.network, probe, folder / "runtime.json", device)
        self.network = task.network.to(device).to(memory_format=self.runtime.layout)
        decay = config.average_decay
        self.average = ModelEmaV3(self.network, decay=decay, use_warmup=True) if decay else None
        groups = param_groups_weight_decay(self.network, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.schedule = build_schedule(config, self.optimizer, self.steps)
        self.wrapped = self.accelerator.prepare_model(self.network) if self.world > 1 else self.network
        self.progress = Progress()

    @property
    def world(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return {"network": self.network} | ({} if self.average is None else {"average": self.average.module})

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        path = self.folder / "checkpoints" / "last.safetensors"
        if path.exists():
            state = load_checkpoint(path, self._networks, self.optimizer)
            self.schedule.load_state_dict(state["schedule"])
            self.progress = Progress(**state["progress"])
            if self.accelerator.is_main_process:
                say(f"  {self.task.name}: going on after epoch {self.progress.epoch}")

    def unfinished(self) -> bool:
        """Whether budget and early stopping leave anything to do."""
        p, c = self.progress, self.config
        patience = c.early_stopping
        stale = patience is not None and p.epoch - p.best_epoch >= patience and p.epoch >= c.min_epochs
        return p.epoch < c.epochs and not (stale and p.epoch > 0)

    def train_epoch(self) -> dict[str, Any]:
        """Train one epoch and return its mean losses."""
        epoch, c = self.progress.epoch, self.config
        self.wrapped.train()
        if c.freeze_batch_norm:
            freeze_batch_norm(self.network)
        batches = self.task.images.batches(epoch, c.batch_size, self.accelerator.process_index, self.world)
        sums: dict[str, float] = {}
        what = f"{self.task.name} epoch {epoch + 1}/{c.epochs}"
        for step, batch in enumerate(track(prefetch(batches), what, self.steps, "steps", summary=False)):
            seed_step(c.seed, epoch, step, self.accelerator.process_index)
            for name, value in self.step(batch, (epoch + step / self.steps) / c.epochs).items():
                sums[name] = sums.get(name, 0.0) + value / self.steps
            if isinstance(self.schedule, OneCycleLR):
                self.schedule.step()
            if self.average is not None:
                self.average.update(self.network, step=epoch * self.steps + step)
        if self.world > 1:  # each process saw its own part of every batch
            means = self.accelerator.reduce(torch.tensor(list(sums.values()), dtype=torch.float64), reduction="mean")
            sums = dict(zip(sums, means.tolist(), strict=True))
        loss = sums.pop("loss")
        return {"epoch": epoch + 1, "train_loss": loss, "terms": sums}

    def step(self, batch: Batch, progress: float) -> dict[str, float]:
        """Take one optimiser step and return the loss and its parts before coefficients.

        Raises:
            TrainingError: The loss is not finite.
        """
        device = self.accelerator.device
        batch = batch.to(device, self.runtime.layout)
        signal = None if self.task.teacher is None else self.task.teacher.signal(batch)
        with self.runtime.computing(device):
            outputs = self.wrapped(batch.images)
        terms = self.task.objective(outputs, signal, batch, progress)
        loss, parts = self._reduce(terms)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss of {self.task.name} became {loss.item()} ({parts}).",
                "Lower the learning rate, or set runtime.precision to fp32.",
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        if self.config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        return {"loss": loss.item()} | parts

    def _reduce(self, terms: Mapping[str, Term]) -> tuple[Tensor, dict[str, float]]:
        """Weighted means over the global batch; gradients of processes are averaged, hence the factor ``world``."""
        sums = torch.stack([term.weights.sum() for term in terms.values()])
        if self.world > 1:
            sums = self.accelerator.reduce(sums, reduction="sum")
        reduced = [
            self.world * (term.weights * term.values).sum() / total.clamp_min(1e-12)
            for term, total in zip(terms.values(), sums, strict=True)
        ]
        loss = torch.stack([t.coefficient * r for t, r in zip(terms.values(), reduced, strict=True)]).sum()
        return loss, {name: value.item() for name, value in zip(terms, reduced, strict=True)}

    def validate(self) -> dict[str, float]:
        """Score the kept network on single centre views of the validation images."""
        logits = predict(self.kept, self.task.val_pixels, self.runtime, self.accelerator.device)
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
        entry["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        p.epoch += 1
        p.history.append(entry)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(entry["val_macro_f1"])
        better = entry["val_macro_f1"] > p.best_score or self.config.keep == "last"
        if better:
            p.best_epoch, p.best_score = p.epoch, entry["val_macro_f1"]
        if self.accelerator.is_main_process:
            self._save(better)
        self.accelerator.wait_for_everyone()

    def _save(self, better: bool) -> None:
        """Write the best weights before the checkpoint that counts on them: a kill in between repeats the epoch."""
        checkpoints = self.folder / "checkpoints"
        if better:
            with atomic_path(checkpoints / "best.safetensors") as temporary:
                state = self.kept.state_dict()
                save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, temporary)
        lines = [json.dumps(entry) for entry in self.progress.history]
        write_text(self.folder / "metrics.jsonl", "\n".join(lines) + "\n")
        state = {"schedule": _plain(self.schedule.state_dict()), "progress": vars(self.progress)}
        save_checkpoint(checkpoints / "last.safetensors", self._networks, self.optimizer, state)

    def load_best(self) -> None:
        """Put the best weights into the network."""
        self.accelerator.wait_for_everyone()
        self.network.load_state_dict(load_file(self.folder / "checkpoints" / "best.safetensors"))

    def narrate(self, entry: Mapping[str, Any], rate: float) -> None:
        """Say how the epoch went."""
        if self.accelerator.is_main_process:
            left = (self.config.epochs - entry["epoch"]) * len(self.task.images) / rate
            say(
                f"  {self.task.name} epoch {entry['epoch']}/{self.config.epochs}: loss {entry['train_loss']:.3f}, "
                f"val macro-F1 {entry['val_macro_f1']:.3f}, {rate:.0f} images/s, at most {left:.0f} s left"
            )


def freeze_batch_norm(network: nn.Module) -> None:
    """Put every batch-norm layer into eval mode: its statistics neither change nor depend on the batch."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what is not data (bound functions) from a scheduler's state."""
    return {name: value for name, value in state.items() if not callable(value)}
