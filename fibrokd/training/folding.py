"""From parametrised weights to plain ones: what a training-only structure leaves behind in the deployed network."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils import parametrize


def folded(network: nn.Module) -> nn.Module:
    """Return a copy in which every parametrised tensor is a plain parameter with the value it had.

    torch's own ``remove_parametrizations`` changes the class that a module shares with its copies (a moving average,
    the trained network itself) and leaves those unusable.
    """
    plain = copy.deepcopy(network)
    for module in list(plain.modules()):
        if parametrize.is_parametrized(module):
            values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}  # type: ignore[union-attr]
            del module.parametrizations
            module.__class__ = parametrize.type_before_parametrizations(module)
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value))
    return plain
