"""Ultrasound operations on grey pictures: what scanners and settings do to the same liver.

Training's augmentation and the robustness tests share them. Every operation is a pure function of the picture and
explicit parameters (no randomness here), takes ``uint8`` or real pictures on the scale 0 … 255, returns the same
type, and keeps 0 at 0: what lies outside the fan stays outside. Depth runs along the rows, the probe is at the top.
Deliberately absent, because they destroy stage evidence, which lives in 1–6 px texture: blur, despeckling, histogram
equalisation, vertical flip, large zoom. Shape letters: H W picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32, Real

Picture = Real[np.ndarray, "H W"]

DYNAMIC_RANGE_DB = 60.0
"""Decibels that 0 … 255 stands for on a typical abdominal preset (48 … 66)."""


def gain(pixels: Picture, decibel: float, dynamic_range_db: float = DYNAMIC_RANGE_DB) -> Picture:
    """Raise or lower the receive gain: a shift of the log-compressed grey levels, saturating at both ends.

    Args:
        pixels: Picture.
        decibel: Change of gain; ±3.5 dB (15 grey levels) hardly moves a stage estimate.
        dynamic_range_db: Decibels that 0 … 255 stands for.
    """
    shift = decibel * 255.0 / dynamic_range_db
    return _mapped(pixels, lambda levels: levels + np.float32(shift))


def gamma(pixels: Picture, exponent: float) -> Picture:
    """Change the grey map: 255 · (level / 255) ** exponent.

    Args:
        pixels: Picture.
        exponent: 1 changes nothing; 0.8 … 1.25 hardly moves a stage estimate.
    """
    return _mapped(pixels, lambda levels: np.float32(255) * (levels / np.float32(255)) ** np.float32(exponent))


def tgc_tilt(pixels: Picture, decibel: float, dynamic_range_db: float = DYNAMIC_RANGE_DB) -> Picture:
    """Tilt the time gain compensation: −``decibel`` at the probe to +``decibel`` at the deepest row, linearly.

    Args:
        pixels: Picture.
        decibel: Change at the deepest row; ±2.8 dB (12 grey levels) hardly moves a stage estimate.
        dynamic_range_db: Decibels that 0 … 255 stands for.
    """
    rows = np.linspace(-1, 1, pixels.shape[0], dtype=np.float32)[:, None]
    return _restored(pixels + rows * np.float32(decibel * 255.0 / dynamic_range_db), pixels)


def haze(pixels: Picture, depth: float, width: float, levels: float) -> Picture:
    """Add a band of haze across the beam (reverberation in the near field; Østvik et al., USAugment).

    Args:
        pixels: Picture.
        depth: Centre of the band, share of the height.
        width: Standard deviation of the band, share of the height, > 0.
        levels: Grey levels added at the centre; moderate is ≤ 40.
    """
    rows = (_depth(pixels) - np.float32(depth)) / np.float32(width)
    return _restored(pixels + np.float32(levels) * np.exp(-0.5 * np.square(rows)), pixels)


def attenuate(pixels: Picture, rate: float, floor: float = 0.0) -> Picture:
    """Darken with depth: factor (1 − floor) · exp(−rate · depth) + floor (Østvik et al., USAugment).

    Imitates steatosis; at rate 1 it moved a texture regressor by half a stage, so keep it ≤ 0.4.

    Args:
        pixels: Picture.
        rate: Decay per picture height, ≥ 0.
        floor: Share that never fades, 0 … 1.
    """
    factor = np.float32(1 - floor) * np.exp(np.float32(-rate) * _depth(pixels)) + np.float32(floor)
    return _restored(pixels * factor, pixels)


def shadow(pixels: Picture, center: tuple[float, float], spread: tuple[float, float], strength: float) -> Picture:
    """Darken a Gaussian patch, as a rib or gas does (Smistad et al., USAugment). Small ones only.

    Args:
        pixels: Picture.
        center: (row, column) of the darkest point, shares of height and width.
        spread: (row, column) standard deviations, shares of height and width, > 0.
        strength: Share of the grey level lost at the centre, 0 … 1.
    """
    rows = (_depth(pixels) - np.float32(center[0])) / np.float32(spread[0])
    columns = (_positions(pixels.shape[1])[None, :] - np.float32(center[1])) / np.float32(spread[1])
    patch = np.exp(-0.5 * np.square(rows)) * np.exp(-0.5 * np.square(columns))
    return _restored(pixels * (1 - np.float32(strength) * patch), pixels)


def shift(pixels: Picture, rows: int, columns: int) -> Picture:
    """Move the picture by whole pixels (no interpolation, so no blur); what enters is 0, what leaves is lost.

    Args:
        pixels: Picture.
        rows: Down where positive.
        columns: To the right where positive.
    """
    height, width = pixels.shape
    moved = np.zeros_like(pixels)
    down, across = min(abs(rows), height), min(abs(columns), width)
    source = pixels[_leaving(rows, down, height), _leaving(columns, across, width)]
    moved[_leaving(-rows, down, height), _leaving(-columns, across, width)] = source
    return moved


def flip(pixels: Picture) -> Picture:
    """Mirror left and right: the stage has no side. Do not use where the view or situs matters."""
    return np.ascontiguousarray(pixels[:, ::-1])


OPERATIONS: Mapping[str, Callable[..., np.ndarray]] = {
    "gain": gain,
    "gamma": gamma,
    "tgc_tilt": tgc_tilt,
    "haze": haze,
    "attenuate": attenuate,
    "shadow": shadow,
    "shift": shift,
    "flip": flip,
}
"""Every operation by name."""


def _mapped(pixels: Picture, law: Callable[[np.ndarray], np.ndarray]) -> Picture:
    """Apply a law of the grey level alone: through a table of 256 entries for ``uint8``."""
    if pixels.dtype == np.uint8:
        levels = np.arange(256, dtype=np.float32)
        table = np.rint(np.clip(law(levels), 0, 255)).astype(np.uint8)
        table[0] = 0
        return np.asarray(table[pixels])
    return _restored(law(pixels), pixels)


def _restored(values: np.ndarray, pixels: Picture) -> Picture:
    """Clip, return to the picture's type, and put 0 back where it was; ``values`` are the caller's to lose."""
    if pixels.dtype == np.uint8:  # the way of training, once per image and epoch: everything in place
        np.clip(values, 0, 255, out=values)
        restored = np.rint(values, out=values).astype(np.uint8)
        return np.asarray(np.multiply(restored, pixels != 0, out=restored))
    return np.where(pixels == 0, 0, np.clip(values, 0, 255)).astype(pixels.dtype)


def _positions(count: int) -> Float32[np.ndarray, " count"]:
    """Pixel centres as shares of the side."""
    return (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)


def _depth(pixels: Picture) -> Float32[np.ndarray, "H 1"]:
    return _positions(pixels.shape[0])[:, None]


def _leaving(offset: int, distance: int, size: int) -> slice:
    """The part of an axis that stays in view when it moves by ``offset``, in the picture's old place."""
    return slice(0, size - distance) if offset > 0 else slice(distance, size)
