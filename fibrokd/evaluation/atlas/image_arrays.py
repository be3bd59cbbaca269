"""Arrays by image that stay beside predictions.csv: embeddings, and maps of evidence, of one network each.

Owns the file format: a NumPy archive of ``image_id`` and ``values``, read without pickle. Values are stored in half
precision, which is more than any use of them needs; equal arrays give equal bytes.

Shape letters: N images.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fibrokd.errors import ArtifactError, TableError
from fibrokd.files import atomic_path

_TODO = "Assess the networks again."


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """One array per image.

    Args:
        image_ids: Opaque image ids, unique.
        values: Arrays of one shape, in the same order.

    Raises:
        TableError: Ids repeat, numbers are not finite, or there are not as many ids as arrays.
    """

    image_ids: tuple[str, ...]
    values: Float[np.ndarray, "N ..."]

    def __post_init__(self) -> None:
        problems = []
        if len(self.image_ids) != len(self.values):
            problems.append(f"expected as many arrays as images, found {len(self.values)} and {len(self.image_ids)}")
        if len(set(self.image_ids)) != len(self.image_ids):
            problems.append("an image comes twice")
        if not np.isfinite(self.values).all():
            problems.append("numbers are not finite")
        if problems:
            raise TableError("arrays by image", problems, _TODO)

    @property
    def rows(self) -> dict[str, int]:
        """Image id → its row."""
        return {image_id: row for row, image_id in enumerate(self.image_ids)}


def write_image_arrays(path: Path, arrays: ImageArrays) -> None:
    """Write an archive atomically.

    Args:
        path: File to write, ``.npz``.
        arrays: What to store; of numbers beyond half precision's largest, that one is stored.
    """
    largest = np.finfo(np.float16).max
    values = np.clip(arrays.values, -largest, largest).astype(np.float16)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, image_id=np.array(arrays.image_ids, dtype=np.str_), values=values)


def read_image_arrays(path: Path) -> ImageArrays:
    """Read what :func:`write_image_arrays` wrote.

    Raises:
        ArtifactError: It is no such archive.
        TableError: Its content cannot be used.
    """
    try:
        # Opened here: where the archive is none, NumPy would leave the file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            image_ids, values = archive["image_id"], archive["values"]
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"Expected arrays by image at {path}, found none ({type(error).__name__}).", _TODO
        ) from error
    return ImageArrays(tuple(image_ids.tolist()), values.astype(np.float32))
