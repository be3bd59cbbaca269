"""The book: a teacher's answers per (image, view), written once and read by any number of students.

Because every view is a pure function of its key, a book holds no pixels: only raw logits in fp16, from which targets
at any temperature can be made, and what else methods ask for (:mod:`fibrokd.training.stores`). Three modes, which are
different methods:

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float16
from pydantic import Field, field_validator, model_serializer
from torch.utils.flop_counter import FlopCounterMode

from fibrokd.artifacts import require
from fibrokd.config import Config, parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import BookError
from fibrokd.files import atomic_path, read_json, write_json
from fibrokd.progress import say, track
from fibrokd.training.book_manifest import check, manifest
from fibrokd.training.dataset import Batch, TrainingImages, prefetch
from fibrokd.training.dropout import Thinning, passes
from fibrokd.training.ledger import measured
from fibrokd.training.networks import parameter_count
from fibrokd.training.signals import LOGITS, UNCERTAINTY, TeacherSignal
from fibrokd.training.stores import answers, assemble, known_stores, part_file, store_file, unpack
from fibrokd.training.teacher_noise import Corruption
from fibrokd.training.teachers import LiveTeacher

PARTS = "parts"

Mode = Literal["trajectory", "pool", "static"]


class BookConfig(Config):
    """What a book holds."""

    mode: Mode = "trajectory"
    """``trajectory``, ``pool`` or ``static``."""

    views: Annotated[int, Field(ge=1, le=65535)] = 60
    """Views per image: the number of epochs of a trajectory, the size of a pool; a static book always holds 1."""

    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images per teacher forward pass; no part of the content."""

    stores: tuple[str, ...] = ()
    """What is stored beside logits: ``pooled``, ``gaps:s4`` … (means over a feature map), ``uncertainty``. MixUp
    cannot mix it afterwards, so with MixUp only a trajectory holds it."""

    thinning: Thinning = Thinning()
    """Dropout masks behind ``uncertainty``."""

    _stores = field_validator("stores")(known_stores)

    @model_serializer(mode="wrap")
    def _as_ever_without_stores(self, serialize: Callable[[BookConfig], dict[str, Any]]) -> dict[str, Any]:
        """Leave out what does not bear on the content, so that a book of logits keeps the digest it always had."""
        data = serialize(self)
        for name, matters in (("stores", bool(self.stores)), ("thinning", UNCERTAINTY in self.stores)):
            if not matters:
                data.pop(name, None)
        return data

    @property
    def count(self) -> int:
        """Number of views that are stored per image."""
        return 1 if self.mode == "static" else self.views

    @property
    def content(self) -> dict[str, Any]:
        """What of it the manifest tells."""
        data = self.as_json()
        beside: dict[str, Any] = {name: data[name] for name in ("stores", "thinning") if name in data}
        return {"mode": self.mode, "views": self.count, **beside}


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

    Raises:
        BookError: The teacher's answers cannot be stored.
    """
    _check_mixing(config, images)
    _check_caps(config, teacher)
    teacher = teacher.with_thinning(config.thinning) if UNCERTAINTY in config.stores else teacher
    parts = folder / PARTS
    with measured(folder, teacher.device, [teacher]):
        for number in track(range(config.count), f"book ({config.mode})", config.count, "views"):
            part = parts / f"{number:05d}.npy"
            if not part.exists():
                _write_part(part, teacher, images, number, config)
    names = [parts / f"{number:05d}.npy" for number in range(config.count)]
    logits = np.stack([np.load(name, allow_pickle=False) for name in names])
    with atomic_path(folder / "logits.npy") as temporary:
        np.save(temporary, logits)
    files = [assemble(folder, names, store) for store in config.stores]
    write_json(folder / "book.json", manifest(images, teacher_digest, prepared, config.content))
    write_json(folder / "ledger.json", _ledger(folder, ["logits.npy", *files], teacher, images, config))
    return ["book.json", "ledger.json", "logits.npy", *files]


@dataclass(frozen=True)
class Book:
    """An opened book: a teacher source that runs no network.

    Args:
        logits: Raw teacher logits, memory-mapped, [V, N, K].
        mode: What they are answers to.
        digest: Digest of the book's record.
        wrap: Read a trajectory again from its start when it ends.
        stores: What it holds beside logits, memory-mapped, by name.
        thinning: Dropout masks behind ``uncertainty``.
        corruption: Which of its answers are made wrong when they are read; None: none.
        teacher_parameters: Size of the network that answered; None: written before this was noted.
    """

    logits: Float16[np.ndarray, "V N K"]
    mode: Mode
    digest: str
    wrap: bool = False
    stores: Mapping[str, Float16[np.ndarray, "V N D"]] = field(default_factory=dict)
    thinning: Thinning | None = None
    corruption: Corruption | None = None
    teacher_parameters: int | None = None

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
        facts = read_json(folder / "book.json")
        check(folder, facts, images, prepared)
        mode: Mode = facts["mode"]
        if mode == "trajectory" and epochs > facts["views"] and not wrap:
            raise BookError(
                f"{folder} holds {facts['views']} epochs, the student may train {epochs}.",
                "Write a longer book, train fewer epochs, or set `wrap_book: true` to read it again from its start.",
            )
        logits = np.load(folder / "logits.npy", mmap_mode="r", allow_pickle=False)
        stores = {name: np.load(store_file(folder, name), mmap_mode="r") for name in facts.get("stores", ())}
        thinning = parse_config(facts["thinning"], Thinning) if "thinning" in facts else None
        parameters = read_json(folder / "ledger.json").get("teacher_parameters")
        return cls(logits, mode, record.digest, wrap, stores, thinning, teacher_parameters=parameters)

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
        return frozenset({LOGITS, *self.stores})

    def with_thinning(self, thinning: Thinning) -> Book:
        """Return the book, if its uncertainty is that of these masks or if it holds none.

        Raises:
            BookError: It is that of others.
        """
        if self.thinning is not None and self.thinning != thinning:
            raise BookError(
                f"Expected a book whose uncertainty is that of {thinning.as_json()}, found {self.thinning.as_json()}.",
                "Set the method's `thinning` to the book's, or write another book.",
            )
        return self

    def signal(self, batch: Batch, needs: frozenset[str] = frozenset({LOGITS})) -> TeacherSignal:
        """Return the stored answers for ``batch``; no network runs."""
        view = batch.epoch % len(self.logits)
        device = batch.lam.device
        own = self._read(self.logits, view, batch.index).to(device)
        extras = {name: self._read(self.stores[name], view, batch.index).to(device) for name in needs - {LOGITS}}
        partner, lam = None, None
        if self.mode != "trajectory":
            partner, lam = self._read(self.logits, view, batch.partner_index).to(device), batch.lam
        told = unpack(TeacherSignal(own, partner, lam), extras)
        return told if self.corruption is None else self.corruption.applied(told, batch.index, batch.partner_index)

    @staticmethod
    def _read(stored: Float16[np.ndarray, "V N D"], view: int, index: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(stored[view, index.cpu().numpy()].astype(np.float32))


def count_macs(network: torch.nn.Module, side: int) -> int:
    """Return multiply-accumulate operations of one forward pass of one image of ``side`` pixels."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, side, side, device=device))
    return int(counter.get_total_flops()) // 2


