"""What was collected of every network beside its probabilities, read back and put into words for the report.

Owns the names of the files and the table neighbours.csv: ``network``, ``image_id``, ``rank``, ``neighbour`` (image of
the training split), its ``stage`` and ``likeness``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from fibrokd.errors import ArtifactError
from fibrokd.evaluation.atlas.image_arrays import ImageArrays, read_image_arrays
from fibrokd.evaluation.atlas.neighbours import nearest
from fibrokd.evaluation.predictions import Predictions
from fibrokd.files import write_text

PICTURES_PER_NETWORK = 15
"""Errors that have a map, worst first, one per cluster."""

COLUMNS = ("network", "image_id", "rank", "neighbour", "stage", "likeness")


@dataclass(frozen=True, eq=False)
class Learned:
    """The images that networks learned from.

    Args:
        image_ids: Their ids.
        clusters: Cluster of each.
        stages: True stage index of each.
    """

    image_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    stages: Int[np.ndarray, " N"]


@dataclass(frozen=True)
class Neighbour:
    """A training image that is most like another, of its cluster.

    Args:
        image_id: Its id.
        stage: Its true stage index.
        likeness: Cosine of the embeddings, −1 … 1.
    """

    image_id: str
    stage: int
    likeness: float


@dataclass(frozen=True, eq=False)
class Collected:
    """What is known of one network's answers beside their probabilities.

    Args:
        evidence: How far logits fall without each square, [K, h, w], of the worst errors; ``None``: not collected.
        neighbours: Image id → nearest training patients, nearest first; empty where they are not known.
    """

    evidence: ImageArrays | None = None
    neighbours: Mapping[str, Sequence[Neighbour]] = field(default_factory=dict)


def embeddings_file(network: str) -> str:
    """Return the name of the file of a network's embeddings."""
    return f"embeddings_{network}.npz"


def evidence_file(network: str) -> str:
    """Return the name of the file of a network's maps."""
    return f"evidence_{network}.npz"


def collected(folder: Path, answers: Sequence[Predictions], learned: Learned, count: int) -> dict[str, Collected]:
    """Read what lies beside predictions.csv.

    Args:
        folder: Folder of the files; those that are not there are left out.
        answers: Answers that are reported on, one part per network.
        learned: What the networks learned from.
        count: Neighbours of every image; 0: none.

    Raises:
        ArtifactError: A file is none, or lacks an image that was answered.
    """
    return {part.network: _of_network(folder, part, learned, count) for part in answers}


def write_neighbours(path: Path, found: Mapping[str, Collected], scale: Sequence[str]) -> None:
    """Write neighbours.csv atomically.

    Args:
        path: File to write.
        found: What was collected, by network.
        scale: Stage names.
    """
    rows = [
        (network, image_id, rank, item.image_id, scale[item.stage], f"{item.likeness:.4f}")
        for network, collected in found.items()
        for image_id, items in collected.neighbours.items()
        for rank, item in enumerate(items, start=1)
    ]
    write_text(path, pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n"))


def _of_network(folder: Path, part: Predictions, learned: Learned, count: int) -> Collected:
    maps, vectors = folder / evidence_file(part.network), folder / embeddings_file(part.network)
    evidence = read_image_arrays(maps) if maps.exists() else None
    neighbours = _neighbours(vectors, part, learned, count) if count and vectors.exists() else {}
    return Collected(evidence, neighbours)


def _neighbours(path: Path, part: Predictions, learned: Learned, count: int) -> dict[str, list[Neighbour]]:
    vectors = read_image_arrays(path)
    asked, known = _rows(path, vectors, part.image_ids), _rows(path, vectors, learned.image_ids)
    found = nearest(vectors.values[asked], vectors.values[known], part.groups, learned.clusters, count)
    return {
        image_id: [
            Neighbour(learned.image_ids[row], int(learned.stages[row]), float(likeness))
            for row, likeness in zip(found.rows[number], found.likeness[number], strict=True)
        ]
        for number, image_id in enumerate(part.image_ids)
    }


def _rows(path: Path, arrays: ImageArrays, image_ids: Sequence[str]) -> list[int]:
    rows = arrays.rows
    missing = [image_id for image_id in image_ids if image_id not in rows]
    if missing:
        raise ArtifactError(
            f"Expected {path.name} to hold all {len(image_ids)} images, found {len(missing)} missing "
            f"({missing[0]} first).",
            "Assess the networks again: it was collected for other answers.",
        )
    return [rows[image_id] for image_id in image_ids]
