"""The catalogue of distillation methods: one file each, one explicit row here. Methods do not import each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from fibrokd.methods import kd, none
from fibrokd.training.method import MethodSpec
from fibrokd.training.objective import Objective, SupervisedTerm

METHODS: Mapping[str, MethodSpec] = {spec.kind: spec for spec in (none.METHOD, kd.METHOD)}
"""Every method by kind."""

MethodConfig = Annotated[none.NoneConfig | kd.KdConfig, Field(discriminator="kind")]
"""Union of the methods' configurations, told apart by ``kind``."""


def build_objective(config: none.NoneConfig | kd.KdConfig, supervised: SupervisedTerm) -> Objective:
    """Make the objective that ``config`` describes."""
    return METHODS[config.kind].build(config, supervised)
