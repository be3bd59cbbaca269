"""Manifest rows → batches of mixed views. Owns reading order and the background thread; draws nothing at random.

Shape letters: B batch, N training images, V variants of an image, R = V · images, S side of the square image.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from fibrokd.data.prepared import Prepared
from fibrokd.data.preprocess import as_network_input
from fibrokd.training.augment import (
    CENTRE_VIEW,
    View,
    ViewSpec,
    apply_view,
    draw_view,
    epoch_order,
)
from fibrokd.training.mixing import blended, boxes_of, kept_shares, mixing_coefficients, pasted

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """One batch of mixed views: ``images = λ·view(index) + (1 − λ)·view(partner)``.

    Args:
        images: Grey levels in [0, 1], [B, 1, S, S].
        stages: Stage of each image, [B].
        partner_stages: Stage of its MixUp partner, [B].
        lam: MixUp coefficient λ ∈ [½, 1], [B]; 1 means unmixed.
        index: Row within the training images, [B]: the key into a book.
        partner_index: The same of the partner.
        epoch: Epoch that keys views and pairs, 0-based.
    """

    images: Float[Tensor, "B 1 S S"]
    stages: Int[Tensor, " B"]
    partner_stages: Int[Tensor, " B"]
    lam: Float[Tensor, " B"]
    index: Int[Tensor, " B"]
    partner_index: Int[Tensor, " B"]
    epoch: int

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Batch:
        """Return the batch on ``device``, images in ``memory_format``."""
        if device.type == "cpu" and memory_format == torch.contiguous_format:
            return self
        return replace(
            self,
            images=self.images.to(device).contiguous(memory_format=memory_format),
            stages=self.stages.to(device),
            partner_stages=self.partner_stages.to(device),
            lam=self.lam.to(device),
            index=self.index.to(device),
            partner_index=self.partner_index.to(device),
        )


@dataclass(frozen=True)
class TrainingImages:
    """The training split as the loop and the book see it: rows, of which every image gives ``views.variants``.

    Row ``variants · k + v`` is variant v of image k; the rows of an image always lie in one batch, one after the
    other, and are mixed with the rows of the same partner by the same λ. ``len`` counts rows.

    Args:
        pixels: Preprocessed frames, [N, S, S].
        stages: Stage index of each, [N].
        image_ids: Opaque identifiers, in the same order: the keys of views.
        views: What is done to them.
        view_period: Epochs after which the same views come again in other pairs (pool books); None means never.
        cycle: Epochs after which everything comes again, pairs and order included (a trajectory book that is read
            more than once); None means never.
    """

    pixels: UInt8[np.ndarray, "N S S"]
    stages: Int[np.ndarray, " N"]
    image_ids: tuple[str, ...]
    views: ViewSpec
    view_period: int | None = None
    cycle: int | None = None

    @classmethod
    def of(cls, prepared: Prepared, views: ViewSpec, split: str = "train") -> TrainingImages:
        """Take one split of a prepared folder; nothing outside it is ever seen."""
        rows = prepared.rows(split)
        image_ids = prepared.table["image_id"].to_numpy()[rows]
        return cls(np.asarray(prepared.pixels[rows]), prepared.stages[rows], tuple(image_ids.tolist()), views)

    def __len__(self) -> int:
        return self.views.variants * len(self.stages)

    def steps(self, batch_size: int) -> int:
        """Number of batches of an epoch: all of (nearly) equal size, none smaller than it must be."""
        return -(-len(self.stages) // (batch_size // self.views.variants))

    def view(self, row: int, epoch: int) -> View:
        """Return the recorded view of one row in one epoch."""
        image, variant = divmod(row, self.views.variants)
        period = self.view_period
        return draw_view(self.views, self.image_ids[image], epoch if period is None else epoch % period, variant)

    def batches(self, epoch: int, batch_size: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Yield the batches of one epoch; process ``rank`` of ``world`` gets its part of every global batch.

        Each view is computed once per epoch: the successor in the reading order is both the MixUp partner of this
        image and the next image itself.
        """
        epoch = epoch if self.cycle is None else epoch % self.cycle
        order = epoch_order(self.views, epoch, len(self.stages))
        successor = np.roll(order, -1)
        chunks = np.array_split(np.arange(len(self.stages)), self.steps(batch_size))
        carried: tuple[int, np.ndarray] | None = None
        for chunk in chunks:
            part = np.array_split(chunk, world)[rank]
            image, partner = order[part], successor[part]
            wanted = [*image.tolist(), int(partner[-1])]
            views = [
                carried[1] if carried and carried[0] == number else self._views_of(number, epoch) for number in wanted
            ]
            carried = (wanted[-1], views[-1])
            yield self._mix(np.concatenate(views), image, partner, epoch)

    def unmixed(self, epoch: int, batch_size: int) -> Iterator[Batch]:
        """Yield the views of one epoch in manifest order, without MixUp (what pool books are written from)."""
        yield from self._plain(batch_size, lambda row: self.view(row, epoch), epoch)

    def centred(self, batch_size: int) -> Iterator[Batch]:
        """Yield the images as they are, in manifest order (what static books are written from)."""
        yield from self._plain(batch_size, lambda _: CENTRE_VIEW, 0)

    def _plain(self, batch_size: int, view: Callable[[int], View], epoch: int) -> Iterator[Batch]:
        variants = self.views.variants
        for part in np.array_split(np.arange(len(self.stages)), self.steps(batch_size)):
            index = self._rows(part)
            pixels = np.stack([apply_view(self.pixels[row // variants], view(row)) for row in index.tolist()])
            yield self._batch(as_network_input(pixels), index, index, np.ones(len(index)), epoch)

    def _rows(self, images: Int[np.ndarray, " N"]) -> Int[np.ndarray, " B"]:
        """The rows of some images, those of one image together."""
        variants = self.views.variants
        return (variants * images[:, None] + np.arange(variants)).reshape(-1)

    def _views_of(self, image: int, epoch: int) -> UInt8[np.ndarray, "V S S"]:
        """All views of one image in one epoch."""
        first = self.views.variants * image
        rows = range(first, first + self.views.variants)
        return np.stack([apply_view(self.pixels[image], self.view(row, epoch)) for row in rows])

    def _mix(self, views: UInt8[np.ndarray, "R S S"], image: np.ndarray, partner: np.ndarray, epoch: int) -> Batch:
        variants = self.views.variants
        ids = [self.image_ids[k] for k in image.tolist()]
        lam = mixing_coefficients(self.views, ids, epoch)
        pixels = as_network_input(views)
        own, others = pixels[:-variants], pixels[variants:]
        if self.views.mixup_alpha == 0:
            mixed = own
        elif self.views.cutmix:
            side = self.pixels.shape[1]
            boxes = boxes_of(self.views, ids, epoch, lam, side)
            mixed, lam = pasted(own, others, boxes.repeat(variants, axis=0)), kept_shares(boxes, side)
        else:
            mixed = blended(own, others, lam.repeat(variants))
        lam = lam.repeat(variants)
        return self._batch(mixed, self._rows(image), self._rows(partner), lam, epoch)

    def _batch(
        self,
        images: Float[np.ndarray, "B 1 S S"],
        index: Int[np.ndarray, " B"],
        partner: Int[np.ndarray, " B"],
        lam: Float[np.ndarray, " B"],
        epoch: int,
    ) -> Batch:
        return Batch(
            images=torch.from_numpy(images),
            stages=torch.from_numpy(self.stages[index // self.views.variants]),
            partner_stages=torch.from_numpy(self.stages[partner // self.views.variants]),
            lam=torch.from_numpy(lam.astype(np.float32)),
            index=torch.from_numpy(index),
            partner_index=torch.from_numpy(partner),
            epoch=epoch,
        )


def prefetch(items: Iterator[T], depth: int = 3) -> Iterator[T]:
    """Produce ``items`` in a background thread, at most ``depth`` ahead.

    An exception of the producer is raised in the consumer; closing the generator early ends the thread.
    """
    end = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
        ahead = deque(pool.submit(next, items, end) for _ in range(depth))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(pool.submit(next, items, end))
            yield cast(T, item)
