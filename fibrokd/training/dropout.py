"""Dropout as knowledge and as noise: networks that are thinned by fixed masks, and dropout put where there is none.

Nothing here adds a module: dropout is put in by forward hooks and by the rate of the dropout that every
:class:`StagingNetwork` has before its classifier. Names of weights stay what they are, and in eval mode the network
is the plain backbone.

A teacher's uncertainty is asked of S *fixed* masks, drawn by key and shared by all images: S thinned networks, whose
answers are pure functions of the image. So they do not depend on the composition of a batch, and a book can hold what
a live teacher would say. Batch norm stays in eval mode throughout.

References:
    Gal & Ghahramani, ICML 2016, arXiv:1506.02142 (dropout as approximate inference);
    Durasov et al., "Masksembles", CVPR 2021, arXiv:2012.08334 (a fixed set of masks);
    Tompson et al., CVPR 2015, arXiv:1411.4280 (whole channels are dropped after convolutions, whose neighbouring
    values would betray each other).

Shape letters: B batch, K stages, S masks, C channels.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, field_validator
from timm.layers import DropPath
from torch import Tensor, nn

from fibrokd.config import Config
from fibrokd.errors import ConfigError
from fibrokd.training.networks import TAPS, StagingNetwork

HEAD = "dropout"
"""Name of the dropout before the classifier of a StagingNetwork."""


def known_taps(taps: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``taps``.

    Raises:
        ValueError: One is unknown, or named twice.
    """
    if len(set(taps)) < len(taps) or not set(taps) <= set(TAPS):
        raise ValueError(f"expected different taps out of {', '.join(TAPS)}")
    return taps


class Thinning(Config):
    """How a network that answers with its uncertainty is thinned."""

    masks: Annotated[int, Field(ge=1, le=1000)] = 20
    """S, the number of fixed masks; every answer costs as many forward passes as there are masks, or one, where
    only the dropout before the classifier is active."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Rate of the dropout put into a network that has none of its own, before its classifier and after ``taps``. A
    network with dropout or stochastic depth keeps what it was trained with, and nothing is put in. 0: nothing."""

    taps: tuple[str, ...] = ("s16", "s32")
    """Feature taps after which whole channels are dropped, in a network without noise of its own."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the masks."""

    _taps = field_validator("taps")(known_taps)


def ensure_dropout(network: StagingNetwork, rate: float, taps: tuple[str, ...] = ()) -> None:
    """Let a network drop values while it trains; in eval mode it stays what it is.

    Dropout before the classifier gets ``rate`` where it has none; after every one of ``taps`` whole channels are
    dropped. Copies of the network (a moving average, say) behave alike.

    Args:
        network: Changed in place; its parameters and their names are not.
        rate: Share that is dropped.
        taps: Names of feature taps.
    """
    if rate > 0:
        network.dropout.p = network.dropout.p or rate
        for tap in taps:
            _tapped(network, tap)[1].register_forward_hook(functools.partial(_drop_channels, rate=rate))


