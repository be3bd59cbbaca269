"""Views: an augmentation is a set of recorded numbers, drawn from a key and then applied by pure functions.

Nothing here depends on a global random state, on the order of images, on the batch size or on the number of
workers: the same (seed, image, epoch) gives the same pixels bit for bit. That is what lets a teacher's book be
replayed exactly. The only module that imports albumentations.

Which operations are safe: the stage lives in speckle texture of 1–6 pixels, so blur, histogram equalisation, strong
zoom and vertical flips are not offered at all (a fixed texture regressor loses its correlation with the stage under
them), and rotation and zoom stay small and use a cubic kernel.

Shape letters: S side of the square image, N images.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from jaxtyping import Int, UInt8
from pydantic import Field, model_validator

from fibrokd.config import Config
from fibrokd.data import operations
from fibrokd.files import digest_json
from fibrokd.training.joint import JointSpec, JointView, draw_joint

# Read at import: without it albumentations asks the package index for its latest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import cv2
from albumentations.augmentations.geometric import functional as geometric

# Views are made in a thread beside the network, which has the cores; OpenCV's own pool would only get in its way.
cv2.setNumThreads(1)

Share = Annotated[float, Field(ge=0, le=1)]


class AugmentSpec(Config):
    """Ranges of the default policy; every range is symmetric around "no change"."""

    flip_probability: Share = 0.5
    """Probability of a horizontal flip (the stage has no laterality)."""

    shift: Annotated[float, Field(ge=0, le=0.2)] = 0.05
    """Largest shift, fraction of the image side."""

    rotate_degrees: Annotated[float, Field(ge=0, le=15)] = 4.0
    """Largest rotation, degrees."""

    zoom: Annotated[float, Field(ge=0, le=0.1)] = 0.05
    """Largest relative change of size; texture scale carries the stage, so at most 10 %."""

    gain_db: Annotated[float, Field(ge=0, le=10)] = 3.5
    """Largest change of receive gain, dB (15 grey levels at 60 dB dynamic range)."""

    log_gamma: Annotated[float, Field(ge=0, le=0.5)] = 0.22
    """Largest |ln gamma| of the grey map; 0.22 spans gamma 0.80 to 1.25."""

    tgc_db: Annotated[float, Field(ge=0, le=10)] = 2.8
    """Largest tilt of the time-gain compensation, dB at the deepest row (12 grey levels)."""

    cutout: Annotated[float, Field(ge=0, le=0.5, exclude_if=lambda side: side == 0)] = 0.0
    """Side of a square that is blackened anywhere in the picture, fraction of the image side (DeVries, Taylor,
    arXiv:1708.04552); 0: none, and absent from records."""


class ViewSpec(Config):
    """Which views and which MixUp pairs training sees; a book and its readers must agree on all of it."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of views, pairs, mixing coefficients and reading order."""

    augment: AugmentSpec | None = AugmentSpec()
    """Ranges of the augmentation; ``null`` switches it off."""

    mixup_alpha: Annotated[float, Field(ge=0, le=4)] = 0.2
    """Mixing coefficients are Beta(alpha, alpha); 0 switches mixing off."""

    cutmix: Annotated[bool, Field(exclude_if=lambda cut: not cut)] = False
    """Paste a box of the partner instead of blending the two (MixUp). Absent from records where it is off."""

    joint: Annotated[JointSpec | None, Field(exclude_if=lambda joint: joint is None)] = None
    """Show every image twice, one row after the other: its view, and the same view after joint augmentation (paired
    views, for method ``ccd``); a batch size counts rows. ``null``: once. Absent from records where it is ``null``, so
    that books without pairs stay valid."""

    @model_validator(mode="after")
    def _what_is_pasted_is_drawn(self) -> ViewSpec:
        if self.cutmix and self.mixup_alpha == 0:
            raise ValueError("`cutmix` needs a `mixup_alpha` above 0, from which the size of boxes is drawn (1: any)")
        return self

    @property
    def variants(self) -> int:
        """Rows that every image gives in an epoch."""
        return 1 if self.joint is None else 2

    @property
    def digest(self) -> str:
        """Digest of everything that decides a view."""
        return digest_json(self.as_json())


@dataclass(frozen=True)
class View:
    """One recorded augmentation.

    Args:
        flip: Mirror left and right.
        shift: (right, down) fraction of the image side.
        angle: Rotation in degrees.
        scale: Zoom factor.
        gain_db: Change of receive gain, dB.
        gamma: Exponent of the grey map.
        tgc_db: Tilt of the time-gain compensation, dB at the deepest row.
        cutout: (down, right, side) of the blackened square's centre and side, fractions of the image side.
        joint: Joint augmentation on top: its geometry is composed with this one's, its tones come last.
    """

    flip: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0
    scale: float = 1.0
    gain_db: float = 0.0
    gamma: float = 1.0
    tgc_db: float = 0.0
    cutout: tuple[float, float, float] | None = None
    joint: JointView | None = None


