"""What bundle.json says, as strict data classes: stages, network interface, preprocessing, stamp, parity, digests.

Owns the version number and the fields of the format. Reads and writes nothing: that is ``bundle``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from fibrokd.config import Config
from fibrokd.data.preprocess import PreprocessSpec

FORMAT = 1
"""Version of the bundle format; a reader refuses anything newer."""


class StagesCard(Config):
    """The label space of the network: its answers are given that the stage is one of these."""

    names: tuple[str, ...]
    """Stage names from least to most severe; column k of the network's output belongs to name k."""

    cutoffs: tuple[int, ...]
    """Indices k of the end points "stage ≥ k"."""


class NetworkCard(Config):
    """What the ONNX file expects and answers."""

    backbone: str
    """Name of the architecture."""

    parameters: Annotated[int, Field(ge=0)]
    """Trainable numbers of the network."""

    opset: Annotated[int, Field(ge=1)]
    """ONNX operator set."""

    input: str = "image"
    """Input name: float32 [N, 1, S, S], grey levels divided by 255."""

    output: str = "logits"
    """Output name: float32 [N, K], before softmax."""

    precision: str = "fp32"
    """Arithmetic the parity figures were taken with."""


class BundleCard(Config):
    """Content of bundle.json, apart from its own digest."""

    format: int = FORMAT
    """Version of the bundle format."""

    name: str
    """Name of the release."""

    created_by: str
    """Version of fibrokd that wrote the bundle."""

    stages: StagesCard
    """Label space and cut-offs."""

    preprocess: PreprocessSpec
    """What is done to every image before the network sees it."""

    network: NetworkCard
    """The network's interface."""

    tolerance: Annotated[float, Field(gt=0, le=0.01)] = 1e-4
    """Largest accepted difference of a probability, in parity and in the golden cases."""

    stamp: dict[str, Any]
    """Integrity stamp of the training data: verdict, grouping, reasons, synthetic."""

    card: dict[str, Any]
    """Model card: what it was trained on, headline metrics, intended use."""

    parity: dict[str, Any]
    """PyTorch against the exported network on the test split: images, largest difference, stage flips."""

    files: dict[str, str]
    """sha256 of every other file, by relative POSIX path."""
