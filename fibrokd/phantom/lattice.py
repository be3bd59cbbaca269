"""Smooth random fields in millimetres, and the few shape functions that the tissue model is written in.

Owns numerical building blocks only, no anatomy. Exponentials run in double precision and are rounded afterwards:
single-precision ones differ between CPU types in the last bit, and digests must not.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float32, Shaped
from scipy import ndimage

F32 = np.float32


def smoothstep(low: float, high: float, value: float) -> float:
    """Cubic step from 0 at ``low`` to 1 at ``high``."""
    t = min(max((value - low) / (high - low), 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


def smoothstep_field(low: float, high: float, values: Float[np.ndarray, "*S"]) -> Float32[np.ndarray, "*S"]:
    """Cubic step of every value, see :func:`smoothstep`."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return (t * t * (3.0 - 2.0 * t)).astype(F32)


def bell(values: Float[np.ndarray, "*S"], width: float) -> Float32[np.ndarray, "*S"]:
    """Gaussian bell ``exp(-(values / width)² / 2)``."""
    scaled = values.astype(np.float64) / width
    return np.exp(-0.5 * scaled * scaled).astype(F32)


def decibel_to_amplitude(decibel: Float[np.ndarray, "*S"]) -> Float32[np.ndarray, "*S"]:
    """Amplitude factor of a level in dB: ``10 ** (decibel / 20)``."""
    return np.exp(decibel.astype(np.float64) * (math.log(10.0) / 20.0)).astype(F32)


def upsample(field: Shaped[np.ndarray, "h w"]) -> Shaped[np.ndarray, "2*h 2*w"]:
    """Double a field along both axes: even samples are kept, odd ones are the mean of their neighbours."""
    rows = np.empty((2 * field.shape[0], field.shape[1]), field.dtype)
    rows[::2] = field
    rows[1:-1:2] = (field[:-1] + field[1:]) * F32(0.5)
    rows[-1] = field[-1]
    out = np.empty((rows.shape[0], 2 * rows.shape[1]), field.dtype)
    out[:, ::2] = rows
    out[:, 1:-1:2] = (rows[:, :-1] + rows[:, 1:]) * F32(0.5)
    out[:, -1] = rows[:, -1]
    return out


def line_noise(
    random: np.random.Generator, along_mm: Float[np.ndarray, " T"], scale_mm: float
) -> Float[np.ndarray, " T"]:
    """Draw smooth unit-variance noise along an ascending coordinate.

    Args:
        random: Generator; one child is spawned, so later draws do not depend on ``scale_mm``.
        along_mm: Positions, ascending.
        scale_mm: Correlation length.
    """
    step = 0.5 * scale_mm
    count = int((along_mm[-1] - along_mm[0]) / step) + 8
    values = ndimage.gaussian_filter1d(random.spawn(1)[0].standard_normal(count), 1.0, mode="wrap")
    values /= values.std() + 1e-6
    read: np.ndarray = np.interp((along_mm - along_mm[0]) / step + 2, np.arange(count), values)
    return read


class SmoothNoise:
    """Isotropic smooth unit-variance noise on Cartesian millimetres.

    White noise on a lattice of half the correlation length, smoothed and read between the lattice points. It lives in
    millimetres and not in beam samples, so that tissue looks the same at every depth. Each field is drawn from a child
    generator of its own: adding or resizing one field leaves the others as they are.

    Args:
        random: Parent generator.
        x_mm: Smallest and largest lateral position asked for.
        z_mm: Smallest and largest depth asked for.
    """

    def __init__(self, random: np.random.Generator, x_mm: tuple[float, float], z_mm: tuple[float, float]) -> None:
        self._random, self._x_mm, self._z_mm = random, x_mm, z_mm

    def __call__(
        self, x_mm: Float32[np.ndarray, "*S"], z_mm: Float32[np.ndarray, "*S"], scale_mm: float
    ) -> Float32[np.ndarray, "*S"]:
        """Draw a new field and read it at the points given.

        Args:
            x_mm: Lateral positions.
            z_mm: Depths.
            scale_mm: Correlation length.
        """
        step = max(0.5 * scale_mm, 0.45)
        shape = tuple(int((high - low) / step) + 6 for low, high in (self._z_mm, self._x_mm))
        lattice = self._random.spawn(1)[0].standard_normal(shape, dtype=F32)
        lattice = ndimage.gaussian_filter(lattice, 1.0, mode="wrap", truncate=3.0)
        lattice /= lattice.std() + F32(1e-6)
        points = np.empty((2, *x_mm.shape), F32)
        points[0] = (z_mm - F32(self._z_mm[0])) / F32(step) + F32(2)
        points[1] = (x_mm - F32(self._x_mm[0])) / F32(step) + F32(2)
        read: np.ndarray = ndimage.map_coordinates(lattice, points, order=1, mode="nearest", output=F32)
        return read
