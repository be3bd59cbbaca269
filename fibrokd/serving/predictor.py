"""From a file to a staged image: read, preprocess, gate, run, and say it in one :class:`Staging`.

Owns the order of these steps and the batching. The reading is fibrokd.data's, the preprocessing is the one function
that training used, the refusals are in gates, the arithmetic of the network is in engine.
Shape letters: N batch, K stages, H W decoded frame, S side of the network input.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import ReadLimits
from fibrokd.data.preprocess import as_network_input, preprocess
from fibrokd.data.reading import read, read_bytes
from fibrokd.errors import BundleError, UnreadableImageError
from fibrokd.serving.bundle import Bundle
from fibrokd.serving.engine import Engine
from fibrokd.serving.gates import Candidate, refusals, unreadable

BATCH = 16
"""Frames per run of the network: beyond this, two cores gain nothing and memory grows."""


@dataclass(frozen=True)
class Staging:
    """The answer for one frame.

    Args:
        path: File or upload name as the caller gave it.
        outcome: ``stage``, ``re-acquire`` (take the image again) or ``refer`` (ask another method).
        stage: Stage name; None unless the outcome is ``stage``.
        probabilities: Probability by stage name, summing to 1; empty where nothing is staged.
        reasons: Why there is no stage, and what to do next.
        frame: Index of the frame within its file.
        part: Picture within the frame, where several lie side by side.
        fan_confidence: How surely the insonation fan was found, 0 … 1; None for files that cannot be read.
        network_view: What the network saw, grey levels [S, S]; None for files that cannot be read.
        original: The frame as decoded, grey levels [H, W]; None for files that cannot be read.
        stamp: Integrity stamp of the data the network was trained on.
    """

    path: str
    outcome: str
    stage: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    frame: int = 0
    part: int = 0
    fan_confidence: float | None = None
    network_view: UInt8[np.ndarray, "S S"] | None = None
    original: UInt8[np.ndarray, "H W"] | None = None
    stamp: dict[str, Any] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """Return the answer as plain JSON data, as ``fibrokd predict --json`` prints it."""
        return {
            "path": self.path,
            "frame": self.frame,
            "part": self.part,
            "outcome": self.outcome,
            "stage": self.stage,
            "probabilities": self.probabilities,
            "reasons": list(self.reasons),
        }


class Predictor:
    """Stages images with one bundle.

    Args:
        bundle: An opened bundle.
        threads: Threads of the engine; one answers a single image fastest, large networks on idle cores gain from more.
        limits: What the reader refuses to decode.

    Example:
        >>> predictor = Predictor(Bundle.open(Path("runs/demo/bundle")))  # doctest: +SKIP
        >>> [staging] = predictor.predict_path(Path("scan.png"))  # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle, threads: int = 1, limits: ReadLimits | None = None) -> None:
        self.bundle = bundle
        self._limits = limits or ReadLimits()
        self._engine = Engine(bundle.network, bundle.card.network, len(bundle.scale), threads)

    def predict_path(self, path: Path) -> list[Staging]:
        """Stage every frame of one file; a file that cannot be read gives one refusal."""
        return list(self.predict_many([path]))

    def predict_bytes(self, data: bytes, name: str) -> list[Staging]:
        """Stage every frame of an upload; nothing touches the disk.

        Args:
            data: The file's bytes.
            name: Its name, only to be repeated in the answer.
        """
        return list(self._stage(self._frames_of(data, name)))

    def predict_image(self, image: UltrasoundImage, name: str = "") -> Staging:
        """Stage one decoded frame."""
        [staging] = self._stage([self._prepare(image, name)])
        return staging

    def predict_many(self, paths: Iterable[Path]) -> Iterator[Staging]:
        """Stage files one after the other, in order, in batches; memory holds one batch and one file.

        Yields:
            One answer per frame, in the order of the files and their frames.
        """
        return self._stage(item for path in paths for item in self._frames_of(path, path.as_posix()))

    # ------------------------------------------------------------------ steps
    def _frames_of(self, source: Path | bytes, name: str) -> Iterator[Staging]:
        try:
            if isinstance(source, bytes):
                images: Sequence[UltrasoundImage] = read_bytes(source, name, self._limits)
            else:
                images = read(source, self._limits)
        except UnreadableImageError as error:
            yield Staging(name, "re-acquire", reasons=(unreadable(error),), stamp=self.bundle.card.stamp)
            return
        for image in images:
            yield self._prepare(image, name)

    def _prepare(self, image: UltrasoundImage, name: str) -> Staging:
        """Preprocess and gate one frame; outcome ``stage`` with no stage yet where it may be staged."""
        spec = self.bundle.card.preprocess
        view = preprocess(image, spec)
        refused = refusals(Candidate(image, view, spec))
        outcome, reasons = refused or ("stage", ())
        return Staging(
            path=name,
            outcome=outcome,
            reasons=reasons,
            frame=image.frame,
            part=image.part,
            fan_confidence=view.fan_confidence,
            network_view=view.pixels,
            original=image.pixels,
            stamp=self.bundle.card.stamp,
        )

    def _stage(self, items: Iterable[Staging]) -> Iterator[Staging]:
        iterator = iter(items)
        while batch := list(itertools.islice(iterator, BATCH)):
            views = [item.network_view for item in batch if item.outcome == "stage" and item.network_view is not None]
            answers = iter(self.probabilities(np.stack(views)) if views else ())
            for item in batch:
                yield self._answer(item, next(answers)) if item.outcome == "stage" else item

    def _answer(self, item: Staging, row: Float[np.ndarray, " K"]) -> Staging:
        names = self.bundle.scale.names
        return replace(
            item,
            stage=names[int(row.argmax())],
            probabilities={name: float(value) for name, value in zip(names, row, strict=True)},
        )

    def probabilities(self, views: UInt8[np.ndarray, "N S S"]) -> Float[np.ndarray, "N K"]:
        """Run the network on preprocessed frames, ungated.

        Returns:
            float64 probabilities, each row summing to 1.

        Raises:
            BundleError: The network's answer is no number.
        """
        logits = self._engine.run(as_network_input(views))
        if not np.isfinite(logits).all():
            raise BundleError("The network answered with numbers that are not finite.", "Do not use this bundle.")
        return softmax(logits)


def softmax(logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """Return the probabilities of ``logits``, in double precision."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities
