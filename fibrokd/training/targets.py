"""What several methods do with targets: how far a teacher agrees with the labels, and labels that a method replaces.

Knows the shared supervised term and batches; no particular method.

Shape letters: B batch, K stages.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fibrokd.errors import ConfigError
from fibrokd.training.dataset import Batch
from fibrokd.training.objective import SupervisedConfig, SupervisedTerm, Term


def agreement(probabilities: Float[Tensor, "B K"], batch: Batch) -> Float[Tensor, " B"]:
    """Return how far an answer is right: the share of its pair that has the stage it thinks most probable.

    ``a_i = λ·1[argmax = y_a] + (1 − λ)·1[argmax = y_b]``; without MixUp the usual 0 or 1.

    Args:
        probabilities: Answer of a teacher, or anything with the same order of stages.
        batch: Stages, partner stages and λ.
    """
    answer = probabilities.argmax(1)
    return batch.lam * (answer == batch.stages) + (1 - batch.lam) * (answer == batch.partner_stages)


class TargetTerm(SupervisedTerm):
    """The shared supervised term with a distribution in the labels' place; class weights as configured.

    Args:
        supervised: The shared term, whose class weights and weight mode are kept.
        given: The distribution, [B, K]; rows sum to 1.
    """

    def __init__(self, supervised: SupervisedTerm, given: Float[Tensor, "B K"]) -> None:
        super().__init__(supervised.config, supervised.weights)
        self.given = given

    def targets(self, batch: Batch, count: int) -> Float[Tensor, "B K"]:
        """Return the given distribution."""
        del batch, count
        return self.given


def towards(
    supervised: SupervisedTerm,
    logits: Float[Tensor, "B K"],
    target: Float[Tensor, "B K"],
    batch: Batch,
    coefficient: float = 1.0,
) -> Term:
    """Return the class-weighted cross-entropy of ``logits`` to a distribution that a method made.

    Args:
        supervised: The shared term, for its class weights.
        logits: Student logits.
        target: The distribution; rows sum to 1.
        batch: Stages that class weights belong to.
        coefficient: Factor of the term.
    """
    return TargetTerm(supervised, target)(logits, batch, coefficient)


def refuse_smoothing(supervised: SupervisedConfig, kind: str) -> None:
    """Refuse label smoothing beside a method that is a label smoothing itself.

    Args:
        supervised: Knobs of the shared supervised term.
        kind: Name of the method.

    Raises:
        ConfigError: ``label_smoothing`` is not 0.
    """
    if supervised.label_smoothing > 0:
        raise ConfigError(
            f"Expected no label smoothing beside method '{kind}', which smooths labels in its own way, found "
            f"`supervised.label_smoothing: {supervised.label_smoothing}`: labels would be smoothed twice.",
            "Set `supervised.label_smoothing: 0`.",
        )
