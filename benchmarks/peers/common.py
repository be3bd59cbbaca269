"""What both sides of whole trainings share: networks, where files lie, and how start and memory are checked.

Imports no fibrokd, because the side of torchdistill runs without it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from benchmarks.peers.torchdistill_side import Grey

BATCH_NORM_MOMENTUM = 0.1
"""Of every batch norm: MobileNet's own 0.01 would leave its running statistics random after a few hundred steps."""
VIEWS, MATERIAL = "views.u8", "material.pt"


def fresh(name: str, seed: int) -> Grey:
    """Make a network whose weights are drawn from ``seed``."""
    torch.manual_seed(seed)
    network = Grey(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
    return network


def weights_digest(network: nn.Module) -> str:
    """Return a digest of all weights and statistics: that both sides start alike is checked, not believed."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def peak_mb() -> int | None:
    """Return the largest resident memory of this process so far, MiB; None where the system does not tell.

    Not ``getrusage``: a process starts with the peak of the one that started it.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return round(peaks[0] / 1024) if peaks else None
