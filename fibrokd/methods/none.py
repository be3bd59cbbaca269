"""No distillation: the student learns from the labels alone. The control that every method is compared with."""

from __future__ import annotations

from typing import Literal

from fibrokd.training.label_term import LabelTerm
from fibrokd.training.method import MethodConfig, MethodSpec, single_phase
from fibrokd.training.objective import SupervisedTerm


class NoneConfig(MethodConfig):
    """Nothing to set."""

    kind: Literal["none"] = "none"
    """Name of the method."""


class SupervisedOnly(LabelTerm):
    """The shared supervised term with coefficient 1."""

    def __init__(self, config: NoneConfig, supervised: SupervisedTerm) -> None:
        super().__init__(supervised)
        del config


METHOD = MethodSpec(
    kind="none",
    title="No distillation (control)",
    idea="The student learns from the labels alone.",
    formula="L = L_sup",
    grades="O",
    reference="Class-weighted cross-entropy with label smoothing and MixUp; no teacher.",
    config=NoneConfig,
    plan=single_phase(SupervisedOnly, teaches=False),
    cost="None.",
)
