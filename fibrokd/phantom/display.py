"""From baseband echoes to grey levels: receive chain, log compression, grey map, scan conversion.

There is no per-image normalisation on purpose: gain and time-gain sliders stay a nuisance, as on a real machine.

Shape letters: R samples and T lines of one frame, S side of the screen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float32, Float64, UInt8
from scipy import ndimage

from fibrokd.phantom.beamforming import receiver_noise
from fibrokd.phantom.geometry import SAMPLES, beam_grid, screen
from fibrokd.phantom.lattice import F32, decibel_to_amplitude
from fibrokd.phantom.patients import Patient
from fibrokd.phantom.scanners import Scanner

_FLOOR = 1e-9
_HAZE_DECAY_MM = 18.0


@dataclass(frozen=True, eq=False)
class Receiver:
    """What the receive chain adds to the echoes of one frame.

    Args:
        gain: Amplitude factor of the time-gain compensation, sliders included, per sample.
        noise: Amplified thermal noise.
        haze: Reverberation clutter near the skin.
    """

    gain: Float32[np.ndarray, "R 1"]
    noise: Complex64[np.ndarray, "R T"]
    haze: Complex64[np.ndarray, "R T"]


def make_receiver(scanner: Scanner, patient: Patient, random: np.random.Generator) -> Receiver:
    """Set up the receive chain of one frame; thermal noise grows with the time-gain compensation."""
    depth = np.arange(SAMPLES) * beam_grid(scanner).step_mm
    sliders = np.interp(depth, np.linspace(0, scanner.depth_mm, len(patient.sliders_db)), patient.sliders_db)
    compensation = 2 * scanner.frequency_mhz * scanner.assumed_attenuation * depth / 10 + sliders
    thermal, haze = receiver_noise(scanner)
    samples, lines = (int(random.integers(length)) for length in thermal.shape)
    near = decibel_to_amplitude(np.full(1, scanner.clutter_db)) * 1.6 * np.exp(-depth / _HAZE_DECAY_MM)
    return Receiver(
        gain=decibel_to_amplitude(compensation)[:, None],
        noise=np.roll(thermal, (samples, lines), (0, 1))
        * decibel_to_amplitude(compensation + scanner.noise_db)[:, None],
        haze=np.roll(haze, lines, 1) * near[:, None].astype(F32),
    )


def grey_levels(power: Float32[np.ndarray, "R T"], scanner: Scanner, gain_db: float) -> Float32[np.ndarray, "R T"]:
    """Log-compress echo power to display levels from 0 to 1; liver lies a little below the middle.

    Args:
        power: Mean |IQ|² over the compounded looks, relative to liver.
        scanner: Dynamic range, grey map, speckle reduction, edge enhancement.
        gain_db: Gain on top of the preset's.
    """
    level = np.log10(power.astype(np.float64) + _FLOOR)
    level *= 10 * 0.94 / scanner.dynamic_range_db
    level += (scanner.gain_db + gain_db) * 0.94 / scanner.dynamic_range_db + 0.60 * 0.94 - 0.10
    np.clip(level, 0, 1, out=level)
    grey = (_gamma(level, scanner.gamma) if scanner.gamma != 1 else level).astype(F32)
    if scanner.smoothing_px:
        grey = ndimage.gaussian_filter(grey, (1.6 * scanner.smoothing_px, scanner.smoothing_px))
    if scanner.sharpening:
        grey = np.clip(grey + F32(scanner.sharpening) * (grey - ndimage.gaussian_filter(grey, (2.5, 1.2))), 0, 1)
    return grey


def scan_convert(grey: Float32[np.ndarray, "R T"], scanner: Scanner, size: int) -> UInt8[np.ndarray, "S S"]:
    """Put beam samples on the screen; everything outside the fan is the scanner's background."""
    place = screen(scanner, size)
    image = np.full((size, size), scanner.background, np.uint8)
    inside = ndimage.map_coordinates(grey, place.samples, order=1, mode="nearest", output=F32)
    image[place.fan] = np.clip(inside * F32(255) + F32(0.5), 0, 255).astype(np.uint8)
    return image


def scan_convert_mask(mask: Bool[np.ndarray, "R T"], scanner: Scanner, size: int) -> Bool[np.ndarray, "S S"]:
    """Put a beam-space mask on the screen by its nearest samples."""
    place = screen(scanner, size)
    sample = np.clip(np.rint(place.samples).astype(np.int64), 0, np.array(mask.shape)[:, None] - 1)
    shown = np.zeros((size, size), bool)
    shown[place.fan] = mask[sample[0], sample[1]]
    return shown


def _gamma(level: Float64[np.ndarray, "R T"], exponent: float) -> Float64[np.ndarray, "R T"]:
    powered: np.ndarray = level**exponent
    return powered
