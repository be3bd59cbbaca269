"""Teacher sources: where the knowledge for a batch comes from. Live networks here; the book in book.py."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn

from fibrokd.artifacts import read_record
from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.errors import ConfigError, TrainingError
from fibrokd.files import read_json
from fibrokd.training.dataset import Batch
from fibrokd.training.dropout import Thinning, passes, thinned_answers
from fibrokd.training.networks import TAPS, Outputs, load_network
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime
from fibrokd.training.same_data import check_same_data
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
from fibrokd.training.teacher_noise import Corruption

LIVE_CAPS = frozenset({LOGITS, POOLED, UNCERTAINTY} | {GAPS + tap for tap in TAPS} | {MAPS + tap for tap in TAPS})
"""What a plain backbone that answers online can be asked for."""


def live_caps(network: nn.Module) -> frozenset[str]:
    """Return what a network that answers online can be asked for.

    Args:
        network: One whose maps end early says so by ``known_taps``.
    """
    known = getattr(network, "known_taps", tuple(TAPS))
    return LIVE_CAPS - {kind + tap for kind in (GAPS, MAPS) for tap in TAPS if tap not in known}


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
        thinning: Dropout masks of an answer that asks for uncertainty.

    Attributes:
        forwards: Number of images that went through the network so far, once for every mask where the masks need it.
        seen: Identifiers of the images that it was trained on; None where that is not known.
        corruption: Which of its answers are made wrong; None: none.
        everywhere: The same count as ``forwards``, over all of these objects that this process has had.
    """

    everywhere: ClassVar[int] = 0
    corruption: Corruption | None = None

    def __init__(
        self, network: nn.Module, runtime: Runtime, device: torch.device, thinning: Thinning | None = None
    ) -> None:
        self.network = network.to(device).eval().to(memory_format=runtime.layout)
        self.network.requires_grad_(False)
        self.runtime = runtime
        self.device = device
        self.thinning = thinning or Thinning()
        self.caps = live_caps(network)
        self.reach: int | None = None
        self._forwards = [0]  # shared with the same network under other masks
        self.seen: frozenset[str] | None = None

    @property
    def forwards(self) -> int:
        """Number of images that went through the network so far, once for every mask where the masks need it."""
        return self._forwards[0]

    def count(self, images: int) -> None:
        """Note that so many images went through the network, here or by whoever asks it directly."""
        self._forwards[0] += images
        LiveTeacher.everywhere += images

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
            TrainingError: The teacher belongs to other data (it may have seen test patients), or tells other stages
                apart.
        """
        check_same_data(folder, prepared)
        card = read_json(folder / "card.json")
        if tuple(card["stages"]) != prepared.scale.names:
            raise TrainingError(
                f"Expected a teacher of {', '.join(prepared.scale.names)}, found one of {', '.join(card['stages'])}.",
                "Train a teacher without `selection.stages`; students may tell fewer stages apart than it.",
            )
        teacher = cls(load(folder), Runtime(**card["runtime"]), device)
        teacher.seen = _trained_on(folder, prepared)
        return teacher

    def with_thinning(self, thinning: Thinning) -> LiveTeacher:
        """Return a source that answers with the same network, thinned in another way."""
        other = copy.copy(self)
        other.thinning = thinning
        return other

    @torch.no_grad()
    def signal(self, batch: Batch, needs: frozenset[str] = frozenset({LOGITS})) -> TeacherSignal:
        """Return the teacher's logits for the mixed images, and what else is asked for.

        Where uncertainty is asked for, the logits are the logarithm of the mean answer over the masks.
        """
        images = batch.images.to(self.device).contiguous(memory_format=self.runtime.layout)
        # Whoever trains the network elsewhere (peers that teach each other) finds it as it was.
        with evaluating(self.network), self.runtime.computing(self.device):
            told = self._uncertainly(images, needs) if UNCERTAINTY in needs else self._tell(images, needs)
        return told if self.corruption is None else self.corruption.applied(told, batch.index, batch.partner_index)

    def _uncertainly(self, images: Tensor, needs: frozenset[str]) -> TeacherSignal:
        logits, uncertainty = self._uncertain(images)
        others = needs - {LOGITS, UNCERTAINTY}
        told = self._tell(images, others) if others else TeacherSignal(logits)
        return replace(told, logits=logits, uncertainty=uncertainty)

    def _tell(self, images: Tensor, needs: frozenset[str]) -> TeacherSignal:
        """One pass of the whole network."""
        taps = sorted({need.split(":")[1] for need in needs if ":" in need}, key=lambda tap: TAPS[tap])
        outputs: Outputs = self.network(images, tuple(taps))
        self.count(len(images))
        return TeacherSignal(
            logits=outputs.logits.float(),
            pooled=outputs.pooled.float() if POOLED in needs else None,
            gaps={tap: outputs.maps[tap].float().mean((2, 3)) for tap in taps if GAPS + tap in needs},
            maps={tap: outputs.maps[tap].float() for tap in taps if MAPS + tap in needs},
        )

    def _uncertain(self, images: Tensor) -> tuple[Tensor, Uncertainty]:
        """Log of the mean answer over the masks, and how the answers spread."""
        answers = thinned_answers(self.network, images, self.thinning)
        self.count(passes(self.network, self.thinning) * len(images))
        mean = answers.mean(0)
        aleatoric = torch.special.entr(answers).sum(2).mean(0)
        epistemic = (torch.special.entr(mean).sum(1) - aleatoric).clamp_min(0)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log(), Uncertainty(aleatoric, epistemic)


@runtime_checkable
class Thinnable(Protocol):
    """A source whose uncertainty is that of chosen masks."""

    def with_thinning(self, thinning: Thinning) -> TeacherSource:
        """Return a source that answers for these masks.

        Raises:
            BookError: It cannot: the answers are written down, for other masks.
        """
        ...


class Ensemble:
    """Several sources that answer together.

    Args:
        members: The sources.
        weights: Their weights, not negative, made to sum to 1; equal by default.

    Raises:
        ConfigError: Weights and sources differ in number, or nothing has a weight.
    """

    def __init__(self, members: Sequence[TeacherSource], weights: Sequence[float] | None = None) -> None:
        shares = (1.0,) * len(members) if weights is None else tuple(weights)
        if len(shares) != len(members) or min(shares, default=0) < 0 or not 0 < sum(shares) < math.inf:
            raise ConfigError(
                f"Expected one weight, not negative, for each of {len(members)} teachers, found {shares}.",
                "Give as many weights as folders of books or teachers, in their order.",
            )
        self.members = tuple(members)
        self.weights = tuple(share / sum(shares) for share in shares)
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


def _trained_on(folder: Path, prepared: Prepared) -> frozenset[str]:
    """Return the identifiers of the images that the network of a finished folder was trained on."""
    part = select(prepared, parse_config(read_record(folder).config.get("selection", {}), Selection))
    return frozenset(part.table["image_id"].to_numpy()[part.rows("train")].tolist())
