"""Which parameters a phase trains, at which rate; everything else is frozen, batch-norm statistics included."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from fibrokd.errors import TrainingError


@dataclass(frozen=True)
class Partition:
    """Which parameters are trained, told by their names.

    Args:
        trained: Regular expression that finds the names of trained parameters; "" finds all.
        rates: Regular expression → factor of the learning rate of the parameters it finds; the first that fits.
    """

    trained: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)

    def trains(self, name: str) -> bool:
        """Return whether the parameter of this name is trained."""
        return re.search(self.trained, name) is not None

    def factor(self, name: str) -> float:
        """Return the factor of its learning rate."""
        return next((factor for pattern, factor in self.rates.items() if re.search(pattern, name)), 1.0)

    def freeze(self, network: nn.Module) -> None:
        """Take the gradient from frozen parameters, what an earlier phase left included, and give it to trained ones.

        Raises:
            TrainingError: Nothing is trained.
        """
        names = []
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self.trains(name))
            if parameter.requires_grad:
                names.append(name)
            else:  # that of an earlier phase would count in the norm to which gradients are clipped
                parameter.grad = None
        if not names:
            raise TrainingError(
                f"Expected parameters whose names fit {self.trained!r}, found none.", "Correct the phase of the method."
            )

    def set_modes(self, network: nn.Module) -> None:
        """Put what is trained into training mode, and what is frozen into eval mode: its statistics must not move.

        A part without parameters (dropout, say) follows the part it belongs to.
        """
        modes: dict[str, bool] = {}
        for name, module in network.named_modules():
            own = [self.trains(f"{name}.{inner}" if name else inner) for inner, _ in module.named_parameters()]
            modes[name] = any(own) if own else modes[name.rpartition(".")[0]] if name else True
            module.training = modes[name]


def parameter_groups(
    network: nn.Module, adapters: nn.Module, partition: Partition, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Return the optimiser's groups: one for every pair of weight decay and learning rate.

    Biases, normalisation and other vectors do not decay.

    Args:
        network: The trainee.
        adapters: Modules of the objective; always trained, at the full rate.
        partition: What of the network is trained.
        learning_rate: Learning rate where the partition states no factor.
        weight_decay: Weight decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(0.0, 1.0): [], (weight_decay, 1.0): []}
    for name, parameter, factor in _trained(network, adapters, partition):
        decays = parameter.ndim > 1 and not name.endswith(".bias")
        groups.setdefault((weight_decay if decays else 0.0, factor), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "lr": learning_rate * factor}
        for (decay, factor), parameters in groups.items()
        if parameters
    ]


def _trained(
    network: nn.Module, adapters: nn.Module, partition: Partition
) -> Iterator[tuple[str, nn.Parameter, float]]:
    for name, parameter in network.named_parameters():
        if partition.trains(name):
            yield name, parameter, partition.factor(name)
    for name, parameter in adapters.named_parameters():
        yield name, parameter, 1.0
