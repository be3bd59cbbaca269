"""No distillation: the student learns from the labels alone. The control that every method is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fibrokd.config import Config
from fibrokd.training.dataset import Batch
from fibrokd.training.method import MethodSpec
from fibrokd.training.networks import Outputs
from fibrokd.training.objective import SupervisedTerm, TeacherSignal, Term


class NoneConfig(Config):
    """Nothing to set."""

    kind: Literal["none"] = "none"
    """Name of the method."""


class SupervisedOnly:
    """The shared supervised term with coefficient 1."""

    def __init__(self, supervised: SupervisedTerm) -> None:
        self.supervised = supervised

    def __call__(
        self, outputs: Outputs, signal: TeacherSignal | None, batch: Batch, progress: float
    ) -> Mapping[str, Term]:
        """Return the supervised term; teacher and progress play no part."""
        del signal, progress
        return {"supervised": self.supervised(outputs.logits, batch)}


def _build(config: NoneConfig, supervised: SupervisedTerm) -> SupervisedOnly:
    del config
    return SupervisedOnly(supervised)


METHOD = MethodSpec(
    kind="none",
    title="No distillation (control)",
    grade="A",
    reference="Class-weighted cross-entropy with label smoothing and MixUp; no teacher.",
    config=NoneConfig,
    needs_teacher=False,
    build=_build,
)