CENTRE_VIEW = View()
"""The image as it is: what evaluation, static books and the bedside see."""


def keyed_generator(*key: int | str) -> np.random.Generator:
    """Return a counter-based generator that is a pure function of ``key`` (Philox, Salmon et al., SC 2011)."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def draw_view(spec: ViewSpec, image_id: str, epoch: int, variant: int = 0) -> View:
    """Draw the view of one image in one epoch; a pure function of its arguments.

    Args:
        spec: Ranges.
        image_id: The image.
        epoch: The epoch.
        variant: 1 for the same view with joint augmentation.
    """
    view = _draw_plain(spec, image_id, epoch)
    if variant == 0 or spec.joint is None:
        return view
    joint = draw_joint(spec.joint, keyed_generator("joint", spec.seed, image_id, epoch))
    return view if joint == JointView() else replace(view, joint=joint)


def _draw_plain(spec: ViewSpec, image_id: str, epoch: int) -> View:
    ranges = spec.augment
    if ranges is None:
        return CENTRE_VIEW
    draw = keyed_generator("view", spec.seed, image_id, epoch).uniform(-1.0, 1.0, 8).tolist()
    return View(
        flip=draw[0] < 2 * ranges.flip_probability - 1,
        shift=(ranges.shift * draw[1], ranges.shift * draw[2]),
        angle=ranges.rotate_degrees * draw[3],
        scale=math.exp(math.log1p(ranges.zoom) * draw[4]),
        gain_db=ranges.gain_db * draw[5],
        gamma=math.exp(ranges.log_gamma * draw[6]),
        tgc_db=ranges.tgc_db * draw[7],
        cutout=_draw_cutout(spec.seed, ranges.cutout, image_id, epoch) if ranges.cutout else None,
    )


def _draw_cutout(seed: int, share: float, image_id: str, epoch: int) -> tuple[float, float, float]:
    down, right = keyed_generator("cutout", seed, image_id, epoch).uniform(0.0, 1.0, 2).tolist()
    return down, right, share


def apply_view(pixels: UInt8[np.ndarray, "S S"], view: View) -> UInt8[np.ndarray, "S S"]:
    """Apply a recorded view to a preprocessed frame; black (outside the fan) stays black.

    Args:
        pixels: Preprocessed frame.
        view: What to do.

    Returns:
        A new array; the input is not changed.
    """
    if view == CENTRE_VIEW:
        return pixels.copy()
    moved = _move(operations.flip(pixels) if view.flip else pixels, view)
    toned = operations.gamma(operations.gain(moved, view.gain_db), view.gamma)
    tilted = operations.tgc_tilt(toned, view.tgc_db)
    shown = tilted if view.joint is None else view.joint.tone(tilted)
    return shown if view.cutout is None else _blackened(shown, *view.cutout)


def epoch_order(spec: ViewSpec, epoch: int, count: int) -> Int[np.ndarray, " N"]:
    """Return the keyed permutation in which an epoch reads its images.

    The MixUp partner of an image is its successor in this (cyclic) order. The pairing therefore depends on the key
    alone, never on the batch size, and a batch of B mixed images needs only B + 1 views.
    """
    return keyed_generator("order", spec.seed, epoch).permutation(count)


def _blackened(pixels: UInt8[np.ndarray, "S S"], down: float, right: float, share: float) -> UInt8[np.ndarray, "S S"]:
    """Blacken a square; at the border a part of it lies outside."""
    side = len(pixels)
    top, bottom, left, end = (
        round(min(max(side * (centre + sign * share / 2), 0), side)) for centre in (down, right) for sign in (-1, 1)
    )
    holed = pixels.copy()
    holed[top:bottom, left:end] = 0
    return holed


def _move(pixels: UInt8[np.ndarray, "S S"], view: View) -> UInt8[np.ndarray, "S S"]:
    side = len(pixels)
    centre = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), view.angle, view.scale)
    matrix[:, 2] += np.array(view.shift) * side
    square = np.vstack([matrix, [0.0, 0.0, 1.0]])
    moved: np.ndarray = geometric.warp_affine(
        pixels,
        matrix=square if view.joint is None else view.joint.matrix(side) @ square,
        interpolation=cv2.INTER_CUBIC,
        fill=0,
        border_mode=cv2.BORDER_CONSTANT,
        output_shape=(side, side),
    )
    return moved
