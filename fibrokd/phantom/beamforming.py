"""From scatterers to baseband echoes: a point spread that widens with depth, applied by two passes of 1-D FFTs.

The convolution model reduced to one-dimensional convolutions, as COLE does (Gao et al., IEEE Trans. Ultrason.
Ferroelectr. Freq. Control 2009, doi:10.1109/TUFFC.2009.1059), but in beam space, so that the lateral width may vary
with depth. Baseband is enough: |IQ| is the Hilbert envelope of the radio-frequency line. FFTs run single-threaded; the
phantom is parallel over clips.

Shape letters: R samples and T lines of one frame, F frequencies.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex64, Float32
from scipy import fft, ndimage

from fibrokd.phantom.geometry import LINES, SAMPLES, beam_grid
from fibrokd.phantom.randomness import COHORT, Stream, keyed
from fibrokd.phantom.scanners import SCANNERS, SOUND_MM_PER_US, Scanner

_FWHM_PER_SIGMA = 2.355
_PADDING = 16


@dataclass(frozen=True, eq=False)
class PointSpread:
    """Transfer functions of unit energy, so that the echo level does not depend on resolution.

    Args:
        axial: Along the beam, one for all depths.
        lateral: Across beams, one row per depth.
    """

    axial: Float32[np.ndarray, "F 1"]
    lateral: Float32[np.ndarray, "R F2"]


@functools.lru_cache(maxsize=8)
def point_spread(scanner: Scanner) -> PointSpread:
    """Return the point spread function of a scanner.

    Axial full width at half maximum 0.5 c/B; lateral from diffraction (0.9 λ r / aperture), geometric defocus and a
    floor of 0.55 mm, with an aperture that grows with depth up to its full size (f-number 2). Range samples 0.3 mm
    apart cut the spectrum of the shortest pulses, which makes them up to a quarter longer than the formula.
    """
    grid = beam_grid(scanner)
    axial_mm = 0.5 * SOUND_MM_PER_US / (scanner.bandwidth * scanner.frequency_mhz)
    frequency = 2 * np.pi * fft.fftfreq(fft.next_fast_len(SAMPLES + _PADDING))
    axial = np.exp(-0.5 * (frequency * axial_mm / _FWHM_PER_SIGMA / grid.step_mm) ** 2)
    depth = np.arange(SAMPLES) * grid.step_mm + 1.0
    aperture = np.minimum(scanner.aperture_mm, np.maximum(depth / 2, 4.0))
    diffraction = 0.9 * scanner.wavelength_mm * depth / aperture
    defocus = 0.22 * aperture * np.abs(depth - scanner.focus_mm) / np.maximum(scanner.focus_mm, depth)
    lateral_mm = np.sqrt(diffraction**2 + defocus**2) + 0.55
    sigma = lateral_mm / _FWHM_PER_SIGMA / ((scanner.radius_mm + depth) * grid.step_rad)
    frequency = 2 * np.pi * fft.fftfreq(fft.next_fast_len(LINES + _PADDING))
    lateral = np.exp(-0.5 * (frequency[None, :] * sigma[:, None]) ** 2)
    axial /= np.sqrt(np.mean(axial**2))
    lateral /= np.sqrt(np.mean(lateral**2, axis=1, keepdims=True))
    return PointSpread(axial[:, None].astype(np.float32), lateral.astype(np.float32))


def beamform(scatterers: Complex64[np.ndarray, "R T"], scanner: Scanner) -> Complex64[np.ndarray, "R T"]:
    """Return the baseband echoes of a field of scatterers."""
    spread = point_spread(scanner)
    lines = _filter_axially(scatterers, spread)
    echoes: np.ndarray = fft.ifft(
        fft.fft(lines, spread.lateral.shape[1], axis=1) * spread.lateral, axis=1, overwrite_x=True
    )[:, :LINES]
    return echoes


@functools.lru_cache(maxsize=8)
def receiver_noise(scanner: Scanner) -> tuple[Complex64[np.ndarray, "R T"], Complex64[np.ndarray, "R T"]]:
    """Return a scanner's tapes of thermal noise (as wide as the pulse) and of near-field haze (smooth), unit power.

    One tape per scanner, entered at a random place for each frame: a fresh one would cost a third of the frame.
    """
    random = keyed(0, COHORT, Stream.RECEIVER, tuple(SCANNERS).index(scanner.name))
    white = np.empty((SAMPLES, LINES), np.complex64)
    white.real, white.imag = random.standard_normal((2, SAMPLES, LINES), dtype=np.float32) * np.float32(0.5**0.5)
    haze = np.empty_like(white)
    haze.real = ndimage.gaussian_filter(white.real, (3, 6), mode="wrap")
    haze.imag = ndimage.gaussian_filter(white.imag, (3, 6), mode="wrap")
    haze /= np.sqrt(np.mean(np.abs(haze) ** 2))
    return _filter_axially(white, point_spread(scanner)), haze


def _filter_axially(field: Complex64[np.ndarray, "R T"], spread: PointSpread) -> Complex64[np.ndarray, "R T"]:
    spectrum = fft.fft(field, len(spread.axial), axis=0)
    spectrum *= spread.axial
    lines: np.ndarray = fft.ifft(spectrum, axis=0, overwrite_x=True)[:SAMPLES]
    return lines
