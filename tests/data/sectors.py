"""Pictures for the data tests, drawn here: a speckled sector whose mask is known exactly."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image


def draw_sector(
    height: int = 240,
    width: int = 320,
    half_angle: float = 0.55,
    apex: tuple[float, float] = (-20.0, 160.0),
    radii: tuple[float, float] = (45.0, 235.0),
    background: int = 0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (picture, mask): bright speckle inside the sector, flat outside."""
    row, column = np.mgrid[:height, :width].astype(float)
    radius = np.hypot(row - apex[0], column - apex[1])
    angle = np.arctan2(column - apex[1], row - apex[0])
    mask = (np.abs(angle) <= half_angle) & (radius >= radii[0]) & (radius <= radii[1])
    speckle = 30 + 25 * np.random.default_rng(seed).rayleigh(2.0, (height, width))
    picture = np.where(mask, speckle.clip(12, 255), background).astype(np.uint8)
    return picture, mask


def draw_integer_sector(
    shape: tuple[int, int], apex: tuple[int, int], radii: tuple[int, int], slope_tenths: int
) -> np.ndarray:
    """Return a sector of integer arithmetic alone: no generator or libm may change it."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    down, aside = row - apex[0], np.abs(column - apex[1])
    squared = down**2 + aside**2
    inside = (squared >= radii[0] ** 2) & (squared <= radii[1] ** 2) & (10 * aside <= slope_tenths * down)
    texture = 40 + (row * 7919 + column * 104729 + row * column * 31) % 180
    return np.where(inside, texture, 0).astype(np.uint8)


def encode(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return the bytes of a picture file."""
    stream = BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, kind, **options)
    return stream.getvalue()
