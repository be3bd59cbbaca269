"""The objective of a network that learns from labels alone, for phases that come before a method's own."""

from __future__ import annotations

from collections.abc import Mapping

from fibrokd.training.dataset import Batch
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term
from fibrokd.training.signals import TeacherSignal


class LabelTerm(Objective):
    """L = L_sup.

    Args:
        supervised: The shared supervised term.
    """

    def __init__(self, supervised: SupervisedTerm) -> None:
        super().__init__()
        self.supervised = supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the supervised term; teacher and moment play no part."""
        del signal, moment
        return {"supervised": self.supervised(outputs.logits, batch)}
