"""The book: a teacher's answers per (image, view), written once and read by any number of students.

Because every view is a pure function of its key, a book holds no pixels: only raw logits in fp16, from which targets
at any temperature can be made. Three modes, which are different methods:

* ``trajectory``: the teacher's answer to the *mixed* view of every (image, epoch): exactly what a live teacher
  would have said.
* ``pool``: answers to M unmixed views per image; the probabilities of a MixUp pair are mixed when read.
* ``static``: one answer per image, to its centre view.

References:
    Zhu et al., BookKD, Knowledge-Based Systems, 2023 (abstract); Shen & Xing, FKD, ECCV 2022, arXiv:2112.01528;
    Beyer et al., CVPR 2022, arXiv:2106.05237 (teacher and student must see the same mixed view).

Shape letters: V views, N training images, K stages, B batch, S side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float16
from pydantic import Field
from torch.utils.flop_counter import FlopCounterMode

from fibrokd.artifacts import require
from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import BookError
from fibrokd.files import atomic_path, digest_bytes, digest_json, read_json, write_json
from fibrokd.progress import say, track
from fibrokd.training.dataset import Batch, TrainingImages, prefetch
from fibrokd.training.signals import LOGITS, TeacherSignal
from fibrokd.training.teachers import LiveTeacher

FORMAT = 1
PARTS = "parts"
CHECKED_IMAGES = 64
"""Mixed tensors whose pixels are digested: detects drift of decoders and interpolation between machines."""

Mode = Literal["trajectory", "pool", "static"]


class BookConfig(Config):
    """What a book holds."""

    mode: Mode = "trajectory"
    """``trajectory``, ``pool`` or ``static``."""

    views: Annotated[int, Field(ge=1, le=65535)] = 60
    """Views per image: the number of epochs of a trajectory, the size of a pool; a static book always holds 1."""

    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images per teacher forward pass; no part of the content."""

    @property
    def count(self) -> int:
        """Number of views that are stored per image."""
        return 1 if self.mode == "static" else self.views


def write_book(
    folder: Path,
    teacher: LiveTeacher,
    teacher_digest: str,
    images: TrainingImages,
    prepared: Prepared,
    config: BookConfig,
) -> list[str]:
    """Write a book; started again on the same folder, it goes on with the first view that is missing.

    The views are kept in ``parts/`` until the caller has finished the step and removes them.

    Args:
        folder: Run folder.
        teacher: The frozen teacher.
        teacher_digest: Digest of the teacher's record.
        images: Training images that are answered, and nothing else; their views and MixUp pairs.
        prepared: Data they are of.
        config: Mode and number of views.

    Returns:
        Names of the files written.
    """
    parts = folder / PARTS
    for number in track(range(config.count), f"book ({config.mode})", config.count, "views"):
        part = parts / f"{number:05d}.npy"
        if not part.exists():
            _write_part(part, teacher, images, number, config)
    names = [parts / f"{number:05d}.npy" for number in range(config.count)]
    logits = np.stack([np.load(name, allow_pickle=False) for name in names])
    with atomic_path(folder / "logits.npy") as temporary:
        np.save(temporary, logits)
    write_json(folder / "book.json", _manifest(images, teacher_digest, prepared, config))
    write_json(folder / "ledger.json", _ledger(logits, teacher, images))
    return ["book.json", "ledger.json", "logits.npy"]


