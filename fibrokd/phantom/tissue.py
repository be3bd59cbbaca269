"""Acoustic properties of the scan plane: echo strength, attenuation, mirror-like interfaces.

Attenuation rises with steatosis (0.48 to 0.86 dB/cm/MHz) and hardly with fibrosis (+0.05; Kumada et al.,
Ultrasonography 2024, doi:10.14366/usg.23208 find a small rise in lean livers only): deep darkening is a confounder, not
a sign of the stage. Shadows and enhancement come out by integrating attenuation along each ray.

Shape letters: h w painted samples, R T world samples (twice as many), N points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex64, Float32

from fibrokd.phantom.anatomy import Scene, Tissue, View, interface, make_scene
from fibrokd.phantom.lattice import (
    F32,
    SmoothNoise,
    bell,
    decibel_to_amplitude,
    line_noise,
    smoothstep_field,
    upsample,
)
from fibrokd.phantom.patients import Patient
from fibrokd.phantom.randomness import Stream
from fibrokd.phantom.scanners import Scanner
from fibrokd.phantom.texture import Fibrosis, liver_texture
from fibrokd.phantom.vessels import add_vessels

_ATTENUATION = {
    Tissue.FAT: 0.60,
    Tissue.MUSCLE: 0.70,
    Tissue.LIVER: 0.48,
    Tissue.FLUID: 0.02,
    Tissue.KIDNEY: 0.50,
    Tissue.SINUS: 0.50,
    Tissue.LUNG: 0.90,
    Tissue.BOWEL: 0.75,
}
"""dB/cm/MHz, one way; order of magnitude after Duck, Physical Properties of Tissue (1990), chapter 4."""

_BLOOD_ATTENUATION = 0.34
_GAS_ATTENUATION = 3.2
_BLOOD_DB, _FLUID_DB = -30.0, -34.0

_INVISIBLE = 1e-3
"""Amplitude of an interface echo below which it drowns in liver speckle (amplitude 1)."""


@dataclass(frozen=True, eq=False)
class TissueMaps:
    """The scan plane as ultrasound meets it.

    Args:
        scatter: Amplitude of diffuse scattering relative to liver.
        mirror: Complex amplitude of mirror-like interfaces.
        transmission: Amplitude left after the way there and back.
        liver: Liver parenchyma without vessels.
        speckle_only: Parenchyma well away from any interface: nothing but diffuse scattering.
    """

    scatter: Float32[np.ndarray, "R T"]
    mirror: Complex64[np.ndarray, "R T"]
    transmission: Float32[np.ndarray, "R T"]
    liver: Bool[np.ndarray, "h w"]
    speckle_only: Bool[np.ndarray, "h w"]


def paint(patient: Patient, clip: int, scanner: Scanner) -> TissueMaps:
    """Paint the scan plane of one clip."""
    scene = make_scene(patient, clip, scanner)
    lumen = add_vessels(scene)
    blood = (lumen < 0) & (scene.tissue == Tissue.LIVER)
    random = scene.stream(Stream.TISSUE)
    noise = scene.noise(random)
    echo = _echo_strength(scene, blood, noise)
    attenuation = _attenuation(scene, blood)
    _layer_interfaces(scene, noise)
    mirror = _granular_phase(scene, noise)
    return TissueMaps(
        scatter=upsample(decibel_to_amplitude(echo)),
        mirror=upsample(mirror),
        transmission=upsample(decibel_to_amplitude(-attenuation)),
        liver=scene.liver,
        speckle_only=scene.liver & (scene.specular < 0.02),
    )


def _echo_strength(scene: Scene, blood: Bool[np.ndarray, "h w"], noise: SmoothNoise) -> Float32[np.ndarray, "h w"]:
    """Echo strength of every painted sample, dB relative to normal liver; only painted where it is needed."""
    echo = np.zeros(scene.tissue.shape, F32)
    x_mm, z_mm = scene.grid.x_mm, scene.grid.z_mm

    def at(tissue: Tissue, base_db: float, spread_db: float, scale_mm: float, stretch: float = 1.0) -> None:
        here = scene.tissue == tissue
        echo[here] = base_db + spread_db * noise(x_mm[here] * F32(stretch), z_mm[here], scale_mm)

    # Fibrous strands and muscle fibres run along the skin, hence stretched.
    fat = scene.tissue == Tissue.FAT
    strands = noise(x_mm[fat] * F32(0.35), z_mm[fat], 1.8)
    echo[fat] = -6 + 4.8 * np.clip(strands, -0.8, 2)
    at(Tissue.MUSCLE, -5.0, 3.2, 1.1, stretch=0.18)
    at(Tissue.KIDNEY, -5.5, 1.0, 6.0)
    at(Tissue.SINUS, 4.5, 2.5, 3.0)
    at(Tissue.LUNG, -8.0, 3.0, 12.0)
    at(Tissue.BOWEL, 1.0, 4.0, 9.0)
    lung = scene.tissue == Tissue.LUNG
    echo[lung] -= 0.10 * np.maximum(scene.behind_mm[lung], 0)
    echo[scene.tissue == Tissue.FLUID] = _FLUID_DB
    patient = scene.patient
    liver = scene.liver
    if liver.any():
        fibrosis = Fibrosis(patient.severity, patient.effect, patient.nodule_mm)
        random = scene.stream(Stream.TEXTURE)
        texture = liver_texture(x_mm[liver], z_mm[liver], fibrosis, scene.noise(random), random)
        echo[liver] = 2.8 * patient.steatosis + patient.effect * patient.severity + texture
    echo[blood] = _BLOOD_DB
    return echo


def _attenuation(scene: Scene, blood: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Loss on the way there and back, dB, including shadows of ribs and bowel gas."""
    patient, grid, scanner = scene.patient, scene.grid, scene.scanner
    random = scene.stream(Stream.SHADOWS)
    table = np.array([_ATTENUATION[tissue] for tissue in Tissue], F32)
    alpha = table[scene.tissue]
    alpha[scene.liver] += F32(0.38 * patient.steatosis + 0.05 * patient.effect * patient.severity)
    alpha[blood] = _BLOOD_ATTENUATION
    gas = line_noise(random, grid.arc_mm, 9.0)
    if scene.view is View.LEFT_LOBE:
        alpha[(gas > 1.1)[None, :] & (scene.tissue == Tissue.BOWEL) & (scene.behind_mm > 6)] = _GAS_ATTENUATION
    alpha[grid.range_mm < 0] = 0
    per_sample = F32(2 * grid.step_mm / 10 * 2 * scanner.frequency_mhz)
    loss: np.ndarray = np.cumsum(alpha, axis=0, dtype=F32) * per_sample
    shadowed, side, where, depth_db = random.random(4)
    if scene.view in (View.INTERCOSTAL, View.RENAL) and shadowed < 0.45:
        sign = 1.0 if side < 0.5 else -1.0
        edge = sign * (0.62 + 0.38 * where) * math.radians(scanner.opening_deg) / 2
        across = (8 + 18 * depth_db) * smoothstep_field(-0.05, 0.09, sign * (grid.angle_rad.astype(np.float64) - edge))
        wall = scene.wall
        below = smoothstep_field(float(wall.fat_mm.mean()), float(wall.muscle_mm.mean()) + 4, grid.range_mm)
        loss += below[:, None] * across[None, :]
    return loss


