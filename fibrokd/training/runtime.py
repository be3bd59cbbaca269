"""Device, precision, memory format, seeds and processes: explicit, resolved once, recorded.

``auto`` measures a few steps of the very network on the very device; the answer is written down before the first
training step, so that a resumed run repeats it.
"""

from __future__ import annotations

import contextlib
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fibrokd.config import Config
from fibrokd.errors import TrainingError
from fibrokd.files import read_json, write_json
from fibrokd.memory import keep_freed_memory

Precision = Literal["fp32", "bf16"]
MemoryFormat = Literal["nchw", "channels_last"]

_FORMATS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
_MARGIN = 0.1  # by which a later candidate has to be faster
_MEASURED_STEPS = 2
_MEASURED_IMAGES = 8
"""A few images tell the candidates apart; whole batches of a big teacher would cost half a minute."""


class RuntimeConfig(Config):
    """How a network is computed; ``auto`` is resolved by measuring."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``bf16`` computes under autocast; weights and optimiser stay in fp32."""

    memory_format: Literal["auto", "nchw", "channels_last"] = "auto"
    """Order of image tensors in memory."""


@dataclass(frozen=True)
class Runtime:
    """A resolved choice.

    Args:
        precision: ``fp32`` or ``bf16``.
        memory_format: ``nchw`` or ``channels_last``.
    """

    precision: Precision
    memory_format: MemoryFormat

    @property
    def layout(self) -> torch.memory_format:
        """The memory format as torch names it."""
        return _FORMATS[self.memory_format]

    @contextlib.contextmanager
    def computing(self, device: torch.device) -> Iterator[None]:
        """Run the body in this precision."""
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            yield

    def as_json(self) -> dict[str, str]:
        """Return plain data for records."""
        return {"precision": self.precision, "memory_format": self.memory_format}


@lru_cache(maxsize=1)
def accelerator() -> Accelerator:
    """Return the one Accelerator of this process; precision is ours, so its own mixed precision stays off.

    Whoever computes with torch asks for it first, so this is also where the process begins to keep freed memory.
    """
    keep_freed_memory()
    return Accelerator(mixed_precision="no")


def seed_step(*key: int) -> None:
    """Seed dropout and stochastic depth for one step from a key, so that no random state need be saved."""
    mixed = 0
    for part in key:
        mixed = (mixed * 1_000_003 + part + 1) % (2**63 - 1)
    torch.manual_seed(mixed)


def resolve(
    config: RuntimeConfig, network: nn.Module, batch: Tensor, file: Path, device: torch.device
) -> tuple[Runtime, dict[str, float]]:
    """Resolve ``auto``, or repeat what an earlier attempt resolved.

    Args:
        config: What was asked for.
        network: The network to be trained; a copy is measured.
        batch: One input batch, [B, 1, S, S].
        file: JSON file that remembers the choice.
        device: Where to compute.

    Returns:
        The choice, and the measured milliseconds per training step of every candidate (empty if nothing had to be
        measured).
    """
    if file.exists():
        return _repeat(read_json(file), file)
    precisions: tuple[Precision, ...] = ("fp32", "bf16") if config.precision == "auto" else (config.precision,)
    formats: tuple[MemoryFormat, ...] = (
        ("channels_last", "nchw") if config.memory_format == "auto" else (config.memory_format,)
    )
    candidates = [Runtime(p, f) for p in precisions for f in formats]
    measured: dict[str, float] = {}
    if len(candidates) > 1:
        for candidate in candidates:
            name = f"{candidate.precision}/{candidate.memory_format}"
            measured[name] = round(_milliseconds(candidate, network, batch, device), 2)
    chosen = _clearly_fastest(candidates, measured)
    circumstances = {"threads": torch.get_num_threads(), "processes": int(accelerator().num_processes)}
    write_json(file, {**chosen.as_json(), **circumstances, "milliseconds_per_step": measured})
    return chosen, measured


def _clearly_fastest(candidates: Sequence[Runtime], measured: Mapping[str, float]) -> Runtime:
    """Return the first candidate that no later one beats clearly.

    A few steps on a busy machine cannot tell near equals apart; without a margin, chance would decide which numbers
    come out of a run.
    """
    chosen = candidates[0]
    for other in candidates[1:]:
        times = [measured[f"{c.precision}/{c.memory_format}"] for c in (chosen, other)]
        if times[1] < (1 - _MARGIN) * times[0]:
            chosen = other
    return chosen


def _repeat(kept: dict[str, Any], file: Path) -> tuple[Runtime, dict[str, float]]:
    """Take up what an earlier attempt wrote down: sums depend on the number of threads, so it is restored too.

    Raises:
        TrainingError: The earlier attempt ran in another number of processes.
    """
    processes = int(accelerator().num_processes)
    if kept["processes"] != processes:
        raise TrainingError(
            f"{file.parent} was begun by {kept['processes']} process(es), found {processes}.",
            "Resume it with as many processes, or choose another OUT.",
        )
    torch.set_num_threads(kept["threads"])
    return Runtime(kept["precision"], kept["memory_format"]), kept["milliseconds_per_step"]


def _milliseconds(runtime: Runtime, network: nn.Module, batch: Tensor, device: torch.device) -> float:
    """Return the shortest time of a training step on a few images, after one that is not counted."""
    probe = copy.deepcopy(network).to(device).train().to(memory_format=runtime.layout)
    images = batch[:_MEASURED_IMAGES].to(device).contiguous(memory_format=runtime.layout)
    spent: list[float] = []
    for _ in range(_MEASURED_STEPS + 1):
        started = time.perf_counter()
        with runtime.computing(device):
            loss = probe(images).logits.float().square().mean()
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - started)
    return min(spent[1:]) * 1000


def median_milliseconds(call: Callable[[], Any], repeats: int) -> float:
    """Return the median time of ``call`` over ``repeats``, after two that are not counted."""
    spent: list[float] = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        call()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent[2:]) * 1000
