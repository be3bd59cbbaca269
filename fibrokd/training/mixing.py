"""Mixing an image with its partner: MixUp blends the two, CutMix pastes a box of the partner. Keyed, as views are.

λ ≥ ½ always, which is the same distribution over mixed pairs (Beta(α, α) is symmetric) and keeps the image itself the
dominant one, so that "the stage of this picture" keeps a meaning. Labels and answers are mixed by λ.

Which one suits sonograms is open. A blend is speckle that no tissue has; a box leaves the texture as it is, but λ
counts its area in the square picture, of which a part may lie outside the fan, where there is nothing to see.

References:
    Zhang et al., "mixup", ICLR 2018, arXiv:1710.09412. Yun et al., "CutMix", ICCV 2019, arXiv:1905.04899.

Shape letters: B images, S side of the square image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from fibrokd.training.augment import ViewSpec, keyed_generator

Boxes = Int[np.ndarray, "B 4"]
"""(top, left, bottom, right) of the part of the partner that is pasted; bottom and right are beyond it."""


def mixing_coefficients(spec: ViewSpec, image_ids: Sequence[str], epoch: int) -> Float[np.ndarray, " B"]:
    """Return λ of every image in one epoch as it is drawn; 1 where nothing is mixed.

    Args:
        spec: Views; λ follows Beta(α, α) with α = ``mixup_alpha``.
        image_ids: The images.
        epoch: The epoch.
    """
    if spec.mixup_alpha == 0:
        return np.ones(len(image_ids))
    draws = [
        keyed_generator("mix", spec.seed, image_id, epoch).beta(spec.mixup_alpha, spec.mixup_alpha)
        for image_id in image_ids
    ]
    return np.array([max(draw, 1.0 - draw) for draw in draws])


def boxes_of(spec: ViewSpec, image_ids: Sequence[str], epoch: int, drawn: Float[np.ndarray, " B"], side: int) -> Boxes:
    """Return the boxes of CutMix: of the area 1 − λ around a keyed centre, as far as they lie in the picture.

    Args:
        spec: Views.
        image_ids: The images.
        epoch: The epoch.
        drawn: λ of every image as it was drawn.
        side: S.
    """
    centres = [keyed_generator("box", spec.seed, image_id, epoch).uniform(0, side, 2) for image_id in image_ids]
    half = side * np.sqrt(1 - drawn)[:, None] / 2
    centre = np.array(centres).reshape(-1, 2)
    boxes: Boxes = np.concatenate([centre - half, centre + half], 1).round().clip(0, side).astype(np.int64)
    return boxes


def kept_shares(boxes: Boxes, side: int) -> Float[np.ndarray, " B"]:
    """Return the share of its own area that every image keeps: λ of CutMix, exactly."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    shares: np.ndarray = 1 - area / side**2
    return shares


def blended(
    own: Float[np.ndarray, "B 1 S S"], partner: Float[np.ndarray, "B 1 S S"], lam: Float[np.ndarray, " B"]
) -> Float[np.ndarray, "B 1 S S"]:
    """Return λ · own + (1 − λ) · partner."""
    weight = lam.astype(np.float32)[:, None, None, None]
    mixed: np.ndarray = weight * own
    mixed += (1 - weight) * partner
    return mixed


def pasted(
    own: Float[np.ndarray, "B 1 S S"], partner: Float[np.ndarray, "B 1 S S"], boxes: Boxes
) -> Float[np.ndarray, "B 1 S S"]:
    """Return the images with the boxes of their partners."""
    mixed = own.copy()
    for image, other, (top, left, bottom, right) in zip(mixed, partner, boxes.tolist(), strict=True):
        image[:, top:bottom, left:right] = other[:, top:bottom, left:right]
    return mixed
