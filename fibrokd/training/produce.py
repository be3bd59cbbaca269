"""From a task to a finished network folder: what teaching and distilling have in common.

Trains, puts the best weights into ``weights.safetensors`` with their card, and never writes anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.loop import Task, fit
from fibrokd.training.networks import StagingNetwork, save_network
from fibrokd.training.objective import Objective, SupervisedConfig, SupervisedTerm, class_weights
from fibrokd.training.runtime import accelerator
from fibrokd.training.settings import TrainConfig
from fibrokd.training.teachers import TeacherSource

OUTPUTS = ("card.json", "metrics.jsonl", "weights.safetensors")
"""Files of a network folder that enter its digest."""


@dataclass(frozen=True)
class Lesson:
    """One network to be trained.

    Args:
        role: ``teacher`` or ``student``.
        network: Freshly built network.
        objective: Loss.
        teacher: Source of teacher signals, or None.
        images: Training images and their views.
        facts: What the card should say beyond what the training itself knows.
    """

    role: str
    network: StagingNetwork
    objective: Objective
    teacher: TeacherSource | None
    images: TrainingImages
    facts: Mapping[str, Any]


def produce_network(folder: Path, prepared: Prepared, lesson: Lesson, config: TrainConfig) -> dict[str, Any]:
    """Train a network and write it to ``folder``; resumes what is there.

    Args:
        folder: Run folder.
        prepared: Data; validation rows select the best epoch.
        lesson: What to train.
        config: Budget and optimiser.

    Returns:
        The card that was written.
    """
    rows = prepared.rows("val")
    task = Task(
        name=folder.name,
        network=lesson.network,
        objective=lesson.objective,
        teacher=lesson.teacher,
        images=lesson.images,
        val_pixels=prepared.pixels[rows],
        val_stages=prepared.stages[rows],
    )
    progress, runtime = fit(task, config, folder)
    best = progress.history[progress.best_epoch - 1]
    card = {
        "role": lesson.role,
        "stages": list(prepared.scale.names),
        "preprocess": prepared.preprocess.as_json(),
        "runtime": runtime.as_json(),
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "validation": {"macro_f1": best["val_macro_f1"], "balanced_accuracy": best["val_balanced_accuracy"]},
        "training_images": len(lesson.images),
        "seed": config.seed,
        "stamp": prepared.stamp,
        **lesson.facts,
    }
    if accelerator().is_main_process:
        save_network(folder, lesson.network, card)
    accelerator().wait_for_everyone()
    return card


def supervised_term(prepared: Prepared, config: SupervisedConfig) -> SupervisedTerm:
    """Return the shared supervised term with class weights from the training split alone."""
    stages = prepared.stages[prepared.rows("train")]
    return SupervisedTerm(config, class_weights(stages, len(prepared.scale), config.class_weights))


def refuse_unfit(prepared: Prepared) -> None:
    """Refuse to train on data whose integrity verdict is ``unfit``, unless that was accepted when it was prepared.

    Raises:
        TrainingError: The verdict is ``unfit`` and was not accepted.
    """
    if prepared.stamp["verdict"] == "unfit" and not prepared.stamp["accepted_unfit"]:
        raise TrainingError(
            f"Expected data that is fit for staging, found {prepared.folder} judged unfit: "
            f"{'; '.join(prepared.stamp['reasons'][:2])}",
            "Read its integrity.html. To train all the same, prepare with accept_unfit: true; every later table, "
            "report and bundle will carry the verdict.",
        )
