"""Maps of evidence as layers over a picture, and in words.

Shape letters: K stages, h w squares of the map.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import Float
from PIL import Image

LAYER_SIDE = 96  # smooth between a handful of cells: more pixels show nothing more
FOR, AGAINST = (230, 159, 0), (86, 180, 233)
"""Okabe and Ito's orange and sky blue: told apart with every common form of colour blindness, and on grey."""

_STRONGEST = 170  # of 255: the picture stays visible under the strongest evidence
_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def versus(evidence: Float[np.ndarray, "K h w"], stage: int, other: int) -> Float[np.ndarray, "h w"]:
    """Return where a picture speaks for one stage rather than another: changes of log odds, cell by cell."""
    difference: np.ndarray = evidence[stage].astype(np.float64) - evidence[other]
    return difference


LEAST = 0.05
"""Log odds; where no square changes them by more, there is nothing to be drawn."""


def layer_uri(cells: Float[np.ndarray, "h w"]) -> str:
    """Return a map as a transparent PNG data URI: orange speaks for, blue against, the strongest cell strongest."""
    top = float(np.abs(cells).max()) or 1.0
    image = Image.fromarray((cells / top).astype(np.float32)).resize(
        (LAYER_SIDE, LAYER_SIDE), Image.Resampling.BILINEAR
    )
    share = np.clip(np.asarray(image), -1.0, 1.0)
    layer = np.empty((LAYER_SIDE, LAYER_SIDE, 4), dtype=np.uint8)
    layer[..., :3] = np.where((share > 0)[..., None], FOR, AGAINST)
    layer[..., 3] = np.rint(np.abs(share) * _STRONGEST)
    stream = io.BytesIO()
    Image.fromarray(layer).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def strongest(cells: Float[np.ndarray, "h w"]) -> tuple[str, float] | None:
    """Return the ninth of the picture that speaks most for a stage, in words, and its share of all that does.

    Returns:
        Such as ``("lower left", 0.4)``; ``None`` where nothing speaks for it.
    """
    speaking = np.clip(cells, 0.0, None)
    if not speaking.any():
        return None
    down, across = (_overlaps(length) for length in cells.shape)
    ninths = down @ speaking @ across.T
    row, column = (int(place) for place in np.unravel_index(ninths.argmax(), ninths.shape))
    where = "centre" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"
    return where, float(ninths[row, column] / ninths.sum())


def _overlaps(length: int) -> Float[np.ndarray, "3 h"]:
    """Share of every cell that lies in each third."""
    edges = np.linspace(0, length, 4)
    cells = np.arange(length)
    low, high = np.maximum(edges[:-1, None], cells), np.minimum(edges[1:, None], cells + 1)
    shares: np.ndarray = np.clip(high - low, 0.0, None)
    return shares
