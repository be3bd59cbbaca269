"""Tells whether a declared tissue box holds tissue alone: then nothing can be burned in beside the tissue.

The box of a linear array is filled by tissue from side to side. A box around a sector has blank corners, in which
names are written, and some devices declare the whole screen; there the box alone cuts nothing off. Must not look for
a fan: that is ``fan``.
Shape letters: H W box.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

_CELLS = 32  # along the longer side
_LEAST_CELL_PX = 4
_FLAT = 8  # grey levels within a cell: JPEG rings around text stay below, speckle does not
_LEAST_FILLED = 0.9  # of the cells
_LEAST_SIDE = 0.5  # of the outermost cells of each side: the flank of a sector leaves most of one blank


def is_filled(pixels: UInt8[np.ndarray, "H W"]) -> bool:
    """Return whether tissue fills a box from side to side.

    Args:
        pixels: Grey levels of the box.
    """
    side = max(_LEAST_CELL_PX, -(-max(pixels.shape) // _CELLS))
    rows, columns = (length // side for length in pixels.shape)
    if min(rows, columns) < 2:
        return False
    cells = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side)
    seen = cells.max((1, 3)).astype(np.int16) - cells.min((1, 3)) > _FLAT
    sides = (seen[0], seen[-1], seen[:, 0], seen[:, -1])
    return bool(seen.mean() >= _LEAST_FILLED and min(float(line.mean()) for line in sides) >= _LEAST_SIDE)
