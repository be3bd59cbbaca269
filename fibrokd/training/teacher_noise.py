"""Teachers that are wrong on purpose: the regime in which methods that distrust a teacher can be told from others.

A drawn share of the training images gets answers in which the most probable stage and another one have changed
places, in every view and epoch alike: confidence and entropy stay, the stage is wrong (or, where the teacher erred,
different). Features are left as they are. Must not know where answers come from.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from fibrokd.config import Config
from fibrokd.training.signals import TeacherSignal


class TeacherNoise(Config):
    """How often a teacher is made to be wrong."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the training images about which it answers wrongly."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw; larger shares hold the images of smaller ones."""


@dataclass(frozen=True)
class Corruption:
    """Which answers are changed, and how.

    Args:
        draws: One number in [0, 1) per row of the training images, [R]: a row is changed where it is below ``share``;
            where it lies below decides which other stage it gets.
        share: See :class:`TeacherNoise`.
    """

    draws: Float[Tensor, " R"]
    share: float

    @classmethod
    def of(cls, noise: TeacherNoise, image_ids: Sequence[str], variants: int = 1) -> Corruption:
        """Draw for some training images.

        Args:
            noise: Share and seed.
            image_ids: Identifiers of the images, in the order of the rows.
            variants: Rows per image; all rows of an image are treated alike.
        """
        draws = np.array([_draw(noise.seed, image_id) for image_id in image_ids], dtype=np.float64)
        return cls(torch.from_numpy(draws.repeat(variants)), noise.share)

    def applied(
        self, signal: TeacherSignal, index: Int[Tensor, " B"], partner_index: Int[Tensor, " B"]
    ) -> TeacherSignal:
        """Return the signal with the changed answers.

        Args:
            signal: What the teacher says about a batch; of a mixed view, the image itself decides, not its partner.
            index: Row of every image.
            partner_index: Row of its MixUp partner.
        """
        partner = signal.partner_logits
        return dataclasses.replace(
            signal,
            logits=self._swapped(signal.logits, index),
            partner_logits=None if partner is None else self._swapped(partner, partner_index),
        )

    def _swapped(self, logits: Float[Tensor, "B K"], index: Int[Tensor, " B"]) -> Float[Tensor, "B K"]:
        draw = self.draws[index.cpu()].to(logits.device)
        others = logits.shape[1] - 1
        first = logits.argmax(1)
        # Within the drawn share, equal parts belong to each of the other stages.
        step = 1 + (draw / max(self.share, 1e-12) * others).long().clamp_max(others - 1)
        second = (first + step) % logits.shape[1]
        changed = (draw < self.share)[:, None]
        place = torch.stack([first, second], 1)
        swapped = logits.scatter(1, place, logits.gather(1, place.flip(1)))
        return torch.where(changed, swapped, logits)


def _draw(seed: int, image_id: str) -> float:
    digest = hashlib.blake2b(f"{seed}:{image_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
