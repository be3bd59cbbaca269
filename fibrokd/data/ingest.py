"""One file in, manifest rows and what may be kept of its pixels out; made for worker processes.

Everything here pickles, and :func:`ingest` never raises for a bad file: a bad file becomes refusals, whose details
never quote a name. Names and dates are burned in beside the fan, so the decoded frame ends here. What leaves is
black outside the accepted fan or tissue box (pixels, thumbnail), was measured inside it (fingerprint), or says of the
outside as little as a few dozen numbers can (margins), which is what the controls need to find an overlay or a scanner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int8, UInt8
from PIL import Image

from fibrokd.data.fan.finder import find_fan
from fibrokd.data.fingerprint import fingerprint
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.data.manifest import build_row
from fibrokd.data.margins import margin_numbers
from fibrokd.data.preprocess import Preprocessed, PreprocessSpec, preprocess, tissue_of
from fibrokd.data.reading import REASONS, decode, load_bytes
from fibrokd.data.sources import SourceFile
from fibrokd.data.walking import locate
from fibrokd.errors import UnreadableImageError
from fibrokd.files import digest_bytes

THUMBNAIL_SIDE = 48
_NAME = "the file"  # file names may name a patient; the refusal's path says which file it is


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
        without_fan: Whether to ``refuse`` or ``keep`` a frame in which something may be burned in beside the tissue,
            for want of a confident fan and of a declared box that tissue fills, or because no fan was looked for.
    """

    root: Path
    source: SourceFile
    preprocess: PreprocessSpec
    limits: ReadLimits
    frames: FramePolicy = field(default_factory=FramePolicy)
    secret: bytes | None = field(default=None, repr=False)
    without_fan: Literal["keep", "refuse"] = "refuse"


@dataclass(frozen=True)
class IngestedFrame:
    """One usable frame.

    Args:
        row: What is known of it, keyed by ``manifest.ROW_COLUMNS``.
        pixels: What the network sees, ``uint8`` [S, S].
        thumbnail: What was kept of the frame, for the nearest-neighbour control; see :func:`thumbnail`.
        fingerprint: For near-duplicates; see :mod:`fibrokd.data.fingerprint`.
        margins: What lies outside the fan, in numbers; see :mod:`fibrokd.data.margins`.
        notes: What was decided or repaired on the way.
    """

    row: dict[str, object]
    pixels: UInt8[np.ndarray, "S S"]
    thumbnail: UInt8[np.ndarray, "48 48"]
    fingerprint: Int8[np.ndarray, " L"]
    margins: Float32[np.ndarray, " C"]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """A file, or a picture of it, that cannot be used: one line of quarantine.csv.

    Args:
        path: Relative to the data root.
        frame: Frame index, ``None`` where the whole file is refused.
        reason: One of ``fibrokd.data.reading.REASONS``, ``no_label`` or ``no_fan``.
        detail: In words, without patient data.
        part: Picture within the frame, ``None`` where the whole file is refused.
    """

    path: str
    frame: int | None
    reason: str
    detail: str
    part: int | None = None


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
        return refused(path, "no_label", "the collection names no stage for it")
    try:
        return _ingested(job, load_bytes(locate(job.root, path), job.limits, _NAME))
    except UnreadableImageError as error:
        return refused(path, error.reason, error.problem)
    except MemoryError:
        return refused(path, "too_much_memory", REASONS["too_much_memory"])
    except Exception as error:  # one file nobody foresaw must not stop a batch of thousands
        return refused(path, "unreadable", f"ingest failed with {type(error).__name__}")


def refused(path: str, reason: str, detail: str) -> IngestResult:
    """Return the result of a file that is refused as a whole."""
    return IngestResult(path, refusals=(Refusal(path, None, reason, detail),))


def thumbnail(image: UltrasoundImage, done: Preprocessed) -> UInt8[np.ndarray, "48 48"]:
    """Return what was kept of the frame, at its place in the frame, squeezed to 48 × 48.

    Everything else is black, for a thumbnail of the whole frame would show a burned-in name's place and length, and is
    written to disk. A look-up needs no more: pictures of one patient resemble each other inside the fan. Where nothing
    could be cut out, the whole frame is what was kept, in the network's input too; its thumbnail gives away no more.

    Args:
        image: The decoded frame.
        done: What :func:`preprocess` made of it.
    """
    frame = np.zeros_like(image.pixels)
    top, left, bottom, right = done.box
    frame[top:bottom, left:right] = done.kept
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)  # box filter: every pixel counts
    return np.array(Image.fromarray(frame).resize(side, Image.Resampling.BOX), dtype=np.uint8)


def _ingested(job: IngestJob, data: bytes) -> IngestResult:
    decoding = decode(data, _NAME, job.limits, job.frames)
    digest = digest_bytes(data)
    path = job.source.path
    frames = []
    refusals = [Refusal(path, blank.frame, "blank", blank.detail, blank.part) for blank in decoding.blank]
    for image in decoding.images:
        done = preprocess(image, job.preprocess)
        if job.without_fan == "refuse" and not done.cropped:
            detail = "no fan accepted, no declared tissue box that tissue fills: what is burned in cannot be cut off"
            refusals.append(Refusal(path, image.frame, "no_fan", detail, image.part))
            continue
        frames.append(_frame(image, done, digest, job, decoding.notes))
    return IngestResult(path, tuple(frames), tuple(refusals))


def _frame(
    image: UltrasoundImage, done: Preprocessed, digest: str, job: IngestJob, notes: tuple[str, ...]
) -> IngestedFrame:
    tissue = tissue_of(image)
    # Evidence must not depend on what the network is shown: the fan is looked for even where the frame is not cropped.
    fan = done.fan or find_fan(tissue)
    return IngestedFrame(
        row=build_row(job.source, image, digest, done, job.secret),
        pixels=done.pixels,
        thumbnail=thumbnail(image, done),
        fingerprint=fingerprint(tissue, fan),
        margins=margin_numbers(image, fan),
        notes=notes,
    )
