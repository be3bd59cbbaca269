"""Carries a plan out: its phases one after the other, each in a folder of its own, each resumable.

Owns folders, the order of views over phases, and the check that every teacher can give what its objective asks for.
Knows no particular method.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fibrokd.data.prepared import Prepared
from fibrokd.errors import BookError, ConfigError, TrainingError
from fibrokd.files import write_text
from fibrokd.training.companion import Companion
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.ledger import measured_phase
from fibrokd.training.loop import Progress, Task, fit
from fibrokd.training.method import Phase
from fibrokd.training.runtime import Runtime, accelerator

PHASES = "phases"


@dataclass(frozen=True)
class Outcome:
    """What became of a plan.

    Args:
        network: Network of the last phase, with its best weights.
        progress: Progress of the last phase.
        runtime: Precision and memory format.
        phases: Name, epochs and best epoch of every phase.
        companion: Companion of the last phase.
    """

    network: nn.Module
    progress: Progress
    runtime: Runtime
    phases: tuple[dict[str, Any], ...]
    companion: Companion


def carry_out(folder: Path, prepared: Prepared, images: TrainingImages, phases: Iterator[Phase]) -> Outcome:
    """Train the phases of a plan; an interrupted plan goes on where it was.

    Args:
        folder: Run folder; a phase is kept in ``phases/NN_name``, and metrics.jsonl holds the lines of all.
        prepared: Data; validation rows select the best epoch.
        images: Training images of phases that bring none of their own.
        phases: The plan; asked for a phase only when the one before is done.

    Raises:
        ConfigError: A teacher cannot give what the objective asks for.
        BookError: A book ends before the plan does.
        TrainingError: The plan is empty, or names two phases alike.
    """
    rows = prepared.rows("val")
    done: list[dict[str, Any]] = []
    lines: list[str] = []
    networks: list[nn.Module] = []
    outcome: Outcome | None = None
    begun = 0
    for number, phase in enumerate(phases):
        _check(phase, done)
        _check_reach(phase, begun)
        task = Task(
            name=folder.name if phase.name == "train" else f"{folder.name} {phase.name}",
            network=phase.network,
            objective=phase.objective,
            teacher=phase.teacher,
            images=phase.images or images,
            val_pixels=prepared.pixels[rows],
            val_stages=prepared.stages[rows],
            partition=phase.partition,
            companion=phase.companion,
            blind_epochs=phase.blind_epochs,
            first_epoch=begun,
            stop=phase.stop,
        )
        place = folder / PHASES / f"{number:02d}_{phase.name}"
        which = _number(networks, phase.network)
        with measured_phase(folder, phase.name, which) as trained:
            # Each network has its own: what is fastest for an assistant must not decide the student's precision.
            progress, runtime = fit(task, phase.train, place, folder / f"runtime{f'_{which}' if which else ''}.json")
            trained.images = progress.epoch * len(task.images)
        done.append({"name": phase.name, "epochs": progress.epoch, "best_epoch": progress.best_epoch})
        lines += [
            json.dumps({"phase": phase.name, **entry, "epoch": begun + entry["epoch"]}) for entry in progress.history
        ]
        if accelerator().is_main_process:
            write_text(folder / "metrics.jsonl", "\n".join(lines) + "\n")
        outcome = Outcome(phase.network, progress, runtime, tuple(done), phase.companion)
        # Views go on where the budget of the phase ends, wherever early stopping ended it: a resumed plan must agree.
        begun += phase.train.epochs
    if outcome is None:
        raise TrainingError("Expected a plan with a phase, found an empty one.", "Correct the method.")
    return outcome


def _number(networks: list[nn.Module], network: nn.Module) -> int:
    """Return which of the networks of the plan so far this is; a new one is appended."""
    if not any(other is network for other in networks):
        networks.append(network)
    return next(k for k, other in enumerate(networks) if other is network)


def _check(phase: Phase, done: list[dict[str, Any]]) -> None:
    if phase.name in {other["name"] for other in done}:
        raise TrainingError(
            f"Expected every phase to have a name of its own, found {phase.name!r} twice.", "Correct the method."
        )
    caps = phase.teacher.caps if phase.teacher is not None else frozenset[str]()
    missing = sorted(phase.objective.needs - caps)
    if missing:
        source = type(phase.teacher).__name__ if phase.teacher is not None else "no teacher"
        raise ConfigError(
            f"Expected a teacher that gives {', '.join(missing)}, found {source} with "
            f"{', '.join(sorted(caps)) or 'nothing'}.",
            "Give a teacher that answers online, or write a book that stores this.",
        )


def _check_reach(phase: Phase, begun: int) -> None:
    reach = phase.teacher.reach if phase.teacher is not None else None
    end = begun + phase.train.epochs
    if reach is not None and end > reach:
        raise BookError(
            f"Phase {phase.name!r} of the method ends with epoch {end}, the book holds {reach}.",
            "Write a longer book, train fewer epochs, or set `wrap_book: true` to read it again from its start.",
        )
