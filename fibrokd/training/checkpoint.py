"""Everything a training run needs to go on exactly where it stopped, in one safetensors file. Never pickle.

Tensors are stored under ``network/…``, ``average/…`` (the moving average) and ``optimizer/<index>/<name>``; the rest
(schedulers, history, counters) is JSON in the file's header. No random state is stored: every draw of the loop is
keyed by (seed, epoch, step).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fibrokd.errors import TrainingError
from fibrokd.files import atomic_path


def save_checkpoint(
    path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: File to write.
        networks: Modules by name, such as ``network`` and ``average``.
        optimizer: Its tensors and groups are stored.
        state: Anything else, as JSON data.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in networks.items():
        tensors.update({f"{name}/{key}": value for key, value in module.state_dict().items()})
    packed = optimizer.state_dict()
    for index, slots in packed["state"].items():
        tensors.update({f"optimizer/{index}/{slot}": value for slot, value in slots.items()})
    header = {"groups": packed["param_groups"], "state": state}
    with atomic_path(path) as temporary:
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
            temporary,
            metadata={"fibrokd": json.dumps(header)},
        )


def read_state(path: Path) -> dict[str, Any]:
    """Return ``state`` as :func:`save_checkpoint` stored it, without loading a tensor.

    Raises:
        TrainingError: The file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            state: dict[str, Any] = json.loads(stream.metadata()["fibrokd"])["state"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error) from error
    return state


def load_checkpoint(path: Path, networks: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what :func:`save_checkpoint` stored and return ``state``.

    Raises:
        TrainingError: The file cannot be read or belongs to another network.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = json.loads(stream.metadata()["fibrokd"])
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 - not a dict
        for name, module in networks.items():
            prefix = f"{name}/"
            module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
        _restore_optimizer(optimizer, tensors, header["groups"])
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise _unusable(path, error) from error
    state: dict[str, Any] = header["state"]
    return state


def _unusable(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"The checkpoint {path} cannot be resumed ({str(error).splitlines()[0]}).",
        "Delete the run folder and run the step again.",
    )


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: Any) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, slot = key.split("/")
            state.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    # The fused optimiser walks raw memory: moments must have the memory format of their parameter.
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            if value.shape == parameter.shape:
                slots[slot] = torch.empty_like(parameter).copy_(value)
