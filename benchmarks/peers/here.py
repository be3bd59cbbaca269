"""Whole trainings by fibrokd, of ``--training``: the book by its real writer, students by ``fit``.

    python -m benchmarks.peers.here FOLDER

FOLDER holds ``material.pt``. A process of its own, as the other side is, so that both begin with nothing in memory.
``book`` on standard input writes the book, ``student K`` trains student K from it, ``check`` compares the book with
what the teacher says live, ``memory`` asks for the peak of this process. Augmented pictures are made while training,
as always; validation on a few pictures, checkpoints and the book's digests are in the seconds as well.

Shape letters: B batch, N pictures, S side, K stages.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.peers.common import MATERIAL, fresh, peak_mb, weights_digest
from benchmarks.peers.networks import AsOurs, objective
from benchmarks.peers.teacher import WATCHED
from benchmarks.peers.torchdistill_side import serve, versions
from fibrokd.artifacts import Record, begin
from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.files import digest_bytes
from fibrokd.stages import METAVIR
from fibrokd.training.augment import ViewSpec
from fibrokd.training.book import PARTS, Book, BookConfig, write_book
from fibrokd.training.dataset import TrainingImages
from fibrokd.training.loop import Task, fit
from fibrokd.training.prediction import predict
from fibrokd.training.runtime import Runtime, RuntimeConfig, accelerator
from fibrokd.training.settings import OneCycleConfig, TrainConfig
from fibrokd.training.teachers import LiveTeacher


class Here:
    """fibrokd's side.

    Args:
        folder: Holds the material; book and students are written into it.

    Attributes:
        material: What both sides work from.
        images: Training pictures and their views.
        teacher: The live teacher.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.material: dict[str, Any] = torch.load(folder / MATERIAL, weights_only=True)
        torch.set_num_threads(self.material["threads"])
        pixels, stages = self.material["pixels"].numpy(), self.material["labels"].numpy()
        views = parse_config(self.material["views"], ViewSpec)
        self.images = TrainingImages(pixels, stages, tuple(self.material["image_ids"]), views)
        self.device = accelerator().device
        teacher = fresh(self.material["teacher_name"], 0)
        teacher.load_state_dict(self.material["teacher"])
        self.teacher = LiveTeacher(AsOurs(teacher), Runtime(**self.material["teacher_runtime"]), self.device)
        self.prepared = _as_prepared(self.images, folder)

    def book(self) -> dict[str, Any]:
        """Write the book as the step ``write-book`` does.

        Returns:
            Its seconds, its bytes, and its answers for the first batch, [B, K].
        """
        started = time.perf_counter()
        config = BookConfig(mode="trajectory", views=self.material["epochs"])
        digest = digest_bytes(repr(weights_digest(self.teacher.network)).encode())
        inputs = {"prepared": self.prepared.record.digest, "teacher": digest}
        settings = {"book": config.as_json(), "views": self.images.views.as_json()}
        step = begin(self.folder / "book", "write-book", settings, inputs)
        files = write_book(step.folder, self.teacher, digest, self.images, self.prepared, config)
        step.finish(files)
        shutil.rmtree(step.folder / PARTS)
        seconds = time.perf_counter() - started
        first = next(self.images.batches(0, self.material["batch"])).index.numpy()
        answers = self._open().logits[0, first].astype(np.float32)
        size = sum((step.folder / name).stat().st_size for name in files)
        return {"seconds": seconds, "bytes": size, "first_answers": answers.tolist()}

    def student(self, number: int) -> dict[str, Any]:
        """Train one student whole and let it answer the test pictures (which is not in its seconds)."""
        network = fresh(self.material["student_name"], 0)
        network.load_state_dict(self.material["students"][number])
        start = weights_digest(network)
        started = time.perf_counter()
        book, ours = self._open(), AsOurs(network)
        task = Task(
            name=f"{self.material['student_name']} {number + 1}",
            network=ours,
            objective=objective(),
            teacher=book,
            images=book.training_images(self.images),
            val_pixels=self.images.pixels[:WATCHED],
            val_stages=self.images.stages[:WATCHED],
        )
        progress, runtime = fit(task, self._settings(number), self.folder / f"student{number}")
        seconds = time.perf_counter() - started
        logits = predict(ours, self.material["test"].numpy(), runtime, self.device)
        losses = [entry["train_loss"] for entry in progress.history]
        found = {"seconds": seconds, "start": start, "losses": losses, "logits": logits.tolist()}
        return {**found, "runtime": runtime.as_json()}

    def check(self) -> float:
        """Return the largest difference of the book from the live teacher, relative where it exceeds 1.

        The first batch of the first and of the last epoch are answered again.
        """
        book, apart = self._open(), 0.0
        for epoch in {0, self.material["epochs"] - 1}:
            batch = next(self.images.batches(epoch, self.material["batch"]))
            live, written = self.teacher.signal(batch).logits, book.signal(batch).logits
            apart = max(apart, float(((live - written).abs() / live.abs().clamp_min(1)).max()))
        return apart

    def _open(self) -> Book:
        return Book.open(self.folder / "book", self.images, self.prepared, self.material["epochs"])

    def _settings(self, number: int) -> TrainConfig:
        """Optimiser and schedule, in fibrokd's words; those of the other side are in ``there``."""
        m = self.material
        return TrainConfig(
            epochs=m["epochs"],
            batch_size=m["batch"],
            learning_rate=m["learning_rate"],
            weight_decay=0.0,
            gradient_clip=m["gradient_clip"],
            schedule=OneCycleConfig(warm_up=m["warm_up"]),
            early_stopping=None,
            keep="last",
            runtime=parse_config(m["runtime"], RuntimeConfig),
            seed=number,
        )


def _as_prepared(images: TrainingImages, folder: Path) -> Prepared:
    """Return the pictures as far as a book has to know of a prepared folder: its digest and its stages."""
    contents = {"pixels": digest_bytes(images.pixels.tobytes()), "stages": digest_bytes(images.stages.tobytes())}
    record = Record("prepare", {}, contents, finished=True)
    spec = PreprocessSpec(size=images.pixels.shape[1], crop="full")
    return Prepared(folder, record, pd.DataFrame({"image_id": images.image_ids}), METAVIR, spec, {"synthetic": True})


def main() -> None:
    """Answer until standard input ends."""
    here = Here(Path(sys.argv[1]))

    def answer(name: str, number: int) -> Any:
        if name == "student":
            return here.student(number)
        return {"book": here.book, "check": here.check, "memory": peak_mb}[name]()

    serve({"versions": versions("torchvision")}, answer)


if __name__ == "__main__":
    main()
