"""Joint augmentation: many mild operations in a row, each drawn on its own; the second member of a paired view.

Owns their ranges, their keyed draw and their application. Made after the joint augmentation (JDA) of Li et al.,
"What Role Does Data Augmentation Play in Knowledge Distillation?", ACCV 2022, and its released code: there, 14
operations follow each other, each with probability 0.3. What destroys stage evidence is left out (invert, solarise,
posterise, equalise), and so is colour, which grey pictures do not have. Ours besides: the five geometric operations
are composed into one matrix, because every interpolation costs texture; sharpness is only raised, because lowering
it is blur; contrast and autocontrast look at tissue alone, and black outside the fan stays black.

Shape letters: S side of the square image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field

from fibrokd.config import Config

_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
"""Kernel of the picture from which sharpening leads away."""


class JointSpec(Config):
    """Ranges of the joint augmentation; symmetric around "no change", sharpness apart."""

    probability: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Probability of each operation, independent of the others."""

    rotate_degrees: Annotated[float, Field(ge=0, le=15)] = 8.0
    """Largest rotation, degrees."""

    shear: Annotated[float, Field(ge=0, le=0.2)] = 0.08
    """Largest shear along either axis, as a share of the other one."""

    shift: Annotated[float, Field(ge=0, le=0.2)] = 0.08
    """Largest shift along either axis, fraction of the image side."""

    brightness: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    """Largest relative change of all grey levels."""

    contrast: Annotated[float, Field(ge=0, le=0.5)] = 0.3
    """Largest relative change of the distance from the mean grey level of the tissue."""

    sharpness: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Largest gain of what a 3 × 3 smoothing takes away."""

    autocontrast: bool = True
    """Offer to stretch the grey levels of the tissue over the whole range, but for ``autocontrast_cut``."""

    autocontrast_cut: Annotated[float, Field(ge=0, lt=0.2)] = 0.01
    """Share of the tissue that saturates at either end."""


@dataclass(frozen=True)
class JointView:
    """One recorded joint augmentation, beside the view it is applied to; the defaults change nothing.

    Args:
        angle: Rotation in degrees.
        shear: (along rows, along columns) share.
        shift: (right, down) fraction of the image side.
        brightness: Factor of the grey levels.
        contrast: Factor of their distance from the mean of the tissue.
        sharpness: 1 changes nothing, more sharpens.
        autocontrast: Share of the tissue that saturates at either end of the stretched range; ``None``: not stretched.
    """

    angle: float = 0.0
    shear: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)
    brightness: float = 1.0
    contrast: float = 1.0
    sharpness: float = 1.0
    autocontrast: float | None = None

    def matrix(self, side: int) -> Float[np.ndarray, "3 3"]:
        """Return rotation, shear along rows and columns, and shift, in this order, about the centre of the image.

        Args:
            side: Side of the image, pixels.
        """
        centre = (side - 1) / 2
        cosine, sine = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        rotation = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
        along_rows = np.array([[1, self.shear[0], 0], [0, 1, 0], [0, 0, 1]])
        along_columns = np.array([[1, 0, 0], [self.shear[1], 1, 0], [0, 0, 1]])
        there = np.array([[1, 0, -centre], [0, 1, -centre], [0, 0, 1]])
        back = np.array(
            [[1, 0, centre + self.shift[0] * side], [0, 1, centre + self.shift[1] * side], [0, 0, 1]],
        )
        composed: np.ndarray = back @ along_columns @ along_rows @ rotation @ there
        return composed

    def tone(self, pixels: UInt8[np.ndarray, "S S"]) -> UInt8[np.ndarray, "S S"]:
        """Apply brightness, contrast, sharpness and autocontrast, in this order; 0 stays 0."""
        toned = pixels
        if self.brightness != 1:
            toned = _restored(np.float32(self.brightness) * toned, pixels)
        if self.contrast != 1 and (pixels > 0).any():
            mean = toned[pixels > 0].mean(dtype=np.float32)
            toned = _restored(mean + np.float32(self.contrast) * (toned - mean), pixels)
        if self.sharpness != 1:
            smooth = _smoothed(toned)
            toned = _restored(smooth + np.float32(self.sharpness) * (toned - smooth), pixels)
        return toned if self.autocontrast is None else _stretched(toned, self.autocontrast)


def draw_joint(spec: JointSpec, random: np.random.Generator) -> JointView:
    """Draw one joint augmentation.

    Args:
        spec: Ranges.
        random: Generator of the view's key.
    """
    happens = (random.random(9) < spec.probability).tolist()
    sizes = random.uniform(-1.0, 1.0, 8).tolist()
    angle, rows, columns, right, down, brightness, contrast, sharpness = (
        size if drawn else 0.0 for size, drawn in zip(sizes, happens[:8], strict=True)
    )
    return JointView(
        angle=spec.rotate_degrees * angle,
        shear=(spec.shear * rows, spec.shear * columns),
        shift=(spec.shift * right, spec.shift * down),
        brightness=1 + spec.brightness * brightness,
        contrast=1 + spec.contrast * contrast,
        sharpness=1 + spec.sharpness * abs(sharpness),
        autocontrast=spec.autocontrast_cut if spec.autocontrast and happens[8] else None,
    )


def _restored(values: Float[np.ndarray, "S S"], pixels: UInt8[np.ndarray, "S S"]) -> UInt8[np.ndarray, "S S"]:
    """Round, and put 0 back where it was; tissue does not become 0, lest the next operation take it for outside."""
    levels = np.rint(np.clip(values, 1, 255)).astype(np.uint8)
    return np.where(pixels == 0, np.uint8(0), levels)


def _smoothed(pixels: UInt8[np.ndarray, "S S"]) -> Float[np.ndarray, "S S"]:
    """Smooth over tissue alone: black outside would otherwise draw a bright line around the fan."""
    tissue = (pixels > 0).astype(np.float32)
    sums, shares = (
        cv2.filter2D(levels, -1, _SMOOTH, borderType=cv2.BORDER_REPLICATE)
        for levels in (pixels.astype(np.float32), tissue)
    )
    return sums / np.maximum(shares, np.float32(1e-6))


def _stretched(pixels: UInt8[np.ndarray, "S S"], cut: float) -> UInt8[np.ndarray, "S S"]:
    tissue = pixels[pixels > 0]
    if not len(tissue):
        return pixels
    low, high = np.quantile(tissue, (cut, 1 - cut))
    if high - low < 1:  # a flat picture has nothing to stretch
        return pixels
    levels = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return _restored(levels, pixels)
