"""Grafting: blocks of a student take the place of a frozen host's blocks, joined by 1×1 adapters.

Owns where backbones are cut (after the last unit at reductions 4, 8, 16 and 32, the head with the last block), the
grafted network, and the folding that removes the adapters. Knows no loss and no teacher but the host.

Two adapters between consecutive blocks of a student are one 1×1 convolution without bias, which the next block's
first convolutions absorb exactly where nothing else reads the block's input: a 1×1 convolution commutes with zero
padding, average pooling and strides. That holds where the block changes the resolution, because there is no identity
skip. Where the host reads what a student's block left, it is shifted by a bias per channel as well, for the host's own
maps are far from centred; between two blocks of the student there is none, so that nothing of it is ever deployed. A
backbone for which it does not hold is refused before anything is trained, so no adapter is ever deployed.

References:
    Shen et al., "Progressive Network Grafting for Few-Shot Knowledge Distillation", AAAI 2021, arXiv:2012.04915.

Shape letters: B batch, S side, C channels, K stages.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fibrokd.errors import ConfigError
from fibrokd.training.networks import Outputs, StagingNetwork
from fibrokd.training.teachers import evaluating

BLOCKS = 4
_REDUCTIONS = (4, 8, 16, 32)
_PROBE_SIDE = 64


@dataclass(frozen=True)
class Cut:
    """How a backbone falls into four blocks.

    Args:
        units: Names of the parts of every block, within ``body``, in the order of their work.
        channels: Channels of the map that every block hands on.
        head: Names of the remaining parts; they belong to the last block.
    """

    units: tuple[tuple[str, ...], ...]
    channels: tuple[int, ...]
    head: tuple[str, ...]

    def names(self, block: int) -> tuple[str, ...]:
        """Return the names of all parts of block ``block``, from 1."""
        return self.units[block - 1] + (self.head if block == BLOCKS else ())

    def run(self, network: StagingNetwork, block: int, x: Tensor) -> Tensor:
        """Let block ``block`` of ``network`` act, without the head."""
        for name in self.units[block - 1]:
            x = network.body.get_submodule(name)(x)
        return x


def cut(network: StagingNetwork) -> Cut:
    """Find the blocks of a network.

    Args:
        network: Any row of BACKBONES.

    Raises:
        ConfigError: Its parts do not work one after the other, or do not reach all four resolutions.
    """
    names = [name for name, _ in network.body.named_children()]
    last = names.index("global_pool") if "global_pool" in names else len(names)
    inner = [f"blocks.{k}" for k in range(len(getattr(network.body, "blocks", ())))]
    units = [unit for name in names[:last] for unit in (inner if name == "blocks" else [name])]
    x = _noise(1, 3).to(next(network.parameters()).device)
    blocks: list[list[str]] = [[] for _ in _REDUCTIONS]
    channels = [0] * BLOCKS
    with evaluating(network), torch.no_grad():
        whole = network.body.forward_features(x)
        for unit in units:
            x = network.body.get_submodule(unit)(x)
            block = sum(_PROBE_SIDE // x.shape[2] > reduction for reduction in _REDUCTIONS[:-1])
            blocks[block].append(unit)
            channels[block] = x.shape[1]
    same = x.shape == whole.shape and bool((x - whole).abs().max() <= 1e-3 * whole.abs().max())
    if not all(blocks) or not same:
        raise ConfigError(
            f"Expected a backbone whose parts work one after the other, found {network.backbone_name}.",
            "Choose another backbone for this method, for the teacher as for the student.",
        )
    return Cut(tuple(tuple(block) for block in blocks), tuple(channels), tuple(names[last:]))


class _Lent:
    """Holds a network that belongs to someone else: it is neither trained, nor copied, nor stored."""

    def __init__(self, network: StagingNetwork) -> None:
        self.network = network

    def __deepcopy__(self, memo: dict[int, Any]) -> _Lent:
        return self


class Grafted(nn.Module):
    """The host with blocks ``first`` to ``last`` of a student in place of its own.

    With ``last < first`` nothing is grafted and it answers as the host does; with 1 and 4 nothing is left of the host.

    Args:
        host: A frozen teacher; no part of the state.
        student: The student.
        seed: Of the adapters' initial weights.

    Attributes:
        adapters: ``t2s_j`` enters block j of the student, ``s2t_j`` leaves it.
        exits: Shifts what ``s2t_j`` hands to the host; no part of what is deployed.
    """

    def __init__(self, host: StagingNetwork, student: StagingNetwork, seed: int) -> None:
        super().__init__()
        self.student = student
        self.host_cut, self.own_cut = cut(host), cut(student)
        self.adapters, self.exits = nn.ModuleDict(), nn.ModuleDict()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for j in range(1, BLOCKS):
                theirs, ours = self.host_cut.channels[j - 1], self.own_cut.channels[j - 1]
                self.adapters[f"s2t_{j}"] = _adapter(ours, theirs)
                self.adapters[f"t2s_{j + 1}"] = _adapter(theirs, ours)
                self.exits[f"s2t_{j}"] = _Shift(theirs)
        self._lent = _Lent(host)
        self.first, self.last = 1, 0

    @property
    def host(self) -> StagingNetwork:
        """The frozen teacher."""
        return self._lent.network

    def graft(self, first: int, last: int) -> None:
        """Put blocks ``first`` to ``last`` of the student in the host's place, from 1."""
        self.first, self.last = first, last

    def forward(self, images: Float[Tensor, "B 1 S S"], taps: Collection[str] = ()) -> Outputs:
        """Stage a batch.

        Args:
            images: Grey levels in [0, 1].
            taps: None: a grafted network has maps of two kinds.
        """
        del taps
        x = (images.expand(-1, 3, -1, -1) - self.student.mean) / self.student.std
        with torch.no_grad():
            for j in range(1, self.first):
                x = self.host_cut.run(self.host, j, x)
        for j in range(self.first, self.last + 1):
            x = self.adapters[f"t2s_{j}"](x) if j > 1 else x
            x = self.own_cut.run(self.student, j, x)
            x = self.adapters[f"s2t_{j}"](x) if j < BLOCKS else x
        if self.first <= self.last < BLOCKS:
            x = self.exits[f"s2t_{self.last}"](x)
        for j in range(max(self.first, self.last + 1), BLOCKS + 1):
            x = self.host_cut.run(self.host, j, x)
        whole = self.student if self.last == BLOCKS else self.host
        pooled = whole.body.forward_head(x, pre_logits=True)
        return Outputs(whole.classify(pooled), pooled, {})

    def trained(self) -> str:
        """Return the regular expression of the parameters of what is grafted now, adapters included."""
        names = [f"student.body.{name}" for j in range(self.first, self.last + 1) for name in self.own_cut.names(j)]
        names += [f"adapters.t2s_{j}" for j in range(max(self.first, 2), self.last + 1)]
        names += [f"adapters.s2t_{j}" for j in range(self.first, min(self.last, BLOCKS - 1) + 1)]
        names += [f"exits.s2t_{self.last}"] if self.last < BLOCKS else []
        return "^(?:" + "|".join(re.escape(name) + r"\." for name in names) + ")"

    def _matrix(self, adapter: str) -> Tensor:
        return self.adapters.get_submodule(adapter).get_parameter("weight")[..., 0, 0].double()

    def folded(self) -> StagingNetwork:
        """Return the student with the adapters absorbed: the stock architecture.

        Raises:
            ConfigError: A block's input is read by something that cannot absorb them.
        """
        student = copy.deepcopy(self.student)
        for j in range(2, BLOCKS + 1):
            joined = self._matrix(f"t2s_{j}") @ self._matrix(f"s2t_{j - 1}")
            for reader in _readers(student, self.own_cut.units[j - 1][0]):
                with torch.no_grad():
                    reader.weight.copy_(torch.einsum("ochw,ci->oihw", reader.weight.double(), joined))
        return student