@dataclass(frozen=True)
class Book:
    """An opened book: a teacher source that runs no network.

    Args:
        logits: Raw teacher logits, memory-mapped, [V, N, K].
        mode: What they are answers to.
        digest: Digest of the book's record.
        wrap: Read a trajectory again from its start when it ends.
    """

    logits: Float16[np.ndarray, "V N K"]
    mode: Mode
    digest: str
    wrap: bool = False

    @classmethod
    def open(cls, folder: Path, images: TrainingImages, prepared: Prepared, epochs: int, wrap: bool = False) -> Book:
        """Open a book after checking that it belongs to this data, these views and this many epochs.

        Args:
            folder: Finished ``write-book`` folder.
            images: Training images and views that the student will see.
            prepared: Data they are of.
            epochs: Epochs the student may train.
            wrap: Read a trajectory again from its start when it ends, instead of refusing.

        Raises:
            BookError: The book belongs to other data or views, or is too short.
            ArtifactError: A file is missing or altered.
        """
        record = require(folder, "write-book")
        manifest = read_json(folder / "book.json")
        _check(folder, manifest, _manifest_of(images, prepared), images)
        mode: Mode = manifest["mode"]
        if mode == "trajectory" and epochs > manifest["views"] and not wrap:
            raise BookError(
                f"{folder} holds {manifest['views']} epochs, the student may train {epochs}.",
                "Write a longer book, train fewer epochs, or set `wrap_book: true` to read it again from its start.",
            )
        logits = np.load(folder / "logits.npy", mmap_mode="r", allow_pickle=False)
        return cls(logits, mode, record.digest, wrap)

    def training_images(self, images: TrainingImages) -> TrainingImages:
        """Return ``images`` with the repetition that reading this book asks for."""
        if self.mode == "trajectory":
            return dataclasses.replace(images, cycle=len(self.logits))
        return dataclasses.replace(images, view_period=len(self.logits) if self.mode == "pool" else None)

    @property
    def reach(self) -> int | None:
        """Epochs for which it has answers; ``None`` without an end."""
        return len(self.logits) if self.mode == "trajectory" and not self.wrap else None

    @property
    def caps(self) -> frozenset[str]:
        """What is stored."""
        return frozenset({LOGITS})

    def signal(self, batch: Batch, needs: frozenset[str] = frozenset({LOGITS})) -> TeacherSignal:
        """Return the stored answers for ``batch``; no network runs."""
        del needs
        view = batch.epoch % len(self.logits)
        device = batch.lam.device
        own = self._read(view, batch.index).to(device)
        if self.mode == "trajectory":
            return TeacherSignal(own)
        return TeacherSignal(own, self._read(view, batch.partner_index).to(device), batch.lam)

    def _read(self, view: int, index: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.logits[view, index.cpu().numpy()].astype(np.float32))


def count_macs(network: torch.nn.Module, side: int) -> int:
    """Return multiply-accumulate operations of one forward pass of one image of ``side`` pixels."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, side, side, device=device))
    return int(counter.get_total_flops()) // 2


def _write_part(part: Path, teacher: LiveTeacher, images: TrainingImages, number: int, config: BookConfig) -> None:
    logits: np.ndarray | None = None
    for batch in prefetch(_batches(images, number, config)):
        answer = teacher.signal(batch).logits.cpu().numpy()
        if logits is None:
            logits = np.empty((len(images), answer.shape[1]), np.float16)
        logits[batch.index.numpy()] = answer
    if logits is None or not np.isfinite(logits).all():
        raise BookError(
            f"The teacher's logits of view {number} do not fit fp16 or are not finite.",
            "Look at the teacher's card: a diverged teacher must not be distilled.",
        )
    with atomic_path(part) as temporary:
        np.save(temporary, logits)


def _batches(images: TrainingImages, number: int, config: BookConfig) -> Iterator[Batch]:
    if config.mode == "trajectory":
        return images.batches(number, config.batch_size)
    if config.mode == "pool":
        return images.unmixed(number, config.batch_size)
    return images.centred(config.batch_size)


def _manifest(images: TrainingImages, teacher_digest: str, prepared: Prepared, config: BookConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "mode": config.mode,
        "views": config.count,
        "teacher": teacher_digest,
        **_manifest_of(images, prepared),
    }


def _manifest_of(images: TrainingImages, prepared: Prepared) -> dict[str, Any]:
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


def _check(folder: Path, found: dict[str, Any], wanted: dict[str, Any], images: TrainingImages) -> None:
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


def _ledger(logits: np.ndarray, teacher: LiveTeacher, images: TrainingImages) -> dict[str, Any]:
    """Return the cost of the book; counts only, so that it is the same on every machine."""
    views, count, _ = logits.shape
    macs = count_macs(teacher.network, images.pixels.shape[1])
    say(f"  book: {views * count} teacher answers, {logits.nbytes / 1e6:.1f} MB of logits")
    return {
        "teacher_forwards": views * count,
        "teacher_macs_per_image": macs,
        "teacher_macs": macs * views * count,
        "bytes_on_disk": int(logits.nbytes),
    }
