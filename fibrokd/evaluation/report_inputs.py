"""Everything a report is made of. Sections read it; nothing else reaches them.

Shape letters: S side of the square network input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from fibrokd.errors import ArtifactError
from fibrokd.evaluation.atlas.collected import Collected
from fibrokd.evaluation.predictions import Predictions

TEACHER, CONTROL = "teacher", "student_plain"
"""What a run calls its teacher, and the student that learned without one."""

NETWORK_TITLES = {
    TEACHER: "Teacher",
    CONTROL: "Student without teacher (control)",
    "student_kd": "Distilled student",
}


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Inputs of one report; equal inputs give equal bytes, so nothing in here may hold times or paths.

    Args:
        title: Title of the report.
        document: Content of metrics.json.
        predictions: What metrics.json was computed from.
        picture: Image id → the grey picture as the networks saw it, or ``None`` where there is none; only images of
            the worst errors are asked for.
        no_picture: What is said where there is no picture.
        integrity: Content of integrity.json.
        curves: Network → one mapping per epoch with ``epoch`` and any of ``train_loss``, ``val_macro_f1``,
            ``val_balanced_accuracy``, ``learning_rate``.
        provenance: What → sha256 digest of every input.
        cards: Network → its card, as JSON data.
        copies_in_train: Share of the images of ``split`` whose very pixels are also in train; ``None`` if unknown.
        rounds: ``by`` and ``networks`` of a cross-validation, see :mod:`fibrokd.evaluation.rounds`; else ``None``.
        external: See :mod:`fibrokd.evaluation.external`; ``None`` where networks were trained on this collection.
        collected: Network → embeddings' neighbours and maps of evidence; those that are not known may be left out.
        robustness: See :mod:`fibrokd.evaluation.robustness.document`; ``None`` where no picture was disturbed.
        shortcuts: See :mod:`fibrokd.evaluation.shortcuts`; ``None`` where none was asked.
        spent: Network → content of its cost.json, as far as it was counted.
        split: The split that the report is about.
        titles: Network → what the report calls it.
    """

    title: str
    document: Mapping[str, Any]
    predictions: Sequence[Predictions]
    picture: Callable[[str], UInt8[np.ndarray, "S S"] | None]
    no_picture: str = "No picture stored."
    integrity: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, int | float]]] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    copies_in_train: int | float | None = None
    rounds: Mapping[str, Any] | None = None
    external: Mapping[str, Any] | None = None
    collected: Mapping[str, Collected] = field(default_factory=dict)
    robustness: Mapping[str, Any] | None = None
    shortcuts: Mapping[str, Any] | None = None
    spent: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    split: str = "test"
    titles: Mapping[str, str] = field(default_factory=lambda: NETWORK_TITLES)

    def __post_init__(self) -> None:
        expected = set(self.networks)
        found = {part.network for part in self.parts}
        if not expected or expected != found:
            raise ArtifactError(
                f"Expected metrics and predictions on {self.split} to be of the same networks, found metrics of "
                f"{', '.join(sorted(expected)) or 'none'} and predictions of {', '.join(sorted(found)) or 'none'}.",
                "Compute metrics.json from these predictions.",
            )

    @property
    def stamp(self) -> Mapping[str, Any]:
        """Integrity stamp: ``verdict``, ``grouping``, ``reasons``, ``accepted_unfit``, ``synthetic``."""
        stamp: Mapping[str, Any] = self.document["stamp"]
        return stamp

    @property
    def synthetic(self) -> bool:
        """True where the images are simulated."""
        return bool(self.stamp.get("synthetic", False))

    @property
    def scale(self) -> list[str]:
        """Stage names."""
        return list(self.document["scale"])

    @property
    def networks(self) -> dict[str, Mapping[str, Any]]:
        """Network → its metrics on the split of the report."""
        found = self.document["networks"].items()
        return {name: network[self.split] for name, network in found if self.split in network}

    @property
    def parts(self) -> list[Predictions]:
        """Predictions on the split of the report."""
        return [part for part in self.predictions if part.split == self.split]

    def title_of(self, network: str) -> str:
        """Return what the report calls a network."""
        return self.titles.get(network, network)
