"""Defects of real public collections, every one switchable and every one written down in the truth.

Owns what a defect is (which copies exist, how a tampered copy looks, what a broken file holds); which files a cohort
consists of is decided in ``cohort``. All defaults are "no defect".

Shape letters: H W an image.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import Field
from scipy import ndimage

from fibrokd.config import Config
from fibrokd.phantom.lattice import F32

Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=50)]

TAMPERINGS = ("brightness", "gamma", "crop", "mirror", "blur")
"""What screenshots, re-saves and "augmented" uploads do to a copy."""

BROKEN = ("empty", "cut_header", "text", "truncated")
"""Kinds of broken files, in the order in which they are made."""


class HazardConfig(Config):
    """Which defects a cohort on disk has."""

    exact_copies: tuple[Rate, Rate, Rate, Rate, Rate] = (0.0, 0.0, 0.0, 0.0, 0.0)
    """Mean number of extra byte-identical copies per image, for each stage (Poisson)."""

    resaved: Share = 0.0
    """Share of images that also exist as a re-encoded JPEG."""

    tampered: Share = 0.0
    """Share of images with an altered copy: brightness, gamma, crop, mirror image, or blur and noise."""

    wrong_extension: Share = 0.0
    """Share of originals whose name claims the other of PNG and JPEG."""

    names: Literal["clean", "stem", "random"] = "clean"
    """``clean``: P0001_C0_000.png, copies _1, _2; ``stem``: copies _copy1, _copy2; ``random``: a0417.png, which hides
    patient and frame as public collections do."""

    straddle: Share = 0.0
    """Share of patients whose second half of images is filed under a neighbouring stage."""

    broken: Annotated[int, Field(ge=0, le=1000)] = 0
    """Number of unreadable files to add: empty, cut after the header, text, truncated image."""

    @property
    def alters_pixels(self) -> bool:
        """True when some files hold other pixels than the render: such copies only exist as images."""
        return bool(self.resaved or self.tampered or self.wrong_extension)


def tamper(image: UInt8[np.ndarray, "H W"], tampering: str, random: np.random.Generator) -> UInt8[np.ndarray, "H W"]:
    """Return an altered copy.

    Args:
        image: Grey image.
        tampering: One of :data:`TAMPERINGS`.
        random: Generator that sets the strength.
    """
    pixels = image.astype(F32)
    if tampering == "brightness":
        changed = pixels + F32(random.uniform(8, 22) * random.choice((-1, 1)))
    elif tampering == "gamma":
        changed = F32(255) * (pixels / F32(255)).astype(np.float64) ** float(random.choice((0.78, 1.28)))
    elif tampering == "crop":
        changed = _cropped(pixels, max(1, round(random.uniform(0.008, 0.035) * min(image.shape))))
    elif tampering == "mirror":
        changed = pixels[:, ::-1]
    else:
        changed = ndimage.gaussian_filter(pixels, 0.6) + random.normal(0, 2, pixels.shape)
    altered: np.ndarray = np.clip(changed, 0, 255).astype(np.uint8)
    return altered


def broken_bytes(number: int, image: bytes) -> bytes:
    """Return the content of an unreadable file.

    Args:
        number: Which one; its kind is ``BROKEN[number % 4]``.
        image: A whole encoded image to cut.
    """
    kind = BROKEN[number % len(BROKEN)]
    if kind == "empty":
        return b""
    if kind == "cut_header":
        return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
    if kind == "text":
        return b"<html><body>404: this image has moved</body></html>\n"
    return image[: len(image) // 3]


def _cropped(pixels: Float32[np.ndarray, "H W"], edge: int) -> Float32[np.ndarray, "H W"]:
    """Cut ``edge`` pixels off every side and stretch the rest to the old size."""
    height, width = pixels.shape
    row, column = np.mgrid[0:height, 0:width].astype(np.float64)
    row = edge + row * (height - 1 - 2 * edge) / (height - 1)
    column = edge + column * (width - 1 - 2 * edge) / (width - 1)
    stretched: np.ndarray = ndimage.map_coordinates(pixels, np.stack([row, column]), order=1, output=F32)
    return stretched
