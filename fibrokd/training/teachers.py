"""Teacher sources: where the knowledge for a batch comes from. Live networks here; the book in book.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from fibrokd.artifacts import read_record, require
from fibrokd.data.prepared import Prepared
from fibrokd.errors import TrainingError
from fibrokd.files import read_json
from fibrokd.training.dataset import Batch
from fibrokd.training.networks import TAPS, Outputs, load_network
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime
from fibrokd.training.signals import (
    GAPS,
    LOGITS,
    MAPS,
    POOLED,
    UNCERTAINTY,
    EnsembleSignal,
    TeacherSignal,
    Uncertainty,
)

LIVE_CAPS = frozenset({LOGITS, POOLED, UNCERTAINTY} | {GAPS + tap for tap in TAPS} | {MAPS + tap for tap in TAPS})
"""What a network that answers online can be asked for."""


@runtime_checkable
class TeacherSource(Protocol):
    """What knowledge exists for a batch."""

    @property
    def caps(self) -> frozenset[str]:
        """What can be asked for, see :mod:`fibrokd.training.signals`."""
        ...

    @property
    def reach(self) -> int | None:
        """Epochs for which there are answers; ``None`` without an end."""
        ...

    def signal(self, batch: Batch, needs: frozenset[str] = frozenset({LOGITS})) -> TeacherSignal:
        """Return the teacher's detached answer for ``batch``, with everything of ``needs``."""
        ...


class LiveTeacher:
    """A frozen network that looks at the very tensor the student sees, MixUp included ("consistent teaching").

    Always in eval mode and without gradients, so its batch-norm statistics never change.

    Args:
        network: The teacher.
        runtime: Precision and memory format it was trained with.
        device: Where to compute.
        masks: Dropout masks of an answer that asks for uncertainty.

    Attributes:
        forwards: Number of images answered so far, each mask counted.
    """

    def __init__(self, network: nn.Module, runtime: Runtime, device: torch.device, masks: int = 20) -> None:
        self.network = network.to(device).eval().to(memory_format=runtime.layout)
        self.network.requires_grad_(False)
        self.runtime = runtime
        self.device = device
        self.masks = masks
        self.caps = LIVE_CAPS
        self.reach: int | None = None
        self.forwards = 0

    @classmethod
    def open(
        cls, folder: Path, prepared: Prepared, device: torch.device, load: Callable[[Path], nn.Module] = load_network
    ) -> LiveTeacher:
        """Open a finished network folder that was trained on this very prepared data.

        Args:
            folder: A teacher's folder, or a student's.
            prepared: Data it must have been trained on.
            device: Where to compute.
            load: How its network is loaded.

        Raises:
            TrainingError: The teacher belongs to other data: it may have seen test patients.
        """
        check_same_data(folder, prepared)
        card = read_json(folder / "card.json")
        return cls(load(folder), Runtime(**card["runtime"]), device)

    @torch.no_grad()
    def signal(self, batch: Batch, needs: frozenset[str] = frozenset({LOGITS})) -> TeacherSignal:
        """Return the teacher's logits for the mixed images, and what else is asked for."""
        images = batch.images.to(self.device).contiguous(memory_format=self.runtime.layout)
        taps = sorted({need.split(":")[1] for need in needs if ":" in need}, key=lambda tap: TAPS[tap])
        # Whoever trains the network elsewhere (peers that teach each other) finds it as it was.
        with evaluating(self.network), self.runtime.computing(self.device):
            outputs: Outputs = self.network(images, tuple(taps))
            spread = self._uncertain(images) if UNCERTAINTY in needs else (outputs.logits.float(), None)
        self.forwards += len(batch)
        return TeacherSignal(
            logits=spread[0],
            pooled=outputs.pooled.float() if POOLED in needs else None,
            gaps={tap: outputs.maps[tap].float().mean((2, 3)) for tap in taps if GAPS + tap in needs},
            maps={tap: outputs.maps[tap].float() for tap in taps if MAPS + tap in needs},
            uncertainty=spread[1],
        )

    def _uncertain(self, images: Tensor) -> tuple[Tensor, Uncertainty]:
        """Log of the mean answer over dropout masks, and how the answers spread; batch norm stays in eval mode."""
        dropouts = [module for module in self.network.modules() if isinstance(module, nn.Dropout)]
        for module in dropouts:
            module.train()
        answers = torch.stack([self.network(images).logits.float().softmax(1) for _ in range(self.masks)])
        self.forwards += self.masks * len(images)
        mean = answers.mean(0)
        aleatoric = torch.special.entr(answers).sum(2).mean(0)
        epistemic = (torch.special.entr(mean).sum(1) - aleatoric).clamp_min(0)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), Uncertainty(aleatoric, epistemic)


class Ensemble:
    """Several sources that answer together.

    Args:
        members: The sources.
        weights: Their weights; equal by default.
    """

    def __init__(self, members: Sequence[TeacherSource], weights: Sequence[float] | None = None) -> None:
        self.members = tuple(members)
        self.weights = None if weights is None else tuple(weights)
        self.caps = frozenset({LOGITS}) & frozenset.intersection(*(member.caps for member in members))
        reaches = [member.reach for member in members if member.reach is not None]
        self.reach: int | None = min(reaches) if reaches else None

    def signal(self, batch: Batch, needs: frozenset[str] = frozenset({LOGITS})) -> TeacherSignal:
        """Return the members' answers and their weighted mean."""
        return EnsembleSignal.of([member.signal(batch, needs) for member in self.members], self.weights)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode, and every part of it back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


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
