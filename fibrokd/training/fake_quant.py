"""Weights of few bits: a symmetric uniform quantiser with straight-through gradients, as a parametrisation.

Owns step sizes (found from weights alone), which layer gets how many bits, and the size of what is deployed. Master
weights stay in fp32; activations and normalisation are not quantised. Knows no particular method.

Shape letters: C output channels, P weights of one step size.

References:
    Straight-through estimator: Bengio, Léonard, Courville, 2013, arXiv:1308.3432. Step size by least squares: Hwang
    and Sung, "Fixed-point feedforward deep neural network design using weights +1, 0, and −1", SiPS 2014.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

_COARSE = np.geomspace(0.01, 1.0, 48).tolist()  # of the step that clips nothing; neighbours differ by a tenth
_FINE = np.linspace(0.9, 1.1, 21).tolist()
_REFINEMENTS = 4

_EXCITATIONS = ("SqueezeExcite",)  # class names of timm's squeeze-and-excitation


def levels(bits: int) -> int:
    """Return n = 2^(bits − 1) − 1: a weight has one of 2n + 1 values."""
    return int(2 ** (bits - 1) - 1)


def quantise(weight: Tensor, step: Tensor, count: int) -> Tensor:
    """Return Δ · clip(round(w / Δ), −n, n).

    Args:
        weight: Any shape.
        step: Δ, broadcast against it.
        count: n.
    """
    return step * (weight / step).round().clamp(-count, count)


def straight_through(weight: Tensor, step: Tensor, count: int) -> Tensor:
    """Return the quantised weight, with gradient 1 where nothing was clipped and 0 where something was.

    Args:
        weight: Any shape.
        step: Δ, broadcast against it.
        count: n.
    """
    reach = (count + 0.5) * step
    passed = weight.clamp(-reach, reach)
    return quantise(weight, step, count).detach() + (passed - passed.detach())


@torch.no_grad()
def best_step(weights: Float[Tensor, "C P"], count: int) -> Float[Tensor, " C"]:
    """Return the Δ of every row that minimises ‖w − Q(w)‖².

    The error is not convex in Δ: a coarse grid over all sensible values and a fine one around its best find the
    valley, then Δ = ⟨w, z⟩ / ⟨z, z⟩ for the codes z = Q(w) / Δ, repeated, finds its ground.

    Args:
        weights: One row per step size.
        count: n.
    """
    largest = weights.abs().amax(1)
    usable = torch.where(largest > 0, largest, torch.ones_like(largest))  # any step suits a row of zeros
    best = _best_of(weights, usable / count, _COARSE, count)
    best = _best_of(weights, best, _FINE, count)
    for _ in range(_REFINEMENTS):
        codes = (weights / best[:, None]).round().clamp(-count, count)
        norm = codes.square().sum(1)
        best = torch.where(norm > 0, (weights * codes).sum(1) / norm.clamp_min(1), best)
    return best


def _best_of(
    weights: Float[Tensor, "C P"], steps: Float[Tensor, " C"], factors: list[float], count: int
) -> Float[Tensor, " C"]:
    """The multiple of every step that makes the least error."""
    errors = torch.stack([_errors(weights, factor * steps, count) for factor in factors])
    return steps * steps.new_tensor(factors)[errors.argmin(0)]


def _errors(weights: Float[Tensor, "C P"], steps: Float[Tensor, " C"], count: int) -> Float[Tensor, " C"]:
    return (weights - quantise(weights, steps[:, None], count)).square().sum(1)


class FakeQuant(nn.Module):
    """Shows a layer its quantised weight; a parametrisation of ``weight``.

    Args:
        weight: The weight as it is, [C, …].
        bits: Bits per weight.
        per_channel: One step size per output channel instead of one per layer.
    """

    step: Tensor

    def __init__(self, weight: Tensor, bits: int, per_channel: bool) -> None:
        super().__init__()
        self.bits, self.per_channel = bits, per_channel
        shape = (weight.shape[0], *(1,) * (weight.ndim - 1)) if per_channel else (1,) * weight.ndim
        self.register_buffer("step", weight.new_ones(shape))
        self.fit(weight)

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Take the best step size for a weight."""
        rows = weight.detach().flatten(1) if self.per_channel else weight.detach().reshape(1, -1)
        self.step.copy_(best_step(rows, levels(self.bits)).view_as(self.step))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the quantised weight."""
        return straight_through(weight, self.step, levels(self.bits))


def bits_of_layers(
    network: nn.Module, bits: int, edge_bits: int, depthwise_bits: int, excitation_bits: int | None = None
) -> dict[str, int]:
    """Return the bits of every convolution and linear layer, by name.

    Args:
        network: A plain network.
        bits: Most layers.
        edge_bits: The first convolution and the last linear layer.
        depthwise_bits: Convolutions in which every channel stands alone.
        excitation_bits: Layers of squeeze-and-excitation; ``None``: as most layers.
    """
    excitations = tuple(f"{n}." for n, m in network.named_modules() if type(m).__name__ in _EXCITATIONS)
    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    edges = {
        next(name for name, module in layers.items() if isinstance(module, nn.Conv2d)),
        [name for name, module in layers.items() if isinstance(module, nn.Linear)][-1],
    }
    found = {}
    for name, module in layers.items():
        depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
        if name in edges:
            found[name] = edge_bits
        elif depthwise:
            found[name] = depthwise_bits
        elif name.startswith(excitations) and excitation_bits is not None:
            found[name] = excitation_bits
        else:
            found[name] = bits
    return found


def attach(network: nn.Module, bits: dict[str, int], per_channel: bool) -> None:
    """Quantise the weights of layers, in place.

    Args:
        network: A plain network.
        bits: Layer → bits.
        per_channel: One step size per output channel.
    """
    for name, count in bits.items():
        module = network.get_submodule(name)
        quantiser = FakeQuant(module.get_parameter("weight"), count, per_channel)
        parametrize.register_parametrization(module, "weight", quantiser)


def quantised(network: nn.Module) -> Iterator[tuple[str, nn.Module, FakeQuant]]:
    """Yield the layers whose weights are quantised: name, layer, quantiser."""
    for name, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            quantiser = module.parametrizations.weight[0]
            if isinstance(quantiser, FakeQuant):
                yield name, module, quantiser


@torch.no_grad()
def refit(network: nn.Module) -> None:
    """Give every quantiser the best step size for the weights as they are now."""
    for _, module, quantiser in quantised(network):
        quantiser.fit(module.parametrizations.weight.original)  # type: ignore[union-attr, arg-type]


def deployed_bytes(network: nn.Module) -> int:
    """Return the size of what has to be stored: b bits per quantised weight, 32 per step size and everything else.

    Batch-norm statistics count; weights are counted as packed, without padding or entropy coding.

    Args:
        network: A network with quantisers.
    """
    tensors = network.state_dict()
    size = 0.0
    for name, module, quantiser in quantised(network):
        original = tensors.pop(f"{name}.parametrizations.weight.original")
        size += original.numel() * quantiser.bits / 8
        del module
    size += sum(4 * value.numel() for value in tensors.values() if value.is_floating_point())
    return int(-(-size // 1))
