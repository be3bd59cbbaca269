"""The manifest of a book: what it and its readers must have in common, and the refusal of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibrokd.data.prepared import Prepared
from fibrokd.errors import BookError
from fibrokd.files import digest_bytes, digest_json
from fibrokd.training.dataset import TrainingImages

FORMAT = 1
CHECKED_IMAGES = 64
"""Mixed tensors whose pixels are digested: detects drift of decoders and interpolation between machines."""


def manifest(
    images: TrainingImages, teacher_digest: str, prepared: Prepared, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the manifest of a book.

    Args:
        images: Training images and views that are answered.
        teacher_digest: Digest of the teacher's record.
        prepared: Data they are of.
        config: Mode, number of views, and what is stored beside logits.
    """
    return {
        "format": FORMAT,
        **config,
        "teacher": teacher_digest,
        **common(images, prepared),
    }


def common(images: TrainingImages, prepared: Prepared) -> dict[str, Any]:
    """Return what a reader must have in common with the writer."""
    return {
        "stages": list(prepared.scale.names),
        "images": len(images),
        "prepared": prepared.record.digest,
        "training_ids": digest_json(list(images.image_ids)),
        "view_spec": images.views.digest,
        "pixels": _pixel_checksum(images),
    }


def _pixel_checksum(images: TrainingImages) -> str:
    few = next(images.batches(0, CHECKED_IMAGES))
    return digest_bytes(few.images.numpy().tobytes())


def check(folder: Path, found: Mapping[str, Any], images: TrainingImages, prepared: Prepared) -> None:
    """Compare a book's manifest with what a reader has.

    Args:
        folder: The book, for the message.
        found: Its manifest.
        images: Training images and views of the reader.
        prepared: Data they are of.

    Raises:
        BookError: The book belongs to something else.
    """
    wanted = common(images, prepared)
    if found.get("format") != FORMAT:
        raise BookError(
            f"Expected a book of format {FORMAT} at {folder}, found {found.get('format')!r}.", "Write the book again."
        )
    meaning = {
        "stages": "another stage scale",
        "images": "another number of training images",
        "prepared": "another prepared folder or split",
        "training_ids": "other training images",
        "view_spec": "other views (seed, augmentation or MixUp)",
        "pixels": "other pixels for the same views: a decoder or interpolation library differs",
    }
    wrong = [meaning[name] for name in wanted if found.get(name) != wanted[name]]
    if wrong:
        raise BookError(
            f"The book {folder} belongs to {'; '.join(wrong)}.",
            f"Write a book for this data and these views (its {len(images)} training images).",
        )
