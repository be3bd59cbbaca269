"""The hidden layer before a network's classifier: where it is, how active its neurons are, and how they are cut out.

Owns the surgery on weights and on the optimiser's moments. Knows no particular method.

Shape letters: D neurons of the hidden layer, N images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn

from fibrokd.training.dataset import TrainingImages
from fibrokd.training.networks import StagingNetwork
from fibrokd.training.runtime import Runtime
from fibrokd.training.teachers import evaluating

_BATCH = 64
_CLASSIFIER_STD = 0.01  # as for every new head, see networks.py


def give_hidden_layer(network: StagingNetwork, width: int, relu: bool, seed: int) -> None:
    """Give a network a hidden layer whose activations are :attr:`Outputs.pooled`, in place.

    MobileNetV3 has one; elsewhere ``Linear + ReLU`` is inserted between pooling and a new classifier.

    Args:
        network: A plain network.
        width: Neurons of an inserted layer.
        relu: Replace the activation of a layer that is there already by ReLU.
        seed: Seed of new weights.
    """
    if isinstance(network.body, MobileNetV3):
        if relu:
            setattr(network.body, "act2", nn.ReLU())  # noqa: B010 - timm declares another type
        return
    old = network.body.get_classifier()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden, classifier = nn.Linear(old.in_features, width), nn.Linear(width, network.stages)
        nn.init.normal_(classifier.weight, std=_CLASSIFIER_STD)
        nn.init.zeros_(classifier.bias)
    network.body.global_pool = nn.Sequential(network.body.global_pool, hidden, nn.ReLU())
    setattr(network.body, "fc" if hasattr(network.body, "fc") else "classifier", classifier)


def hidden_layer(network: StagingNetwork) -> tuple[nn.Module, nn.Linear]:
    """Return the layer that makes the hidden neurons (1×1 convolution or linear), and the classifier."""
    body = network.body
    first: nn.Module = body.conv_head if isinstance(body, MobileNetV3) else body.global_pool[1]
    classifier: nn.Linear = body.get_classifier()
    return first, classifier


def hidden_width(network: StagingNetwork) -> int:
    """Return D."""
    return int(hidden_layer(network)[1].in_features)


@dataclass(frozen=True)
class Activity:
    """What the hidden neurons say, over images.

    Args:
        size: Mean |activation|, [D].
        mean: Mean activation, [D].
    """

    size: Float[Tensor, " D"]
    mean: Float[Tensor, " D"]


@torch.inference_mode()
def activity(network: StagingNetwork, images: TrainingImages, runtime: Runtime, device: torch.device) -> Activity:
    """Measure the hidden neurons in eval mode on training images as they are: no augmentation, no MixUp."""
    size, mean = (torch.zeros(hidden_width(network), dtype=torch.float64, device=device) for _ in range(2))
    with evaluating(network):
        for batch in images.centred(_BATCH):
            shown = batch.to(device, runtime.layout).images
            with runtime.computing(device):
                hidden = network(shown).pooled.double()
            size += hidden.abs().sum(0)
            mean += hidden.sum(0)
    return Activity(size / len(images), mean / len(images))


def active(size: Float[Tensor, " D"], threshold: float, least: int) -> Int[Tensor, " kept"]:
    """Return which neurons stay, in ascending order.

    Args:
        size: Mean |activation| of every neuron.
        threshold: Share of the median of those that are not zero; neurons at or below it go.
        least: As many of the most active stay in any case.
    """
    speaking = size[size > 0]
    limit = threshold * speaking.median() if len(speaking) else size.new_zeros(())
    kept = size > limit
    if int(kept.sum()) < least:
        kept = torch.zeros_like(kept)
        kept[size.argsort(descending=True, stable=True)[:least]] = True
    return kept.nonzero().flatten()


@torch.no_grad()
def cut(
    network: StagingNetwork,
    kept: Int[Tensor, " kept"],
    optimizer: torch.optim.Optimizer | None = None,
    mean: Float[Tensor, " D"] | None = None,
) -> None:
    """Cut every other neuron out of the hidden layer, in place.

    Args:
        network: Network with a hidden layer.
        kept: Which neurons stay.
        optimizer: Its groups and moments follow.
        mean: Mean activation of every neuron: what those that go said on average is added to the classifier's bias.
    """
    first, classifier = hidden_layer(network)
    width = hidden_width(network)
    if mean is not None:
        gone = torch.ones(width, dtype=torch.bool, device=kept.device)
        gone[kept] = False
        classifier.bias.add_(classifier.weight[:, gone] @ mean[gone].to(classifier.weight.dtype))
    for module, name, dimension in ((first, "weight", 0), (first, "bias", 0), (classifier, "weight", 1)):
        _shorten(module, name, dimension, kept, optimizer)
    setattr(first, "out_channels" if isinstance(first, nn.Conv2d) else "out_features", len(kept))
    classifier.in_features = len(kept)


def _shorten(
    module: nn.Module,
    name: str,
    dimension: int,
    kept: Int[Tensor, " kept"],
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Replace a parameter by a part of it, in its module and in the optimiser."""
    old = module.get_parameter(name)
    new = nn.Parameter(_part(old, dimension, kept), requires_grad=old.requires_grad)
    setattr(module, name, new)
    if optimizer is None:
        return
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
    slots = optimizer.state.pop(old, None)
    if slots is not None:
        optimizer.state[new] = {
            slot: _part(value, dimension, kept) if value.shape == old.shape else value for slot, value in slots.items()
        }


def _part(values: Tensor, dimension: int, kept: Int[Tensor, " kept"]) -> Tensor:
    part = values.detach().index_select(dimension, kept.to(values.device))
    # The fused optimiser walks raw memory: parameter and moments must have one memory format.
    return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part.contiguous()