@contextmanager
def noisy(network: nn.Module) -> Iterator[None]:
    """Let dropout and stochastic depth act while everything else, batch norm above all, is in eval mode."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    for module in network.modules():
        module.training = isinstance(module, nn.modules.dropout._DropoutNd | DropPath) or _drops_channels(module)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def only_classifier_is_noisy(network: nn.Module) -> bool:
    """Return whether passes over one batch differ, if at all, by the dropout before the classifier alone.

    Batch norm repeats itself on equal batches. Of networks other than plain backbones nothing is known, so no.
    """
    if not isinstance(network, StagingNetwork):
        return False
    own = {name for name, module in network.named_modules() if _own(name, module) is not None}
    return own <= {HEAD} and not any(map(_drops_channels, network.modules()))


def thinned_answers(
    network: nn.Module, images: Float[Tensor, "B 1 side side"], thinning: Thinning
) -> Float[Tensor, "S B K"]:
    """Return the probabilities of every thinned network.

    Args:
        network: A network in eval mode; left as it is.
        images: Grey levels in [0, 1].
        thinning: Masks.

    Raises:
        ConfigError: Dropout should be put into a network whose taps are unknown.
    """
    sites, masks = _sites(network, thinning), range(thinning.masks)
    if not sites:
        answer = network(images).logits.float().softmax(1)
        return torch.stack([answer] * thinning.masks)
    if passes(network, thinning) == 1 and isinstance(network, StagingNetwork):
        pooled, head = network(images).pooled, network.body.get_classifier()
        answers = [head(_thin(pooled, sites[0], thinning, mask)) for mask in masks]
        return torch.stack(answers).float().softmax(2)
    answers = []
    for mask in masks:
        with _thinned(sites, thinning, mask):
            answers.append(network(images).logits)
    return torch.stack(answers).float().softmax(2)


def passes(network: nn.Module, thinning: Thinning) -> int:
    """Return how many forward passes :func:`thinned_answers` takes: one where only the classifier has dropout.

    Raises:
        ConfigError: Dropout should be put into a network whose taps are unknown.
    """
    names = [site.name for site in _sites(network, thinning)]
    return 1 if not names or (names == [HEAD] and isinstance(network, StagingNetwork)) else thinning.masks


@dataclass(frozen=True)
class _Site:
    """Where a network is thinned: a module whose output is masked."""

    name: str
    module: nn.Module
    rate: float
    whole: bool
    """One draw for the whole output (a path of stochastic depth), and not one per value or channel."""


def _sites(network: nn.Module, thinning: Thinning) -> list[_Site]:
    """Noise that the network has, or else what is put in."""
    own = [site for name, module in network.named_modules() if (site := _own(name, module)) is not None]
    if own or thinning.dropout == 0:
        return own
    if not isinstance(network, StagingNetwork):
        raise ConfigError(
            f"Expected a teacher with dropout of its own, or a plain backbone, found a {type(network).__name__}.",
            "Set `thinning.dropout: 0`, or take another teacher.",
        )
    after = [_tapped(network, tap) for tap in thinning.taps]
    places = [*after, (HEAD, network.dropout)]
    return [_Site(name, module, thinning.dropout, whole=False) for name, module in places]


def _own(name: str, module: nn.Module) -> _Site | None:
    if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
        return _Site(name, module, module.p, whole=False)
    if isinstance(module, DropPath) and module.drop_prob > 0:
        return _Site(name, module, module.drop_prob, whole=True)
    return None


@contextmanager
def _thinned(sites: list[_Site], thinning: Thinning, mask: int) -> Iterator[None]:
    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(site.module.register_forward_hook(_masking(site, thinning, mask)))
        yield


def _masking(site: _Site, thinning: Thinning, mask: int) -> Any:
    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        del module, args
        return _thin(output, site, thinning, mask)

    return hook


def _thin(output: Tensor, site: _Site, thinning: Thinning, mask: int) -> Tensor:
    """Return ``output`` with the values of one mask dropped and the others raised to keep the mean."""
    key = hashlib.blake2b(f"{thinning.seed}:{mask}:{site.name}".encode(), digest_size=7).digest()
    # On the CPU whatever the device: the same masks everywhere.
    generator = torch.Generator().manual_seed(int.from_bytes(key, "big"))
    shape = [1, 1 if site.whole else output.shape[1], *[1] * (output.ndim - 2)]
    kept = (torch.rand(shape, generator=generator) >= site.rate).to(output)
    return output * (kept / (1 - site.rate))


def _tapped(network: StagingNetwork, tap: str) -> tuple[str, nn.Module]:
    """Name and module whose output is the feature map of a tap."""
    name = str(network.body.feature_info[network.tap_index(tap)]["module"])
    return f"body.{name}", network.body.get_submodule(name)


def _drop_channels(module: nn.Module, args: Any, output: Tensor, rate: float) -> Tensor:
    del args
    return F.dropout2d(output, rate, module.training)


def _drops_channels(module: nn.Module) -> bool:
    hooks = module._forward_hooks.values()
    return any(isinstance(hook, functools.partial) and hook.func is _drop_channels for hook in hooks)
