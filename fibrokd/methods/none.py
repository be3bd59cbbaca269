"""No distillation: the student learns from the labels alone. The control that every method is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fibrokd.training.dataset import Batch
from fibrokd.training.method import MethodConfig, MethodSpec, single_phase
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import Moment, Objective, SupervisedTerm, Term
from fibrokd.training.signals import TeacherSignal


class NoneConfig(MethodConfig):
    """Nothing to set."""

    kind: Literal["none"] = "none"
    """Name of the method."""


class SupervisedOnly(Objective):
    """The shared supervised term with coefficient 1."""

    def __init__(self, config: NoneConfig, supervised: SupervisedTerm) -> None:
        super().__init__()
        del config
        self.supervised = supervised

    def forward(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, moment: Moment
    ) -> Mapping[str, Term]:
        """Return the supervised term; teacher and moment play no part."""
        del signal, moment
        return {"supervised": self.supervised(outputs.logits, batch)}


METHOD = MethodSpec(
    kind="none",
    title="No distillation (control)",
    idea="The student learns from the labels alone.",
    formula="L = L_sup",
    grades="A",
    reference="Class-weighted cross-entropy with label smoothing and MixUp; no teacher.",
    config=NoneConfig,
    plan=single_phase(SupervisedOnly, teaches=False),
    cost="None.",
)
