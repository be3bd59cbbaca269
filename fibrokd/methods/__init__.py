"""The catalogue of distillation methods: one file each, one explicit row here. Methods do not import each other."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from torch import nn

from fibrokd.config import parse_config
from fibrokd.files import read_json
from fibrokd.methods import (
    book_kd,
    ccd,
    ccskd,
    class_specialised,
    cons_kd,
    csc_ace,
    defective_kd,
    dil,
    extractive,
    graft_multi_teacher,
    kd,
    kd_explainer,
    kddp,
    none,
    ordinal_kd,
    qdnn_gslr,
    reversed_kd,
    self_knowledge_ls,
    tf_kd_reg,
    tf_kd_self,
    uncertainty_kd,
    vam,
)
from fibrokd.training.method import MethodConfig, MethodSpec
from fibrokd.training.networks import StagingNetwork, load_network

_MODULES = (
    none,
    kd,
    book_kd,
    kd_explainer,
    vam,
    reversed_kd,
    defective_kd,
    tf_kd_self,
    tf_kd_reg,
    csc_ace,
    dil,
    self_knowledge_ls,
    kddp,
    uncertainty_kd,
    qdnn_gslr,
    ccd,
    cons_kd,
    extractive,
    graft_multi_teacher,
    ccskd,
    class_specialised,
    ordinal_kd,
)

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
        return spec.rebuild(network, parse_config(method, spec.config), shapes)

    return load_network(folder, reshape)
