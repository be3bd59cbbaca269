"""The loss (1 − c) L_sup + c T² KL that most methods contain, and the split of a budget over their phases.

Knows no particular method.

Shape letters: B batch, K stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from fibrokd.errors import ConfigError
from fibrokd.training.dataset import Batch
from fibrokd.training.method import LOGITS_ONLY
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term, expect_signal, soft_kl
from fibrokd.training.signals import TeacherSignal


class Mixture(Objective):
    """L = (1 − α) L_sup + α T² mean_i KL(p_t^T ‖ p_s^T).

    Args:
        alpha: α.
        kd_temperature: T.
        supervised: The shared supervised term.
        kind: Name of the method, for messages.
    """

    needs = LOGITS_ONLY

    def __init__(self, alpha: float, kd_temperature: float, supervised: SupervisedTerm, kind: str) -> None:
        super().__init__()
        self.alpha, self.kd_temperature, self.supervised, self.kind = alpha, kd_temperature, supervised, kind

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return both terms, with the share of the moment.

        Raises:
            TrainingError: There is no teacher signal.
        """
        return self.mix(outputs.logits, signal, batch, self.share(moment))

    def share(self, moment: Moment) -> float:
        """Return the share of the distillation term; α at any moment."""
        del moment
        return self.alpha

    def mix(
        self, logits: Float[Tensor, "B K"], signal: TeacherSignal | None, batch: Batch, share: float
    ) -> dict[str, Term]:
        """Return both terms.

        Args:
            logits: Student logits.
            signal: What the teacher says.
            batch: Stages, partner stages and λ.
            share: Share of the distillation term.
        """
        target = expect_signal(signal, self.kind).probabilities(self.kd_temperature)
        values = soft_kl(logits, target, self.kd_temperature)
        return {
            "supervised": self.supervised(logits, batch, coefficient=1 - share),
            "kd": Term.mean(values, coefficient=share * self.kd_temperature**2),
        }


def split_epochs(epochs: int, shares: Sequence[float]) -> list[int]:
    """Split a budget over phases, so that the parts add up to it and none is empty.

    Args:
        epochs: Epochs of the student.
        shares: Share of every phase, summing to 1.

    Raises:
        ConfigError: There are more phases than epochs.
    """
    if epochs < len(shares):
        raise ConfigError(
            f"Expected at least {len(shares)} epochs, one for every phase of the method, found {epochs}.",
            "Raise `train.epochs`.",
        )
    parts: list[int] = []
    for number, _ in enumerate(shares):
        end = round(epochs * sum(shares[: number + 1]))
        left = len(shares) - number - 1
        parts.append(min(max(1, end - sum(parts)), epochs - sum(parts) - left))
    parts[-1] = epochs - sum(parts[:-1])
    return parts
