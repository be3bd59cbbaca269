"""A student whose second half is a tree of experts with one leaf per stage, whose shape is learned.

Owns the network: soft while its gates learn, hard once they have chosen, and plain (routes instead of gates) when it
is deployed. Knows no particular method.

Shape letters: N batch, K stages, C channels of the tap, P parents and Q children of a link between two levels.

References:
    Xue et al., "KDExplainer", IJCAI 2021, arXiv:2105.04181, and its released code.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fibrokd.training.networks import TAPS, Outputs, StagingNetwork

_SCORE_TEMPERATURE = 0.5  # of the released code: r = softmax(A / 0.5)
_LOGIT_STD = 0.01  # as for every new head, see networks.py


class Expert(nn.Sequential):
    """Twice 3×3 convolution, batch norm and ReLU, then 2×2 pooling that keeps a map of one pixel.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        super().__init__(*layers, nn.MaxPool2d(2, ceil_mode=True))


class Leaf(nn.Module):
    """Says how much an image looks like one stage.

    Args:
        channels: Channels of its map.
        width: Width of its two hidden layers.
        dropout: Dropout after each.
    """

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(channels, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()
        )
        self.dropout = nn.Dropout(dropout)
        self.logit = nn.Linear(width, 1)
        nn.init.normal_(self.logit.weight, std=_LOGIT_STD)
        nn.init.zeros_(self.logit.bias)

    def forward(self, features: Float[Tensor, "N C h w"]) -> tuple[Float[Tensor, "N 1"], Float[Tensor, "N W"]]:
        """Return the logit of its stage, and the vector that it is a linear function of."""
        hidden = self.hidden(features.mean((2, 3)))
        return self.logit(self.dropout(hidden)), hidden


