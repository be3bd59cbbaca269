"""The only predict() of the torch half: single centre views, no test-time augmentation.

Shape letters: N images, K stages, D width of the pooled vector, S side.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from fibrokd.data.preprocess import as_network_input
from fibrokd.training.runtime import Runtime


@torch.inference_mode()
def predict(
    network: nn.Module,
    pixels: UInt8[np.ndarray, "N S S"],
    runtime: Runtime,
    device: torch.device,
    batch_size: int = 64,
) -> Float[np.ndarray, "N K"]:
    """Return the logits of single centre views: no test-time augmentation.

    Args:
        network: Network; its training mode is restored afterwards.
        pixels: Preprocessed frames.
        runtime: Precision and memory format.
        device: Where to compute.
        batch_size: Frames per forward pass.
    """
    return _asked(network, pixels, runtime, device, batch_size, "logits")


@torch.inference_mode()
def embed(
    network: nn.Module,
    pixels: UInt8[np.ndarray, "N S S"],
    runtime: Runtime,
    device: torch.device,
    batch_size: int = 64,
) -> Float[np.ndarray, "N D"]:
    """Return the vectors that enter the last linear layer, of single centre views.

    Args:
        network: Network; its training mode is restored afterwards.
        pixels: Preprocessed frames.
        runtime: Precision and memory format.
        device: Where to compute.
        batch_size: Frames per forward pass.
    """
    return _asked(network, pixels, runtime, device, batch_size, "pooled")


def _asked(
    network: nn.Module,
    pixels: UInt8[np.ndarray, "N S S"],
    runtime: Runtime,
    device: torch.device,
    batch_size: int,
    wanted: Literal["logits", "pooled"],
) -> Float[np.ndarray, "N W"]:
    training = network.training
    network.eval()
    answers: list[Tensor] = []
    for start in range(0, len(pixels), batch_size):
        images = torch.from_numpy(as_network_input(np.ascontiguousarray(pixels[start : start + batch_size])))
        with runtime.computing(device):
            outputs = network(images.to(device).contiguous(memory_format=runtime.layout))
        answers.append(getattr(outputs, wanted).float().cpu())
    network.train(training)
    found: np.ndarray = torch.cat(answers).numpy()
    return found
