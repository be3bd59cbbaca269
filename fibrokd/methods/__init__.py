"""The catalogue of distillation methods: one file each, one explicit row here. Methods do not import each other."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from torch import nn

from fibrokd.files import read_json
from fibrokd.methods import kd, none
from fibrokd.training.method import MethodConfig, MethodSpec
from fibrokd.training.networks import StagingNetwork, load_network

_MODULES = (none, kd)

METHODS: Mapping[str, MethodSpec] = {module.METHOD.kind: module.METHOD for module in _MODULES}
"""Every method by kind."""

if TYPE_CHECKING:
    AnyMethod = MethodConfig
else:
    AnyMethod = Annotated[
        functools.reduce(operator.or_, (spec.config for spec in METHODS.values())), Field(discriminator="kind")
    ]
    """Union of the methods' configurations, told apart by ``kind``."""


def open_network(folder: Path) -> nn.Module:
    """Load the network of a finished teacher or student folder, whatever its method made of the backbone.

    Args:
        folder: Run folder.

    Raises:
        WeightsError: Weights and card do not fit together.
        ArtifactError: A file is missing.
    """
    method = read_json(folder / "card.json").get("method", {"kind": "none"})
    spec = METHODS[method["kind"]]

    def reshape(network: StagingNetwork, shapes: Mapping[str, Any]) -> nn.Module:
        return spec.rebuild(network, spec.config.model_validate(method), shapes)

    return load_network(folder, reshape)