class TreeStudent(nn.Module):
    """Trunk of a backbone up to a tap, levels of experts, and one leaf per stage.

    While it is soft every child reads a mixture of all parents, ``d = softmax(log softmax(A / 0.5) / t)``, which is
    ``softmax(2 A / t)``. Once it is hard every child reads the parent with the largest gate, and experts that no leaf
    reaches are gone.

    Args:
        trunk: A plain network; everything after the tap is removed.
        tap: Where the tree begins.
        levels: Number of experts of every level.
        leaf_width: Width of the leaves' hidden layers.
        leaf_dropout: Dropout in the leaves.

    Attributes:
        known_taps: Feature taps that it has: those of the trunk, up to where the tree begins.
        temperature: t.
        routes: Link → child → parent, once it is hard.
        gate_entropy_at_start: How undecided the gates of every link were before they learned, if that was noted.
    """

    temperature: Tensor

    def __init__(
        self, trunk: StagingNetwork, tap: str, levels: Sequence[int], leaf_width: int, leaf_dropout: float
    ) -> None:
        super().__init__()
        self.tap, self.levels, self.stages = tap, tuple(levels), trunk.stages
        self.known_taps = tuple(name for name in TAPS if TAPS[name] <= TAPS[tap])
        index = trunk.tap_index(tap)
        channels = trunk.body.feature_info[index]["num_chs"]
        trunk.body.prune_intermediate_layers([index], prune_head=True)
        self.trunk = trunk
        self.experts = nn.ModuleDict(
            {_key(level, number): Expert(channels) for level, count in enumerate(levels) for number in range(count)}
        )
        self.leaves = nn.ModuleList(Leaf(channels, leaf_width, leaf_dropout) for _ in range(trunk.stages))
        # Vectors, because matrices decay: that would pull gates back to uniform.
        self.gates = nn.ParameterList(torch.rand(children * parents) for children, parents in self.links)
        self.register_buffer("temperature", torch.ones(()))
        self.routes: tuple[tuple[int, ...], ...] | None = None
        self.gate_entropy_at_start: tuple[float, ...] = ()
        self.register_load_state_dict_post_hook(_take_routes)  # type: ignore[no-untyped-call]

    @property
    def links(self) -> tuple[tuple[int, int], ...]:
        """(children, parents) of every link, from the first level down to the leaves."""
        counts = (*self.levels, self.stages)
        return tuple((counts[level + 1], counts[level]) for level in range(len(self.levels)))

    def scores(self, link: int) -> Float[Tensor, "Q P"]:
        """Return r, the gates before they are sharpened; rows sum to 1."""
        return torch.softmax(self.gates[link].float().view(self.links[link]) / _SCORE_TEMPERATURE, dim=1)

    def soft_gates(self, link: int) -> Float[Tensor, "Q P"]:
        """Return d, the weights of parents; rows sum to 1."""
        return torch.softmax(
            self.gates[link].float().view(self.links[link]) / (_SCORE_TEMPERATURE * self.temperature), dim=1
        )

    def harden(self) -> None:
        """Let every child keep the parent with the largest gate, and remove experts that no leaf reaches."""
        self.routes = tuple(
            tuple(gates.view(shape).argmax(1).tolist()) for gates, shape in zip(self.gates, self.links, strict=True)
        )
        reached = {_key(level, number) for stage in range(self.stages) for level, number in enumerate(self.path(stage))}
        for key in [key for key in self.experts if key not in reached]:
            del self.experts[key]

    def path(self, stage: int) -> tuple[int, ...]:
        """Return the experts that an answer about a stage passes through, from the first level on.

        Args:
            stage: Index of the stage.
        """
        assert self.routes is not None, "the tree is soft"  # noqa: S101 - a contract between two lines of a plan
        found = [stage]
        for route in reversed(self.routes):
            found.insert(0, route[found[0]])
        return tuple(found[:-1])

    def forward(self, images: Float[Tensor, "N 1 S S"], taps: Collection[str] = ()) -> Outputs:
        """Stage a batch.

        Args:
            images: Grey levels in [0, 1].
            taps: Names of feature taps of the trunk to return as well.
        """
        trunk = self.trunk
        indices = {tap: trunk.tap_index(tap) for tap in (*taps, self.tap)}
        x = (images.expand(-1, 3, -1, -1) - trunk.mean) / trunk.std
        order = sorted(set(indices.values()))
        found = trunk.body.forward_intermediates(x, indices=order, intermediates_only=True, stop_early=True)
        maps = {tap: found[order.index(index)] for tap, index in indices.items()}
        answers = self._answers(maps[self.tap])
        logits, hidden = (torch.cat([answer[part] for answer in answers], dim=1) for part in (0, 1))
        return Outputs(logits, hidden, {tap: maps[tap] for tap in taps})

    def _answers(self, features: Float[Tensor, "N C h w"]) -> list[tuple[Tensor, Tensor]]:
        said = {number: self.experts[_key(0, number)](features) for number in self._present(0)}
        for link in range(len(self.levels)):
            read = self._reader(link, said)
            if link == len(self.levels) - 1:
                return [leaf(read(stage)) for stage, leaf in enumerate(self.leaves)]
            said = {n: self.experts[_key(link + 1, n)](read(n)) for n in self._present(link + 1)}
        raise AssertionError("a tree has levels")

    def _present(self, level: int) -> list[int]:
        return [number for number in range(self.levels[level]) if _key(level, number) in self.experts]

    def _reader(self, link: int, said: Mapping[int, Tensor]) -> Any:
        """What a child of this link reads of what its parents said."""
        if self.routes is not None:
            route = self.routes[link]
            return lambda child: said[route[child]]
        gates = self.soft_gates(link)
        stacked = torch.stack([said[parent] for parent in sorted(said)])
        return lambda child: torch.tensordot(gates[child].to(stacked.dtype), stacked, dims=1)

    def deployed(self) -> TreeStudent:
        """Return a copy of a hard tree with its routes in the place of gates."""
        plain = copy.deepcopy(self)
        plain._drop_gates(self.routes or ())
        return plain

    def shaped_like(self, shapes: Mapping[str, torch.Size]) -> TreeStudent:
        """Take, in place, the shape of a deployed tree whose weights are about to be loaded, routes included.

        Args:
            shapes: Its tensors' shapes by name.
        """
        for key in [key for key in self.experts if f"experts.{key}.0.weight" not in shapes]:
            del self.experts[key]
        self._drop_gates([[0] * children for children, _ in self.links])
        return self

    def _drop_gates(self, routes: Sequence[Sequence[int]]) -> None:
        self.gates = nn.ParameterList()
        del self.temperature
        for link, route in enumerate(routes):
            self.register_buffer(f"parents_{link}", torch.tensor(route))


def _key(level: int, number: int) -> str:
    return f"{level}_{number}"


def _take_routes(tree: nn.Module, _: Any) -> None:
    """After weights were loaded: routes of a deployed tree are tensors in the file and a fixed program in memory."""
    assert isinstance(tree, TreeStudent)  # noqa: S101 - for mypy
    if "parents_0" in tree._buffers:
        tree.routes = tuple(tuple(tree.get_buffer(f"parents_{k}").tolist()) for k in range(len(tree.levels)))
