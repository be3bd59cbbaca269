"""Teacher and student networks: the BACKBONES table, building, saving and loading. Knows no loss and no data.

Every network takes grey levels in [0, 1] as ``[N, 1, S, S]`` and carries its own normalisation, so that teacher,
student, export and bedside can never disagree about it.

Shape letters: N batch, S side of the input, K stages, D width of the pooled vector, C H W feature map.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from jaxtyping import Float
from pydantic import AfterValidator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fibrokd.errors import ConfigError, WeightsError
from fibrokd.files import atomic_path, read_json, write_json

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_HEAD_STD = 0.01  # torchvision's value for MobileNetV3


@dataclass(frozen=True)
class Backbone:
    """One row of :data:`BACKBONES`.

    Args:
        timm_name: Name in timm, whose implementations are used.
        parameters: Trainable parameters with a five-stage head, as published; a test compares.
        tag: Which ImageNet weights of timm; named, because timm's own choice changes between versions.
        dropout: Dropout before the last linear layer.
        drop_path: Stochastic depth.
    """

    timm_name: str
    parameters: int
    tag: str | None = None
    dropout: float = 0.0
    drop_path: float = 0.0


BACKBONES: Mapping[str, Backbone] = {
    "resnet50": Backbone("resnet50", 23_518_277, "a1_in1k"),
    "resnet18": Backbone("resnet18", 11_179_077, "a1_in1k"),
    # timm leaves dropout off unless asked; torchvision's originals have 0.2 in the head.
    "efficientnet_b0": Backbone("efficientnet_b0", 4_013_953, "ra_in1k", dropout=0.2, drop_path=0.2),
    "mobilenetv3_small": Backbone("mobilenetv3_small_100", 1_522_981, "lamb_in1k", dropout=0.2),
    # For tests and smoke configurations only: trains in seconds, says nothing about accuracy.
    "tiny": Backbone("test_resnet", 373_173),
}
"""Every backbone by the name that configurations use. A new one is a new row; a contract test picks it up."""


def _known(name: str) -> str:
    if name not in BACKBONES:
        raise ValueError(f"expected one of {', '.join(BACKBONES)}")
    return name


BackboneName = Annotated[str, AfterValidator(_known)]
"""A key of :data:`BACKBONES`, checked when a configuration is read."""

TAPS = {"s2": 2, "s4": 4, "s8": 8, "s16": 16, "s32": 32}
"""Feature taps by name → reduction of the input side; names, not layer indices, are the contract with objectives."""


@dataclass(frozen=True)
class Outputs:
    """What a network answers.

    Args:
        logits: Pre-softmax scores [N, K].
        pooled: The vector that enters the last linear layer, before its dropout, [N, D].
        maps: Feature maps [N, C, H, W] by tap name; only those that were asked for.
    """

    logits: Float[Tensor, "N K"]
    pooled: Float[Tensor, "N D"]
    maps: Mapping[str, Tensor]


class StagingNetwork(nn.Module):
    """A timm backbone with a head for K stages and its normalisation inside.

    Args:
        backbone: Key of :data:`BACKBONES`.
        stages: Number of stages K.
        pretrained: Load ImageNet weights through timm.

    Raises:
        ConfigError: The backbone is not in the table.
        WeightsError: ImageNet weights cannot be had.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, stages: int, pretrained: bool = False) -> None:
        super().__init__()
        row = BACKBONES.get(backbone)
        if row is None:
            raise ConfigError(
                f"Expected a backbone out of {', '.join(BACKBONES)}, found {backbone!r}.",
                "Correct `backbone` in the configuration.",
            )
        self.backbone_name = backbone
        self.stages = stages
        self.body = _create(row, stages, pretrained)
        _start_undecided(self.body.get_classifier())
        self.body.drop_rate = 0.0  # the pooled vector is handed out before dropout
        self.dropout = nn.Dropout(row.dropout)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "N 1 S S"], taps: Collection[str] = ()) -> Outputs:
        """Stage a batch.

        Args:
            images: Grey levels in [0, 1].
            taps: Names of feature taps to return as well.
        """
        x = (images.expand(-1, 3, -1, -1) - self.mean) / self.std
        maps: dict[str, Tensor] = {}
        if taps:
            indices = {tap: self.tap_index(tap) for tap in taps}
            features, found = self.body.forward_intermediates(x, indices=sorted(indices.values()))
            by_index = dict(zip(sorted(indices.values()), found, strict=True))
            maps = {tap: by_index[index] for tap, index in indices.items()}
        else:
            features = self.body.forward_features(x)
        pooled = self.body.forward_head(features, pre_logits=True)
        return Outputs(self.classify(pooled), pooled, maps)

    def classify(self, pooled: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Return the logits of pooled vectors, before which values are dropped while the network trains.

        Args:
            pooled: What :class:`Outputs` holds under this name.
        """
        logits: Tensor = self.body.get_classifier()(self.dropout(pooled))
        return logits

    def tap_index(self, tap: str) -> int:
        """Return the place of a tap among the backbone's levels of resolution."""
        reductions = [info["reduction"] for info in self.body.feature_info]
        return reductions.index(TAPS[tap])


def weight_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's parameters and batch-norm statistics, as they are stored."""
    tensors = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def parameter_count(network: nn.Module) -> int:
    """Return the number of parameters, as the literature counts them."""
    return sum(parameter.numel() for parameter in network.parameters())


def build(backbone: str, stages: int, pretrained: bool, weights: Path | None, seed: int) -> StagingNetwork:
    """Build a network with reproducible initial weights.

    Args:
        backbone: Key of :data:`BACKBONES`.
        stages: Number of stages K.
        pretrained: Start from ImageNet weights, through timm's hub unless ``weights`` is given.
        weights: Local safetensors file with weights of the same timm architecture; its classifier may have any
            number of classes and is then left out.
        seed: Seed of the initial weights.

    Raises:
        WeightsError: Weights were asked for and cannot be had or do not fit.
        ConfigError: ``weights`` are given although ``pretrained`` is false.
    """
    if weights is not None and not pretrained:
        raise ConfigError(
            "Expected `weights` only with `pretrained: true`, found both a file and `pretrained: false`.",
            "Leave one of them out.",
        )
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        network = StagingNetwork(backbone, stages, pretrained=pretrained and weights is None)
    if weights is not None:
        _load_body(network, weights)
    return network


def save_network(folder: Path, network: nn.Module, backbone: str, card: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors`` and ``card.json``; both atomically.

    Args:
        folder: Run folder.
        network: Network to save; its weights are stored in fp32.
        backbone: Key of :data:`BACKBONES` that it was made of.
        card: Facts about the network; ``backbone``, ``parameters`` and ``weight_bytes`` are added here.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with atomic_path(folder / "weights.safetensors") as temporary:
        save_file(state, temporary)
    facts = {"backbone": backbone, "parameters": parameter_count(network), "weight_bytes": weight_bytes(network)}
    write_json(folder / "card.json", {**facts, **card})


Reshape = Callable[[StagingNetwork, Mapping[str, torch.Size]], nn.Module]
"""From a plain network, and the shapes of the stored tensors by name, to the network that has them."""


def load_network(folder: Path, reshape: Reshape | None = None) -> nn.Module:
    """Load the network of a finished teacher or student folder, in eval mode on the CPU.

    Args:
        folder: Run folder.
        reshape: What the method of a student makes of its backbone; by default nothing.

    Raises:
        WeightsError: Weights and card do not fit together.
        ArtifactError: A file is missing.
    """
    card = read_json(folder / "card.json")
    plain = StagingNetwork(card["backbone"], len(card["stages"]))
    try:
        state = load_file(folder / "weights.safetensors")
        shapes = {name: tensor.shape for name, tensor in state.items()}
        network = plain if reshape is None else reshape(plain, shapes)
        network.load_state_dict(state)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"{folder / 'weights.safetensors'} does not hold a {card['backbone']} for "
            f"{len(card['stages'])} stages ({str(error).splitlines()[0]}).",
            "Run the step that writes it again.",
        ) from error
    return network.eval()


def _start_undecided(head: nn.Linear) -> None:
    """Give the new head small weights, so that every network starts with nearly equal probabilities.

    timm draws the head of the MobileNet and EfficientNet families within ±1/√K: made for a thousand classes, at five
    stages it gives logits of several units before anything is learned, and the first epochs are spent unlearning them.
    """
    nn.init.normal_(head.weight, std=_HEAD_STD)
    nn.init.zeros_(head.bias)


def _create(row: Backbone, stages: int, pretrained: bool) -> Any:
    try:
        return timm.create_model(
            f"{row.timm_name}.{row.tag}" if row.tag else row.timm_name,
            pretrained=pretrained,
            num_classes=stages,
            drop_rate=row.dropout,
            drop_path_rate=row.drop_path,
        )
    except Exception as error:
        # timm and its hub client raise many unrelated types when a download fails.
        if not pretrained:
            raise
        raise WeightsError(
            f"ImageNet weights of {row.timm_name} could not be downloaded ({type(error).__name__}).",
            "Connect to the model hub once (timm caches them), or give `weights: PATH` to a local safetensors file, "
            "or set `pretrained: false` to train from scratch.",
        ) from error


def _load_body(network: StagingNetwork, path: Path) -> None:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"Expected a safetensors file at {path}, found none that can be read ({error}).",
            "Give `weights: PATH` to weights that timm saved for this architecture.",
        ) from error
    own = network.body.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    classifier = {name for name in own if own[name].shape[:1] == (network.stages,)}
    missing = sorted(set(own) - set(fitting) - classifier)
    if missing:
        raise WeightsError(
            f"{path} lacks {len(missing)} tensors of {network.backbone_name}, among them {json.dumps(missing[:3])}.",
            f"Use weights of timm's {BACKBONES[network.backbone_name].timm_name}.",
        )
    network.body.load_state_dict({**own, **fitting})
