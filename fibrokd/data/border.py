"""The grey level along the border of a picture, which is that of its background. Knows of no fan."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

WIDE = 3
"""Rows and columns of the border: the outermost may be a line that was drawn around the picture, and of two it would
outnumber the other by its corners."""


def border_level(pixels: UInt8[np.ndarray, "H W"]) -> np.uint8:
    """Return the most frequent grey level along the border, the darkest of equals."""
    sides = (pixels[:WIDE], pixels[-WIDE:], pixels[:, :WIDE], pixels[:, -WIDE:])
    return np.uint8(np.bincount(np.concatenate([side.ravel() for side in sides])).argmax())
