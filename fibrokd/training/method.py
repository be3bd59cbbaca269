"""MethodSpec: how a distillation method presents itself. The loop knows no method, methods know no loop.

A method describes itself (what it needs, what it is worth) and gives a *plan*: training phases, one after the other.
Whoever carries the plan out (:mod:`fibrokd.training.carry_out`) owns folders, budgets and resuming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from fibrokd.config import Config
from fibrokd.errors import ConfigError
from fibrokd.training.companion import Companion
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.networks import StagingNetwork
from fibrokd.training.objective import Objective, SupervisedTerm
from fibrokd.training.parameters import Partition
from fibrokd.training.runtime import Runtime
from fibrokd.training.settings import TrainConfig
from fibrokd.training.signals import LOGITS
from fibrokd.training.teachers import LiveTeacher, TeacherSource

Grade = Literal["A", "B", "C", "D", "M"]
GRADES: Mapping[str, str] = {
    "A": "the authors' code was read",
    "B": "the paper or its abstract states it",
    "C": "third-party code, or the authors' code of a parent method, was read",
    "D": "a reconstruction from the abstract and close relatives",
    "M": "from memory, not verified",
    "O": "ours: there is no source to reproduce",
}
"""What an evidence grade means. Whatever rests on D or M is "our reading of" a paper."""


class MethodConfig(Config):
    """What the configurations of all methods have in common."""

    one_only: ClassVar[str] = (
        "a student is trained by one method, and has one structure while it learns; what two would do to it together "
        "is not defined"
    )

    kind: str
    """Name of the method; a literal in every method."""


@dataclass(frozen=True)
class Phase:
    """One training phase of a plan.

    Args:
        name: Unique within the plan; names the folder.
        network: What is trained, in place; its best weights are left in it.
        objective: Loss.
        teacher: Source of teacher signals.
        train: Budget and optimiser; the student's own, or a share of it (:meth:`Workshop.budget`).
        partition: Which parameters are trained, and how fast.
        companion: What happens between epochs.
        blind_epochs: First epochs in which validation figures say nothing yet: a learning rate that falls where they
            stand still does not count them.
        images: Training images, where they are not the student's.
        stop: Ends the phase after an epoch whose line in metrics.jsonl it approves of.
    """

    name: str
    network: nn.Module
    objective: Objective
    teacher: TeacherSource | None
    train: TrainConfig
    partition: Partition = field(default_factory=Partition)
    companion: Companion = field(default_factory=Companion)
    blind_epochs: int = 0
    images: TrainingImages | None = None
    stop: Callable[[Mapping[str, Any]], bool] | None = None


@dataclass(frozen=True)
class Workshop:
    """What a plan may use.

    Args:
        stages: Number of stages K of the student.
        label_space: Where its stages stand among those of a teacher that was trained on all.
        backbone: Key of BACKBONES of the student.
        supervised: The shared supervised term.
        images: Training images and their views.
        train: The student's budget and optimiser.
        new_network: Makes a network (backbone, seed); a student starts as configured, others untrained.
        teachers: Sources that were given, in their order.
        device: Where networks are computed.
    """

    stages: int
    label_space: tuple[int, ...]
    backbone: str
    supervised: SupervisedTerm
    images: TrainingImages
    train: TrainConfig
    new_network: Callable[[str, int], StagingNetwork]
    teachers: tuple[TeacherSource, ...]
    device: torch.device

    @property
    def teacher(self) -> TeacherSource:
        """The only teacher.

        Raises:
            ConfigError: There is none, or there are several.
        """
        if len(self.teachers) != 1:
            raise ConfigError(
                f"Expected one teacher, found {len(self.teachers)}.", "Give one folder as `book` or as `teacher`."
            )
        return self.teachers[0]

    def student(self, seed: int = 0) -> StagingNetwork:
        """Make a fresh student.

        Args:
            seed: Added to the seed of the training: another start.
        """
        return self.new_network(self.backbone, self.train.seed + seed)

    def budget(self, share: float = 1.0, **changes: Any) -> TrainConfig:
        """Return the student's training configuration with a share of its epochs, at least one, and other changes."""
        epochs = max(1, round(share * self.train.epochs))
        return TrainConfig.model_validate({**self.train.model_dump(), "epochs": epochs, **changes})

    def frozen(self, network: nn.Module) -> LiveTeacher:
        """Return a source that answers with a network as it is at the time, in fp32."""
        return LiveTeacher(network, Runtime("fp32", "channels_last"), self.device)


