"""How the networks of a run were trained, from the records that lie beside its assessment.

A record is believed where its digest is the one that the assessment read; there is no guessing by names. A run whose
networks lie elsewhere has none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibrokd.artifacts import RECORD, Record, leaves, read_record
from fibrokd.errors import ArtifactError
from fibrokd.files import digest_json

SEED = "seed"
"""Key of every seed in a configuration."""

PREPARED = "prepared"
"""Input that holds the data. Its seed decides who is tested, so another one is other data and no repetition."""


@dataclass(frozen=True)
class Training:
    """How a network came about.

    Args:
        recipe: Digest of everything but the seeds: steps and configurations of the network and of all that it learned
            from, and the data.
        settings: Path in the configuration → value; what it learned from comes under the name of that input.
    """

    recipe: str
    settings: Mapping[str, Any]

    @property
    def seeds(self) -> dict[str, Any]:
        """Path in the configuration → seed."""
        return {path: value for path, value in self.settings.items() if path.rpartition(".")[2] == SEED}


def trainings_beside(folder: Path, record: Record) -> dict[str, Training]:
    """Return how those networks were trained whose folders lie beside an assessment.

    Args:
        folder: The assessed folder.
        record: Its record.
    """
    known = {found.digest: found for found in _records(folder.parent)}
    return {
        name: Training(digest_json(_recipe(known[digest], known)), dict(_settings(known[digest], known)))
        for name, digest in record.inputs.items()
        if digest in known and known[digest].step in ("teach", "distill")
    }


def _records(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob(f"*/{RECORD}")):
        # What else lies there is no part of the run, and must not stop it.
        with contextlib.suppress(ArtifactError):
            yield read_record(path.parent)


def _recipe(record: Record, known: Mapping[str, Record]) -> dict[str, Any]:
    inputs = {
        name: _recipe(known[digest], known) if name != PREPARED and digest in known else digest
        for name, digest in record.inputs.items()
    }
    return {"step": record.step, "config": _unseeded(record.config), "inputs": inputs}


def _unseeded(node: Any) -> Any:
    if isinstance(node, Mapping):
        # The seed of a selection draws whose images are learned from: that is other data and no repetition.
        kept = {key: value for key, value in node.items() if key != SEED}
        return {key: value if key == "selection" else _unseeded(value) for key, value in kept.items()}
    return [_unseeded(item) for item in node] if isinstance(node, list) else node


def _settings(record: Record, known: Mapping[str, Record], prefix: str = "") -> Iterator[tuple[str, Any]]:
    yield from leaves(record.config, prefix.rstrip("."))
    for name, digest in record.inputs.items():
        if name != PREPARED and digest in known:
            yield from _settings(known[digest], known, f"{prefix}{name}.")