def _write_part(part: Path, teacher: LiveTeacher, images: TrainingImages, number: int, config: BookConfig) -> None:
    found: dict[str, np.ndarray] = {}
    for batch in prefetch(_batches(images, number, config)):
        for name, values in answers(teacher, batch, config.stores).items():
            stored = found.setdefault(name, np.empty((len(images), values.shape[1]), np.float16))
            stored[batch.index.numpy()] = values
    unfit = [name for name, values in found.items() if not np.isfinite(values).all()]
    if unfit or not found:
        raise BookError(
            f"The teacher's {' and '.join(unfit)} of view {number} do not fit fp16 or are not finite.",
            "Look at the teacher's card: a diverged teacher must not be distilled.",
        )
    for name in [*config.stores, LOGITS]:  # a part that has its logits is whole
        with atomic_path(part_file(part, name)) as temporary:
            np.save(temporary, found[name])


def _check_mixing(config: BookConfig, images: TrainingImages) -> None:
    if config.stores and config.mode != "trajectory" and images.views.mixup_alpha > 0:
        raise BookError(
            f"Expected a trajectory book for {', '.join(config.stores)}, found mode '{config.mode}' with MixUp: what "
            "a teacher says about two images cannot be mixed into what it would say about their mixture.",
            "Set `mode: trajectory`, or switch MixUp off (`views.mixup_alpha: 0`).",
        )


def _check_caps(config: BookConfig, teacher: LiveTeacher) -> None:
    missing = sorted(set(config.stores) - teacher.caps)
    if missing:
        raise BookError(
            f"Expected a teacher that gives {', '.join(missing)}, found a {type(teacher.network).__name__}, which does "
            "not.",
            "Give a teacher that `fibrokd teach` made, or leave this out of `stores`.",
        )


def _batches(images: TrainingImages, number: int, config: BookConfig) -> Iterator[Batch]:
    if config.mode == "trajectory":
        return images.batches(number, config.batch_size)
    if config.mode == "pool":
        return images.unmixed(number, config.batch_size)
    return images.centred(config.batch_size)


def _ledger(
    folder: Path, files: list[str], teacher: LiveTeacher, images: TrainingImages, config: BookConfig
) -> dict[str, Any]:
    """Return the cost of the book; counts only, so that it is the same on every machine."""
    macs = count_macs(teacher.network, images.pixels.shape[1])
    answered = config.count * len(images)
    forwards = answered * (1 + (passes(teacher.network, config.thinning) if UNCERTAINTY in config.stores else 0))
    size = sum(np.load(folder / name, mmap_mode="r", allow_pickle=False).nbytes for name in files)
    say(f"  book: {answered} teacher answers, {size / 1e6:.1f} MB")
    return {
        "teacher_forwards": forwards,
        "teacher_parameters": parameter_count(teacher.network),
        "teacher_macs_per_image": macs,
        "teacher_macs": macs * forwards,
        "bytes_on_disk": int(size),
    }
