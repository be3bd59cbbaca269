"""Teacher sources: where the knowledge for a batch comes from. A live frozen network here; the book in book.py."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from sklearn.metrics import balanced_accuracy_score

from fibrokd.artifacts import read_record, require
from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError
from fibrokd.files import read_json
from fibrokd.training.dataset import Batch
from fibrokd.training.networks import StagingNetwork, load_network
from fibrokd.training.objective import TeacherSignal
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime


@runtime_checkable
class TeacherSource(Protocol):
    """What knowledge exists for a batch."""

    def signal(self, batch: Batch) -> TeacherSignal:
        """Return the teacher's detached answer for ``batch``."""
        ...


class LiveTeacher:
    """A frozen network that looks at the very tensor the student sees, MixUp included ("consistent teaching").

    Always in eval mode and without gradients, so its batch-norm statistics never change.

    Args:
        network: The teacher.
        runtime: Precision and memory format it was trained with.
        device: Where to compute.

    Attributes:
        forwards: Number of images answered so far.
    """

    def __init__(self, network: StagingNetwork, runtime: Runtime, device: torch.device) -> None:
        self.network = network.to(device).eval().to(memory_format=runtime.layout)
        self.network.requires_grad_(False)
        self.runtime = runtime
        self.device = device
        self.forwards = 0

    @classmethod
    def open(cls, folder: Path, prepared: Prepared, device: torch.device) -> LiveTeacher:
        """Open a finished teacher folder that was trained on this very prepared data.

        Raises:
            TrainingError: The teacher belongs to other data: it may have seen test patients.
        """
        check_same_data(folder, prepared)
        card = read_json(folder / "card.json")
        return cls(load_network(folder), Runtime(**card["runtime"]), device)

    @torch.no_grad()
    def signal(self, batch: Batch) -> TeacherSignal:
        """Return the teacher's logits for the mixed images."""
        images = batch.images.to(self.device).contiguous(memory_format=self.runtime.layout)
        with self.runtime.computing(self.device):
            logits = self.network(images).logits
        self.forwards += len(batch)
        return TeacherSignal(logits.float())


def check_competence(teacher: LiveTeacher, prepared: Prepared, minimum: float | None) -> float:
    """Let the teacher answer the validation split before anyone learns from it.

    Args:
        teacher: The teacher.
        prepared: Data it was trained on.
        minimum: Lowest acceptable balanced accuracy; None means 1.25 times chance.

    Returns:
        Validation balanced accuracy.

    Raises:
        TrainingError: It is below ``minimum``: wrong weights were loaded, or it learned nothing.
    """
    if minimum is None:
        minimum = 1.25 / len(prepared.scale)
    rows = prepared.rows("val")
    logits = predict(teacher.network, prepared.pixels[rows], teacher.runtime, teacher.device)
    score = float(balanced_accuracy_score(prepared.stages[rows], logits.argmax(1)))
    if score < minimum:
        raise TrainingError(
            f"Expected a teacher with a validation balanced accuracy of at least {minimum:.2f}, found {score:.3f}.",
            "Train it longer, or lower `minimum_balanced_accuracy` if a weak teacher is what you want to study.",
        )
    return score


def check_same_data(folder: Path, prepared: Prepared) -> None:
    """Refuse a network that was trained on other data or another split than ``prepared``.

    Raises:
        TrainingError: Digests differ.
        ArtifactError: The folder is not a finished network.
    """
    record = require(folder, read_record(folder).step)
    if record.inputs.get("prepared") != prepared.record.digest:
        raise TrainingError(
            f"{folder} was trained on another prepared folder than {prepared.folder}.",
            "Its images may be test images here. Use the folder it was trained on, or train it again on this one.",
        )
