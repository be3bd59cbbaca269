"""THE function from a decoded frame to the network's input; training, export, command line and app all call it.

Fan found → its outline moved inwards by what it may be off → outside set to 0 → cropped to its box → resized once,
aspect kept → padded with 0 to a square. Must not decode files or change intensities: gain and dynamic range stay as
they are.
Shape letters: H W decoded frame, h w the part of it that is kept, S side of the square network input, N frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from pydantic import Field

from fibrokd.config import Config
from fibrokd.data.fan.finder import Fan, find_fan, mask_box
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.tissue_box import is_filled

Box = tuple[int, int, int, int]

_KERNEL = Image.Resampling.BICUBIC


class PreprocessSpec(Config):
    """Everything that decides the pixels a network sees; travels with every network and bundle."""

    size: Annotated[int, Field(ge=32, le=1024)] = 224
    """Side of the square network input, pixels."""

    crop: Literal["fan", "full"] = "fan"
    """``fan``: find the insonation fan, set everything outside it to 0 and crop to its box.
    ``full``: keep the frame's extent; outside the tissue box that a file declares it is 0 all the same."""

    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Below this fan confidence (intersection over union of the fitted sector) the whole frame is kept."""


@dataclass(frozen=True)
class Preprocessed:
    """What the network sees of one frame.

    Args:
        pixels: ``uint8`` [S, S]; 0 outside the accepted area.
        fan_confidence: 0 … 1; 0 where no fan was looked for or found.
        box: (top, left, bottom, right), half-open, of the decoded frame that was kept.
        cropped: Everything beside the tissue is 0: what lies outside the fan, or outside a declared tissue box that
            tissue fills from side to side. False where the whole frame was kept, or a box with room for burned-in text.
        fan: What was found in the tissue box, or else in the whole frame, accepted or not; ``None`` where no fan was
            looked for.
        kept: Grey levels of ``box``, black where not accepted: all of the frame that may be looked at from now on.
    """

    pixels: UInt8[np.ndarray, "S S"]
    fan_confidence: float
    box: Box
    cropped: bool
    fan: Fan | None = None
    kept: UInt8[np.ndarray, "h w"] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint8), repr=False)


def preprocess(image: UltrasoundImage, spec: PreprocessSpec) -> Preprocessed:
    """Turn a decoded frame into the network's input.

    A tissue box that the file declares bounds the search and the result. Without a confident fan the tissue box
    is kept, or else the whole frame; whether that cut off what is burned in, ``cropped`` tells.

    Args:
        image: One decoded frame.
        spec: What the network was trained to see.
    """
    height, width = image.pixels.shape
    whole: Box = (0, 0, height, width)
    if spec.crop == "full":
        kept = _tissue_in_place(image)
        cropped = image.tissue is not None and is_filled(tissue_of(image))
        return Preprocessed(letterbox(kept, spec.size, _aspect(image)), 0.0, whole, cropped, kept=kept)
    bounds = image.tissue or whole
    inner = tissue_of(image)
    fan = find_fan(inner)
    kept, box, cropped = inner, bounds, False
    if fan.confidence >= spec.min_confidence:
        mask = fan.inner_mask(fan.off_px)  # burned-in text and rulers touch the outline
        if mask.any():
            top, left, bottom, right = mask_box(mask)
            kept = inner[top:bottom, left:right] * mask[top:bottom, left:right].view(np.uint8)
            box = (bounds[0] + top, bounds[1] + left, bounds[0] + bottom, bounds[1] + right)
            cropped = True
    if not cropped:
        cropped = image.tissue is not None and is_filled(inner)
    return Preprocessed(letterbox(kept, spec.size, _aspect(image)), fan.confidence, box, cropped, fan, kept)


def tissue_of(image: UltrasoundImage) -> UInt8[np.ndarray, "h w"]:
    """Return the part of the frame in which a fan is looked for: the tissue box that the file declares, or all."""
    if image.tissue is None:
        return image.pixels
    top, left, bottom, right = image.tissue
    return np.ascontiguousarray(image.pixels[top:bottom, left:right])


def _tissue_in_place(image: UltrasoundImage) -> UInt8[np.ndarray, "H W"]:
    """Return the frame, black outside the tissue box that the file declares, if it declares one."""
    if image.tissue is None:
        return image.pixels
    top, left, bottom, right = image.tissue
    frame = np.zeros_like(image.pixels)
    frame[top:bottom, left:right] = image.pixels[top:bottom, left:right]
    return frame


def letterbox(pixels: UInt8[np.ndarray, "H W"], size: int, aspect: float = 1.0) -> UInt8[np.ndarray, "S S"]:
    """Resize to fit a square, aspect kept, centred, padded with 0.

    One kernel everywhere: Pillow's bicubic, whose support grows with the reduction (antialiased). It keeps more of
    the 1–6 px speckle texture than a box or triangle, rings less than Lanczos at the fan's hard edge, and works
    on ``uint8`` in fixed point: the same grey levels on every machine.

    Args:
        pixels: Any frame.
        size: Side of the square, pixels.
        aspect: Height of a pixel divided by its width, 1 for square pixels.
    """
    height, width = pixels.shape
    scale = size / max(height * aspect, width)
    rows, columns = max(1, round(height * aspect * scale)), max(1, round(width * scale))
    resized = np.asarray(Image.fromarray(pixels).resize((columns, rows), _KERNEL))
    square = np.zeros((size, size), dtype=np.uint8)
    top, left = (size - rows) // 2, (size - columns) // 2
    square[top : top + rows, left : left + columns] = resized
    return square


def as_network_input(pixels: UInt8[np.ndarray, "N S S"]) -> Float32[np.ndarray, "N 1 S S"]:
    """Scale grey levels to [0, 1]: the only place of this division, in training and in serving.

    Args:
        pixels: Preprocessed frames.
    """
    return pixels[:, None].astype(np.float32) / np.float32(255)


def _aspect(image: UltrasoundImage) -> float:
    """Height of a pixel divided by its width, where the file states both and they differ by over 1 %."""
    if image.spacing_mm is None:
        return 1.0
    aspect = image.spacing_mm[0] / image.spacing_mm[1]
    return aspect if abs(aspect - 1) > 0.01 else 1.0