Plan = Callable[[Any, Workshop], Iterator[Phase]]
"""From the method's Config and the workshop to its phases; a phase is trained before the next one is asked for. The
network of the last phase is the student."""


def _as_it_is(network: nn.Module, *_: Any) -> nn.Module:
    return network


def _nothing(*_: Any) -> Mapping[str, Any]:
    return {}


def _anything(*_: Any) -> None:
    """Agree to every combination."""


@dataclass(frozen=True)
class MethodSpec:
    """One row of the catalogue.

    Args:
        kind: Name by which configurations ask for the method.
        title: Name for people.
        idea: What it does, in a sentence or two.
        formula: Its loss, in the notation of docs/methods.md.
        grades: Evidence grades of its parts, such as ``"A D"``; see :data:`GRADES`.
        reference: Source, with DOI or arXiv number.
        config: The method's Config class; its ``kind`` is a literal.
        plan: Its training phases.
        needs: What is asked of a given teacher, see :mod:`fibrokd.training.signals`; empty where none is given.
        asks: Config → the same, where it depends on the coefficients; ``None``: always ``needs``.
        teachers: How many teachers may be given: (least, most).
        cacheable: A book may take the teacher's place; see also :meth:`takes_book`.
        seams: Which seams it uses, for the documentation.
        cost: What it costs beyond a student that learns alone.
        export: Trained network and Config → what is deployed and counted.
        facts: Trained network, before ``export``, and Config → JSON data for the card under ``method_facts``: what
            the structure came to, ``deployed_bytes`` where a weight takes other than 32 bits.
        told: What of these facts the page of methods tells: path (keys and places in lists, joined by dots) → words.
        rebuild: Plain :class:`StagingNetwork`, Config and shapes of the deployed weights → the network that has them.
        check: Raises ConfigError where the Config contradicts the student's other settings (selection, views,
            supervised term, training, backbone).
        subsets: Whether a student of some stages may learn from a teacher of all.
    """

    kind: str
    title: str
    idea: str
    formula: str
    grades: str
    reference: str
    config: type[MethodConfig]
    plan: Plan
    needs: frozenset[str] = frozenset()
    teachers: tuple[int, int] = (0, 0)
    cacheable: bool = False
    seams: str = ""
    cost: str = ""
    export: Callable[[nn.Module, Any], nn.Module] = _as_it_is
    facts: Callable[[nn.Module, Any], Mapping[str, Any]] = _nothing
    told: Mapping[str, str] = field(default_factory=dict)
    rebuild: Callable[[StagingNetwork, Any, Mapping[str, torch.Size]], nn.Module] = _as_it_is
    check: Callable[[Any, Any], None] = _anything
    subsets: bool = False
    asks: Callable[[Any], frozenset[str]] | None = None

    def asks_of(self, config: MethodConfig) -> frozenset[str]:
        """Return what is asked of a given teacher with these coefficients."""
        return self.needs if self.asks is None else self.asks(config)

    def takes_book(self, config: MethodConfig) -> bool:
        """Return whether a book may take the teacher's place: also where a term that needs more has no weight."""
        return self.cacheable or (self.asks is not None and self.asks(config) <= LOGITS_ONLY)

    @property
    def needs_teacher(self) -> bool:
        """Whether a teacher must be given."""
        return self.teachers[0] > 0

    @property
    def is_our_reading(self) -> bool:
        """Whether a part of it is a reconstruction: then it is "our reading of" its source."""
        return bool({"D", "M"} & set(self.grades.split()))

    @property
    def heading(self) -> str:
        """Its title, and whether it is our reading: what users are shown."""
        return f"{self.title}; our reading" if self.is_our_reading else self.title


def single_phase(objective: Callable[[Any, SupervisedTerm], Objective], teaches: bool = True) -> Plan:
    """Return the plan of a method that trains a plain student with one objective.

    Args:
        objective: Makes the objective from the method's Config and the shared supervised term.
        teaches: There is exactly one teacher.
    """

    def plan(config: Any, shop: Workshop) -> Iterator[Phase]:
        teacher = shop.teacher if teaches else None
        yield Phase("train", shop.student(), objective(config, shop.supervised), teacher, shop.train)

    return plan


LOGITS_ONLY = frozenset({LOGITS})
"""Needs of a method that wants the teacher's logits and nothing else."""
