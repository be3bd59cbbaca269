"""How a picture was taken, as three numbers: brightness, contrast, and how much of it shows nothing.

They part test images into easy and poor ones. They decide nothing, and say nothing about the organ.

Shape letters: S side of the square network input.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

BLACK_LEVEL = 8
"""Grey level, of 255, up to which a pixel shows nothing on a monitor."""

QUALITY = ("brightness", "contrast", "dark_share")
"""Names of the numbers."""


def quality(pixels: UInt8[np.ndarray, "S S"]) -> dict[str, float]:
    """Return :data:`QUALITY` of one preprocessed picture, outside of whose fan everything is 0.

    Brightness and contrast are mean and standard deviation of the grey levels that show something; the dark share is
    that of the others between the first and the last of these in every row. A black picture has brightness 0,
    contrast 0 and dark share 1.
    """
    lit = pixels > BLACK_LEVEL
    shown = pixels[lit].astype(np.float64)
    if not len(shown):
        return dict(zip(QUALITY, (0.0, 0.0, 1.0), strict=True))
    inside = _between(lit)
    values = (shown.mean(), shown.std(), 1 - lit.sum() / inside.sum())
    return {name: round(float(value), 4) for name, value in zip(QUALITY, values, strict=True)}


def _between(lit: Bool[np.ndarray, "S S"]) -> Bool[np.ndarray, "S S"]:
    """From the first to the last lit pixel of every row."""
    begun, ended = np.maximum.accumulate(lit, axis=1), np.maximum.accumulate(lit[:, ::-1], axis=1)[:, ::-1]
    inside: np.ndarray = begun & ended
    return inside
