"""From a task to a finished network folder: what teaching and distilling have in common.

Trains, puts the best weights into ``weights.safetensors`` with their card, and never writes anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError
from fibrokd.training.carry_out import carry_out
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.findings import Reporter, Validation
from fibrokd.training.method import Phase
from fibrokd.training.networks import save_network
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm, class_weights
from fibrokd.training.runtime import accelerator

OUTPUTS = ("card.json", "metrics.jsonl", "weights.safetensors")
"""Files of a network folder that enter its digest."""


@dataclass(frozen=True)
class Lesson:
    """One network to be trained.

    Args:
        role: ``teacher`` or ``student``.
        backbone: Key of BACKBONES that it is made of.
        phases: How it is trained.
        images: Training images and their views.
        facts: What the card should say beyond what the training itself knows.
        export: From the trained network to what is kept.
        describe: From the trained network, before ``export``, to what the card should say of it.
    """

    role: str
    backbone: str
    phases: Iterator[Phase]
    images: TrainingImages
    facts: Mapping[str, Any]
    export: Callable[[nn.Module], nn.Module] = lambda network: network
    describe: Callable[[nn.Module], Mapping[str, Any]] = lambda _: {}


def produce_network(folder: Path, prepared: Prepared, lesson: Lesson, seed: int) -> dict[str, Any]:
    """Train a network and write it to ``folder``; resumes what is there.

    Args:
        folder: Run folder.
        prepared: Data; validation rows select the best epoch.
        lesson: What to train.
        seed: Seed of the training, for the card.

    Returns:
        The card that was written.
    """
    outcome = carry_out(folder, prepared, lesson.images, lesson.phases)
    progress = outcome.progress
    best = progress.history[progress.best_epoch - 1]
    reported = dict[str, Any]()
    if isinstance(outcome.companion, Reporter):
        validation = Validation(prepared, outcome.runtime, accelerator().device)
        reported |= outcome.companion.report(outcome.network, validation)
    found = {**lesson.describe(outcome.network.cpu()), **reported}
    network = lesson.export(outcome.network)
    card = {
        "role": lesson.role,
        "stages": list(prepared.scale.names),
        "preprocess": prepared.preprocess.as_json(),
        "runtime": outcome.runtime.as_json(),
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "phases": list(outcome.phases),
        "validation": {"macro_f1": best["val_macro_f1"], "balanced_accuracy": best["val_balanced_accuracy"]},
        "training_images": len(lesson.images.stages),
        "seed": seed,
        "stamp": prepared.stamp,
        **lesson.facts,
        **({"method_facts": dict(found)} if found else {}),
    }
    if accelerator().is_main_process:
        save_network(folder, network, lesson.backbone, card)
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
