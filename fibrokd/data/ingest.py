"""One file in, manifest rows and preprocessed pixels out; made for worker processes.

Everything here pickles, and :func:`ingest` never raises for a bad file: a bad file becomes refusals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.data.manifest import build_row
from fibrokd.data.preprocess import PreprocessSpec, preprocess
from fibrokd.data.reading import decode, load_bytes
from fibrokd.data.sources import SourceFile
from fibrokd.errors import UnreadableImageError
from fibrokd.files import digest_bytes

THUMBNAIL_SIDE = 48


@dataclass(frozen=True)
class IngestJob:
    """One file to ingest.

    Args:
        root: Data root.
        source: The file and what its collection says about it.
        preprocess: What the network is to see.
        limits: What the file may cost.
        frames: Which frames of a cine to take.
        secret: Key of the stand-ins for identifiers; ``None`` for generated data.
    """

    root: Path
    source: SourceFile
    preprocess: PreprocessSpec
    limits: ReadLimits
    frames: FramePolicy = field(default_factory=FramePolicy)
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class IngestedFrame:
    """One usable frame.

    Args:
        row: What is known of it, keyed by ``manifest.ROW_COLUMNS``.
        pixels: What the network sees, ``uint8`` [S, S].
        thumbnail: The whole decoded frame squeezed to 48 × 48, for the nearest-neighbour control.
        notes: What was decided or repaired on the way.
    """

    row: dict[str, object]
    pixels: UInt8[np.ndarray, "S S"]
    thumbnail: UInt8[np.ndarray, "48 48"]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A file, or a frame of it, that cannot be used: one line of quarantine.csv.

    Args:
        path: Relative to the data root.
        frame: Frame index, ``None`` where the whole file is refused.
        reason: One of ``fibrokd.data.reading.REASONS``, or ``no_label``.
        detail: In words, without patient data.
    """

    path: str
    frame: int | None
    reason: str
    detail: str


@dataclass(frozen=True)
class IngestResult:
    """What became of one file.

    Args:
        path: Relative to the data root.
        frames: Usable frames in file order.
        refusals: Why others, or all, were refused.
    """

    path: str
    frames: tuple[IngestedFrame, ...] = ()
    refusals: tuple[Refusal, ...] = ()


def ingest(job: IngestJob) -> IngestResult:
    """Read, digest and preprocess one file.

    Returns:
        Frames with their manifest rows, or refusals with their reasons; never raises for a bad file.
    """
    path = job.source.path
    if job.source.stage is None:
        return _refused(path, "no_label", "the collection names no stage for it")
    try:
        data = load_bytes(job.root / path, job.limits)
        decoding = decode(data, Path(path).name, job.limits, job.frames)
        digest = digest_bytes(data)
        frames = tuple(_frame(image, digest, job, decoding.notes) for image in decoding.images)
    except UnreadableImageError as error:
        return _refused(path, error.reason, error.problem)
    except Exception as error:  # one file nobody foresaw must not stop a batch of thousands
        return _refused(path, "unreadable", f"ingest failed with {type(error).__name__}")
    return IngestResult(path, frames=frames)


def thumbnail(image: UltrasoundImage) -> UInt8[np.ndarray, "48 48"]:
    """Return the whole decoded frame squeezed to 48 × 48 (box filter: every pixel counts, nothing is cropped)."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    return np.array(Image.fromarray(image.pixels).resize(side, Image.Resampling.BOX), dtype=np.uint8)


def _frame(image: UltrasoundImage, digest: str, job: IngestJob, notes: tuple[str, ...]) -> IngestedFrame:
    done = preprocess(image, job.preprocess)
    return IngestedFrame(
        row=build_row(job.source, image, digest, done, job.secret),
        pixels=done.pixels,
        thumbnail=thumbnail(image),
        notes=notes,
    )


def _refused(path: str, reason: str, detail: str) -> IngestResult:
    return IngestResult(path, refusals=(Refusal(path, None, reason, detail),))
