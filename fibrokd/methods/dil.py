"""Deep interactive learning (DIL): assistants teach the student, and the student teaches them back, round by round.

Our reading of the paper (abstract only). What it states: the teacher is an ensemble of several
assistant networks; the student learns from labels and the ensemble's soft targets; as it advances, it feeds back to
the assistants, and the teacher improves with every iteration. What it leaves open, and what we do:

* Every assistant is first trained alone (``init``). Then, R times: *teach*, where the student learns from the frozen
  ensemble, and *feed back*, where every assistant learns from the frozen student. Phases alternate; they do not
  alternate within an epoch.
* The student's epochs are divided among the rounds, so it sees as many as with any other method; a phase of feedback
  is as long as the teaching before it, times ``feedback_share``. After the last round there is no feedback: nobody
  would learn from it.
* "As the student gradually advances": with ``gate_margin`` δ a student feeds back only once its validation macro-F1
  is at least that of the worst assistant less δ; ``null`` lets it always.
* The paper's task is a sequence of shots for a song; soft targets per image take the place of those per shot.
* Assistants start untrained, whatever the student starts from; only the student's backbone has weights given to it.
* Every phase starts its own optimiser and learning-rate schedule and keeps the weights its ``keep`` asks for; the
  student is that of the last round.

References:
    Lin, Wei, Lin, Liu, Liao, "Learning from Music to Visual Storytelling of Shots: A Deep Interactive Learning
    Mechanism", ACM Multimedia 2020 (abstract).
    Zhang et al., "Deep Mutual Learning", CVPR 2018, arXiv:1706.00384 (its limit: one assistant, no phases).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from torch import nn

from fibrokd.errors import ConfigError
from fibrokd.training.companion import Companion
from fibrokd.training.findings import Validation
from fibrokd.training.label_term import LabelTerm
from fibrokd.training.method import MethodConfig, MethodSpec, Phase, Workshop
from fibrokd.training.mixture import Mixture
from fibrokd.training.networks import BackboneName
from fibrokd.training.objective import Objective, SupervisedTerm
from fibrokd.training.settings import TrainConfig
from fibrokd.training.teachers import Ensemble, TeacherSource

Share = Annotated[float, Field(ge=0, le=1)]


class DilConfig(MethodConfig):
    """Knobs of deep interactive learning."""

    kind: Literal["dil"] = "dil"
    """Name of the method."""

    assistants: Annotated[tuple[BackboneName, ...], Field(min_length=1, max_length=8)] = (
        "resnet50",
        "resnet18",
        "resnet18",
    )
    """Backbones of the M assistants; equal ones differ in their seeds and in the views they see."""

    rounds: Annotated[int, Field(ge=1)] = 5
    """R; the student's epochs are divided among them."""

    init_share: Annotated[float, Field(gt=0, le=4)] = 0.5
    """Epochs of an assistant alone, as a share of the student's."""

    feedback_share: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Epochs of an assistant's feedback in a round, as a share of the student's epochs in it; at least one."""

    alpha: Share = 0.6
    """α, share of the distillation term when the student learns."""

    beta: Share = 0.3
    """β, the same when an assistant learns."""

    kd_temperature: Annotated[float, Field(gt=0)] = 3.0
    """T, at which student and assistants are compared."""

    gate_margin: Annotated[float, Field(ge=0)] | None = None
    """δ, how far the student's validation macro-F1 may lie below that of the worst assistant and still be fed back;
    ``null``: however far."""


class Peer(Mixture):
    """L = (1 − s) L_sup + s T² mean_i KL(p_peer^T ‖ p^T): what student and assistants minimise, each with its share."""

    soft_term = "peer"


def learning(config: DilConfig, share: float, supervised: SupervisedTerm) -> Objective:
    """Return the objective of a phase.

    Args:
        config: T.
        share: s; where it is 0, no peer is needed.
        supervised: The shared supervised term.
    """
    return Peer(share, config.kd_temperature, supervised, config.kind) if share > 0 else LabelTerm(supervised)


class Listener(Companion):
    """Remembers the validation macro-F1 of every epoch of a phase, over interruptions too.

    What was heard before an epoch is in that epoch's checkpoint; the last line is told again when a phase is resumed.

    Args:
        assistants: Who teaches in the phase: they are reported on with the student.
        rounds: What is known of every round so far, reported as it is.
    """

    def __init__(self, assistants: Sequence[nn.Module] = (), rounds: Sequence[Mapping[str, Any]] = ()) -> None:
        self.assistants, self.rounds = tuple(assistants), rounds
        self.heard: list[float] = []

    def phase(
        self, name: str, network: nn.Module, loss: Objective, peer: TeacherSource | None, train: TrainConfig
    ) -> Phase:
        """Return the phase that is listened to."""
        return Phase(name, network, loss, peer if loss.needs else None, train, companion=self, stop=self.hear)

    def hear(self, line: Mapping[str, Any]) -> bool:
        """Take note of a line of metrics.jsonl; never asks to stop."""
        del self.heard[int(line["epoch"]) - 1 :]
        self.heard.append(float(line["val_macro_f1"]))
        return False

    def score(self, train: TrainConfig) -> float:
        """Return the macro-F1 of the weights that were kept."""
        return self.heard[-1] if train.keep == "last" else max(self.heard)

    def state(self) -> dict[str, Any]:
        """Return what was heard so far."""
        return {"heard": self.heard}

    def restore(self, state: Mapping[str, Any], network: nn.Module) -> None:
        """Take up what was heard before."""
        del network
        self.heard = list(state["heard"])

    def report(self, network: nn.Module, validation: Validation) -> Mapping[str, Any]:
        """Return how the student, each assistant as it taught last, and their mean answers do on validation images.

        Both ensembles cost as many passes as they have members; what is deployed is the student alone. ``rounds`` holds
        the validation macro-F1 of the student after every round, and of the assistants that taught it there.
        """
        student, *others = (validation.probabilities(one) for one in (network, *self.assistants))
        return {
            "validation": {
                "student": validation.scores(student),
                "assistants": [validation.scores(answers) for answers in others],
                "ensemble_of_assistants": validation.scores(np.mean(others, axis=0)),
                "ensemble_of_all": validation.scores(np.mean([student, *others], axis=0)),
            },
            "rounds": [dict(one) for one in self.rounds],
        }


def is_open(config: DilConfig, student: float, assistants: list[float]) -> bool:
    """Return whether the student may feed back.

    Args:
        config: The margin.
        student: Its validation macro-F1.
        assistants: Theirs.
    """
    return config.gate_margin is None or student >= min(assistants) - config.gate_margin


def _plan(config: DilConfig, shop: Workshop) -> Iterator[Phase]:
    assistants = [shop.new_network(name, shop.train.seed + 1 + k) for k, name in enumerate(config.assistants)]
    student, scores = shop.student(), []
    shares = (0.0, config.alpha, config.beta)
    alone, taught, fed = (learning(config, share, shop.supervised) for share in shares)
    for k, assistant in enumerate(assistants):
        listener, train = Listener(), shop.budget(config.init_share)
        yield listener.phase(f"init_{k}", assistant, alone, None, train)
        scores.append(listener.score(train))
    epochs, rounds = shop.train.epochs, list[dict[str, Any]]()
    for turn in range(1, config.rounds + 1):
        length = turn * epochs // config.rounds - (turn - 1) * epochs // config.rounds
        ensemble = Ensemble([shop.frozen(assistant) for assistant in assistants])
        listener, train = Listener(assistants, rounds), shop.budget(epochs=length)
        rounds.append({"assistants_macro_f1": list(scores)})
        yield listener.phase(f"teach_{turn}", student, taught, ensemble, train)
        rounds[-1]["student_macro_f1"] = listener.score(train)
        if turn == config.rounds or not is_open(config, listener.score(train), scores):
            continue
        for k, assistant in enumerate(assistants):
            listener, train = Listener(), shop.budget(epochs=max(1, round(config.feedback_share * length)))
            yield listener.phase(f"feedback_{turn}_{k}", assistant, fed, shop.frozen(student), train)
            scores[k] = listener.score(train)


def _check(config: DilConfig, student: Any) -> None:
    if student.train.epochs < config.rounds:
        raise ConfigError(
            f"Expected an epoch for every round of method 'dil', found {student.train.epochs} epochs for "
            f"{config.rounds} rounds.",
            "Raise `train.epochs`, or lower `method.rounds`.",
        )


METHOD = MethodSpec(
    kind="dil",
    title="Deep interactive learning (DIL)",
    idea="An ensemble of assistants teaches the student, which teaches them back, round after round.",
    formula="student: L = (1 − α) L_sup + α T² mean_i KL((1/M) Σ_m p_m^T ‖ p_s^T); "
    "assistant m: L = (1 − β) L_sup + β T² mean_i KL(p_s^T ‖ p_m^T)",
    grades="B D",
    reference="Lin et al., ACM Multimedia 2020: A Deep Interactive Learning Mechanism (abstract)",
    config=DilConfig,
    plan=_plan,
    seams="phases; the trained networks teach each other",
    cost="M + 1 networks in memory; M trainings of assistants, and M forward passes per step of the student. No book: "
    "the teachers change.",
    check=_check,
    told={
        "rounds.0.student_macro_f1": "student's macro-F1, first round",
        "rounds.-1.student_macro_f1": "last round",
        "rounds.0.assistants_macro_f1": "mean of assistants, first round",
        "rounds.-1.assistants_macro_f1": "last round",
    },
)
