"""Where in a picture a network finds what it says: squares of the picture, blurred away one by one.

The evidence of a square for a stage is how far the stage's logit falls where the square keeps its brightness and loses
its texture. It asks the network itself, whichever it is and whatever runs it: no gradient, no choice of a layer. The
difference of two stages' evidence is a change of log odds. Outside the fan there is nothing to blur, and hence no
evidence; what is black is left out of the blur's means, or squares along the outline of the fan would be darkened.
Class activation maps would cost a hundredth and were tried first; of networks that stage by texture they say nothing
(docs/decisions/0016).

Needs NumPy and SciPy alone, so that the bedside can use it.

Shape letters: N pictures, K stages, S side of the picture, h w squares.

References:
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
    doi:10.1007/978-3-319-10590-1_53, section 4.2 (there with a grey square).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

GRID = 8
"""Squares along a side: 16 px of 128, 28 px of 224; several speckles wide, and small beside a liver."""

Answer = Callable[[UInt8[np.ndarray, "N S S"]], Float[np.ndarray, "N K"]]
"""From preprocessed pictures to logits."""


def occlusion(answer: Answer, picture: UInt8[np.ndarray, "S S"], grid: int = GRID) -> Float[np.ndarray, "K h w"]:
    """Return how far every logit falls without the texture of each square.

    Args:
        answer: The network.
        picture: What it saw.
        grid: Squares along a side.
    """
    blurred = without_texture(picture, grid)
    places = squares(len(picture), grid)
    touched = [number for number, place in enumerate(places) if (picture[place] != blurred[place]).any()]
    shown = np.repeat(picture[None], len(touched) + 1, axis=0)
    for row, number in enumerate(touched, start=1):
        shown[row][places[number]] = blurred[places[number]]
    logits = np.asarray(answer(shown), dtype=np.float64)
    falls = np.zeros((logits.shape[1], len(places)))
    falls[:, touched] = (logits[0] - logits[1:]).T
    return falls.reshape(-1, grid, grid)


def squares(side: int, grid: int) -> list[tuple[slice, slice]]:
    """Return the places of all squares, row by row; their sides differ by at most one pixel.

    Args:
        side: Side of the picture, pixels.
        grid: Squares along it.
    """
    edges = np.linspace(0, side, grid + 1).round().astype(int)
    spans = [slice(int(low), int(high)) for low, high in pairwise(edges)]
    return [(down, across) for down in spans for across in spans]


def without_texture(picture: UInt8[np.ndarray, "S S"], grid: int) -> UInt8[np.ndarray, "S S"]:
    """Return the picture blurred by half a square, as means of what is not black; what is black stays black.

    Args:
        picture: Grey levels.
        grid: Squares along a side.
    """
    shown = (picture > 0).astype(np.float64)
    sums, weights = (ndimage.gaussian_filter(each, len(picture) / grid / 2) for each in (picture * shown, shown))
    means = np.divide(sums, weights, out=np.zeros_like(sums), where=picture > 0)
    blurred: np.ndarray = np.rint(means).astype(np.uint8)
    return blurred