class _Shift(nn.Module):
    """Adds a number to every channel, at first 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.bias[:, None, None]


def check_foldable(grafted: Grafted) -> None:
    """Refuse a student whose blocks do not absorb adapters, before it is trained.

    Raises:
        ConfigError: They do not.
    """
    probe = copy.deepcopy(grafted).cpu().double()
    probe.graft(1, BLOCKS)
    images = _noise(2, 1).double()
    with torch.no_grad(), evaluating(probe):
        _enliven(probe.student)
        folded = probe.folded().eval()
        same = torch.allclose(probe(images).logits, folded(images).logits, rtol=1e-6, atol=1e-9)
    if not same:
        raise _unfoldable(grafted.student)


def _noise(count: int, channels: int) -> Tensor:
    """Images to try a network with; global random state stays as it is."""
    return torch.rand(count, channels, _PROBE_SIDE, _PROBE_SIDE, generator=torch.Generator().manual_seed(0))


def _enliven(network: nn.Module) -> None:
    """Let every branch of a probe count: fresh residual branches end in a batch norm that multiplies them by 0."""
    random = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.copy_(torch.rand(module.weight.shape, generator=random) + 0.5)


def _adapter(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1×1 convolution without bias, whose outputs have the mean square of its inputs."""
    adapter = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.orthogonal_(adapter.weight, gain=math.sqrt(max(1.0, outputs / inputs)))
    return adapter


def _readers(student: StagingNetwork, unit: str) -> list[nn.Conv2d]:
    """Return the convolutions that read the input of a unit: that of its first layer, and that of its shortcut."""
    layer = next(student.body.get_submodule(unit).children())
    shortcut = getattr(layer, "downsample", None)
    identity = getattr(layer, "has_skip", False) or (hasattr(layer, "downsample") and shortcut is None)
    parts: Iterable[nn.Module] = [layer] if shortcut is None else [layer, shortcut]
    found = [next((m for m in part.modules() if isinstance(m, nn.Conv2d)), None) for part in parts]
    readers = [reader for reader in found if reader is not None and reader.groups == 1]
    if identity or len(readers) != len(found):
        raise _unfoldable(student)
    return readers


def _unfoldable(student: StagingNetwork) -> ConfigError:
    return ConfigError(
        f"Expected blocks that begin with a convolution and without an identity skip, found {student.backbone_name}: "
        "adapters could not be removed from the student.",
        "Choose another backbone for the student of this method.",
    )