def _granular_phase(scene: Scene, noise: SmoothNoise) -> Complex64[np.ndarray, "h w"]:
    """Give mirror-like interfaces a slowly varying phase: they are never flat to a fraction of a wavelength."""
    shining = scene.specular > 0
    x, z = scene.grid.x_mm[shining], scene.grid.z_mm[shining]
    phase = (2.2 * noise(x, z, 3.0) + 4.0 * noise(x, z, 30.0)).astype(np.float64)
    mirror = np.zeros(shining.shape, np.complex64)
    mirror[shining] = scene.specular[shining] * (np.cos(phase) + 1j * np.sin(phase))
    return mirror


def _layer_interfaces(scene: Scene, noise: SmoothNoise) -> None:
    """Add probe face, fascia, capsule and the surface behind the liver to the scene's mirror-like echoes."""
    grid, wall, patient = scene.grid, scene.wall, scene.patient
    depth, row = grid.depth_mm, 2 * grid.step_mm

    def add(shine: Float32[np.ndarray, "h w"], scale_mm: float, least: float) -> None:
        # Patchy brightness, drawn only where something shines.
        here = shine > _INVISIBLE
        patches = 0.55 + 0.55 * noise(grid.x_mm[here], grid.z_mm[here], scale_mm)
        scene.specular[here] += shine[here] * np.clip(patches, least, 2.0)

    scene.specular += F32(4.0) * bell(grid.range_mm - F32(0.8), 0.6)[:, None]
    add(F32(2.6) * bell(depth - wall.fat_mm, 0.45), 9.0, 0.15)
    add(F32(3.6) * bell(depth - wall.muscle_mm, 0.45), 10.0, 0.15)
    amplitude = 5.5 * (1 - 0.25 * patient.effect * patient.severity)
    tilt = np.abs(np.gradient(wall.capsule_mm.astype(np.float64)) / np.gradient(grid.arc_mm))
    facing = np.clip(1 - 1.2 * tilt, 0.15, 1).astype(F32)
    capsule = F32(amplitude) * bell(depth - wall.capsule_mm, 0.45) * facing
    add(capsule * (scene.behind_mm < 2), 12.0, 0.35)
    if scene.view in (View.INTERCOSTAL, View.SUBCOSTAL):
        add(interface(row, scene.behind_mm, 0.75, 9.0, 4.0) * (depth > wall.capsule_mm + 10), 16.0, 0.25)
    else:
        surface = interface(row, scene.behind_mm, 0.6, 2.2, 3.0) * (depth > wall.capsule_mm + 3)
        add(surface * ((scene.tissue != Tissue.KIDNEY) & (scene.tissue != Tissue.SINUS)), 12.0, 0.15)
