"""What a book holds beside logits: pooled vectors, means over feature maps, uncertainty; one fp16 file for each.

Owns the files' names and what stands in them. Uncertainty is K + 2 numbers per view: the logarithm of the mean answer
over the dropout masks, the aleatoric and the epistemic part in nats. None of it can be mixed after the teacher has
answered: a feature of a mixture is not the mixture of features.

Shape letters: V views, N training images, D width of what is stored, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fibrokd.files import atomic_path
from fibrokd.training.dataset import Batch
from fibrokd.training.networks import TAPS
from fibrokd.training.signals import GAPS, LOGITS, POOLED, UNCERTAINTY, TeacherSignal, Uncertainty
from fibrokd.training.teachers import TeacherSource

STORABLE = (POOLED, UNCERTAINTY, *(GAPS + tap for tap in TAPS))


def known_stores(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``names``.

    Raises:
        ValueError: One cannot be stored, or is named twice.
    """
    if len(set(names)) < len(names) or not set(names) <= set(STORABLE):
        raise ValueError(f"expected different names out of {', '.join(STORABLE)}")
    return names


def store_file(folder: Path, name: str) -> Path:
    """Return where a book keeps what is stored under ``name``."""
    return folder / f"{name.replace(':', '_')}.npy"


def part_file(part: Path, name: str) -> Path:
    """Return where one view of it is kept until the book is whole; logits are the part itself."""
    return part if name == LOGITS else part.with_name(f"{part.stem}.{store_file(part, name).name}")


def answers(teacher: TeacherSource, batch: Batch, stores: Sequence[str]) -> dict[str, np.ndarray]:
    """Let a teacher say everything that is to be stored about a batch.

    Returns:
        Values [B, D] by name, logits among them: those of the whole network, whatever the masks say.
    """
    told = teacher.signal(batch, frozenset({LOGITS, *stores}) - {UNCERTAINTY})
    found = {LOGITS: told.logits}
    for name in stores:
        if name == POOLED and told.pooled is not None:
            found[name] = told.pooled
        elif name == UNCERTAINTY:
            found[name] = _spread(teacher.signal(batch, frozenset({UNCERTAINTY})))
        else:
            found[name] = told.gaps[name.removeprefix(GAPS)]
    return {name: values.cpu().numpy() for name, values in found.items()}


def unpack(signal: TeacherSignal, stored: Mapping[str, Tensor]) -> TeacherSignal:
    """Return the signal with what was stored beside its logits.

    Args:
        signal: The stored logits.
        stored: Values [B, D] by name; only what is asked for.
    """
    gaps = {name.removeprefix(GAPS): values for name, values in stored.items() if name.startswith(GAPS)}
    signal = replace(signal, gaps=gaps, pooled=stored.get(POOLED))
    if UNCERTAINTY not in stored:
        return signal
    packed = stored[UNCERTAINTY]
    return replace(signal, logits=packed[:, :-2], uncertainty=Uncertainty(packed[:, -2], packed[:, -1]))


def assemble(folder: Path, parts: Sequence[Path], name: str) -> str:
    """Join the views of one store, without holding more than one of them in memory, and return the file's name."""
    path = store_file(folder, name)
    first = np.load(part_file(parts[0], name), allow_pickle=False)
    with atomic_path(path) as temporary:
        joined = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(parts), *first.shape))
        for number, part in enumerate(parts):
            joined[number] = np.load(part_file(part, name), allow_pickle=False)
        joined.flush()
    return path.name


def _spread(signal: TeacherSignal) -> Tensor:
    if signal.uncertainty is None:
        raise TypeError("a teacher that was asked for uncertainty gave none")
    return torch.cat([signal.logits, torch.stack([signal.uncertainty.aleatoric, signal.uncertainty.epistemic], 1)], 1)
