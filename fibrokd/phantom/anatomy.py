"""What lies where in the scan plane: abdominal wall, liver, the organ behind it, kidney and gall bladder.

Owns geometry only; echo levels and attenuation are in ``tissue``, vessels in ``vessels``. Signs of fibrosis drawn
here: capsule nodularity from late F3 (the most specific single sign of cirrhosis, Colli et al., Radiology 2003,
doi:10.1148/radiol.2272020193), a blunt inferior edge in the left-lobe view, ascites in some decompensated livers.

Shape letters: h w painted samples of the beam grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float32, Int8

from fibrokd.phantom.geometry import BeamGrid, beam_grid
from fibrokd.phantom.lattice import F32, SmoothNoise, bell, line_noise, smoothstep
from fibrokd.phantom.patients import Patient
from fibrokd.phantom.randomness import Stream, keyed
from fibrokd.phantom.scanners import Scanner


class View(IntEnum):
    """Standard planes of a liver examination."""

    INTERCOSTAL = 0
    RENAL = 1
    SUBCOSTAL = 2
    LEFT_LOBE = 3


class Tissue(IntEnum):
    """What a painted sample consists of."""

    FAT = 0
    MUSCLE = 1
    LIVER = 2
    FLUID = 3
    KIDNEY = 4
    SINUS = 5
    LUNG = 6
    BOWEL = 7


@dataclass(frozen=True, eq=False)
class AbdominalWall:
    """Depths of the layers above the liver, mm from the probe face, per painted line.

    Args:
        fat_mm: Lower border of the subcutaneous fat.
        muscle_mm: Lower border of the muscle.
        capsule_mm: The liver capsule.
        ascites_mm: Fluid between muscle and capsule; all zero without ascites.
        roughness_mm: Amplitude of the capsule's nodularity.
    """

    fat_mm: Float32[np.ndarray, " w"]
    muscle_mm: Float32[np.ndarray, " w"]
    capsule_mm: Float32[np.ndarray, " w"]
    ascites_mm: Float32[np.ndarray, " w"]
    roughness_mm: float


@dataclass(eq=False)
class Scene:
    """The scan plane of one clip while it is painted.

    Args:
        patient: Whose liver it is.
        scanner: What it is seen with.
        clip: Clip number.
        view: Plane.
        wall: Layers above the liver.
        tissue: :class:`Tissue` of every painted sample.
        liver: Liver parenchyma; organs and vessels are cut out.
        behind_mm: Signed distance behind the posterior liver surface.
        specular: Amplitude of mirror-like interfaces, relative to liver speckle.
    """

    patient: Patient
    scanner: Scanner
    clip: int
    view: View
    wall: AbdominalWall
    tissue: Int8[np.ndarray, "h w"]
    liver: Bool[np.ndarray, "h w"]
    behind_mm: Float32[np.ndarray, "h w"]
    specular: Float32[np.ndarray, "h w"]
    grid: BeamGrid = field(init=False)

    def __post_init__(self) -> None:
        self.grid = beam_grid(self.scanner)

    def stream(self, stream: Stream) -> np.random.Generator:
        """Return this clip's generator of one stream."""
        return keyed(self.patient.seed, self.patient.number, stream, self.clip)

    def noise(self, random: np.random.Generator) -> SmoothNoise:
        """Return smooth noise in this plane's millimetres."""
        return SmoothNoise(random, *self.grid.bounds_mm)


def view_of(seed: int, patient: int, clip: int) -> View:
    """Return the plane of a clip; it depends on nothing but its key."""
    return View(int(keyed(seed, patient, Stream.VIEW, clip).integers(len(View))))


def make_scene(patient: Patient, clip: int, scanner: Scanner) -> Scene:
    """Lay out the scan plane of one clip, without vessels."""
    grid = beam_grid(scanner)
    wall = _abdominal_wall(patient, keyed(patient.seed, patient.number, Stream.BODY_WALL, clip), grid)
    depth = grid.depth_mm
    tissue = np.zeros(depth.shape, np.int8)
    tissue[depth >= wall.fat_mm] = Tissue.MUSCLE
    tissue[depth >= wall.muscle_mm] = Tissue.FLUID if wall.ascites_mm.any() else Tissue.MUSCLE
    below_capsule = depth >= wall.capsule_mm
    tissue[below_capsule] = Tissue.LIVER
    scene = Scene(
        patient=patient,
        scanner=scanner,
        clip=clip,
        view=view_of(patient.seed, patient.number, clip),
        wall=wall,
        tissue=tissue,
        liver=below_capsule,
        behind_mm=np.zeros(depth.shape, F32),
        specular=np.zeros(depth.shape, F32),
    )
    kidney_mm = _posterior_surface(scene)
    behind = below_capsule & (scene.behind_mm >= 0)
    tissue[behind] = Tissue.LUNG if scene.view in (View.INTERCOSTAL, View.SUBCOSTAL) else Tissue.BOWEL
    scene.liver = below_capsule & ~behind
    if kidney_mm is not None:
        _kidney(scene, kidney_mm)
    if scene.view is View.SUBCOSTAL:
        _gall_bladder(scene)
    return scene


def interface(
    grid_step_mm: float, distance_mm: Float32[np.ndarray, "h w"], thickness_mm: float, amplitude: float, power: float
) -> Float32[np.ndarray, "h w"]:
    """Amplitude of a mirror-like interface: only the parts that face the beam shine.

    Args:
        grid_step_mm: Distance between painted rows.
        distance_mm: Signed distance from the surface.
        thickness_mm: Standard deviation of the echo across the surface.
        amplitude: Amplitude at normal incidence.
        power: Exponent of |d distance / d range|, the cosine between beam and surface normal.
    """
    facing = np.abs(np.gradient(distance_mm, grid_step_mm, axis=0))
    # Powers in double precision: single-precision ones differ between CPU types in the last bit.
    cosine = np.minimum(facing, 1).astype(np.float64) ** power
    shine: np.ndarray = F32(amplitude) * bell(distance_mm, thickness_mm) * cosine.astype(F32)
    return shine


def _abdominal_wall(patient: Patient, random: np.random.Generator, grid: BeamGrid) -> AbdominalWall:
    """Draw the layers above the liver; they follow the probe face, hence depend on the line only."""
    arc, severity, effect = grid.arc_mm, patient.severity, patient.effect
    pressed, has_ascites, thickness, where, slope = random.random(5)
    fat = patient.fat_mm * (0.68 + 0.34 * pressed) + 0.8 * line_noise(random, arc, 25.0)
    muscle = fat + patient.muscle_mm + 0.6 * line_noise(random, arc, 30.0)
    ascites = np.zeros_like(arc)
    if has_ascites < min(effect, 1.2) * 0.40 * smoothstep(0.82, 1.0, severity):
        ascites = (4 + 12 * thickness) * (0.6 + 0.4 * np.tanh((arc + 40 * (where - 0.5)) / 25))
    roughness = 0.10 + effect * 1.25 * smoothstep(0.42, 1.0, severity)
    bumps = line_noise(random, arc, max(1.2 * patient.nodule_mm, 4.0)) + 0.5 * line_noise(random, arc, 3.0)
    tilt = (-0.06 + 0.16 * slope) * 0.6
    capsule = muscle + 1.2 + ascites + np.maximum(tilt * (arc - arc[0]), 0) + roughness * bumps
    fat, muscle, capsule = (np.maximum(layer, 1.0) for layer in (fat, muscle, capsule))
    return AbdominalWall(fat.astype(F32), muscle.astype(F32), capsule.astype(F32), ascites.astype(F32), roughness)


def _posterior_surface(scene: Scene) -> tuple[float, float] | None:
    """Set ``behind_mm`` for the view; return the kidney's centre (x, z) where there is one."""
    random, grid, patient = scene.stream(Stream.POSTERIOR), scene.grid, scene.patient
    noise, depth = scene.noise(random), scene.scanner.depth_mm
    x, z = grid.x_mm, grid.z_mm
    if scene.view is View.LEFT_LOBE:
        tip, thickness, individual = (
            random.uniform(22, 55),
            random.uniform(0.42, 0.62) * depth,
            random.uniform(0.8, 1.2),
        )
        taper = (34 - patient.effect * 22 * smoothstep(0.35, 1.0, patient.severity)) * individual
        top = patient.fat_mm + patient.muscle_mm + 2 + scene.wall.ascites_mm
        wedge = thickness * (1 - np.exp(-np.maximum(tip - x.astype(np.float64), 0) / taper))
        bumps = noise(x, z, max(1.5 * patient.nodule_mm, 4.0))
        scene.behind_mm = (z - top - wedge + 0.8 * scene.wall.roughness_mm * bumps).astype(F32)
        return None
    kidney: tuple[float, float] | None = None
    if scene.view is View.RENAL:
        kidney = random.uniform(5, 42), depth * random.uniform(0.62, 0.80)
        radius, centre, waviness, scale = random.uniform(120, 220), 0.4 * kidney[0], 2.0, 25.0
        bottom = kidney[1] + random.uniform(4, 22)
    else:
        radius, centre, waviness, scale = random.uniform(85, 140), random.uniform(-30, 50), 1.6, 26.0
        bottom = depth * random.uniform(0.76, 1.02)
    scene.behind_mm = (
        _length(x - F32(centre), z - F32(bottom - radius)) - F32(radius) + F32(waviness) * noise(x, z, scale)
    )
    return kidney


def _kidney(scene: Scene, centre_mm: tuple[float, float]) -> None:
    """Put the right kidney behind the liver: cortex darker than liver, bright central sinus."""
    random, grid = scene.stream(Stream.ORGANS), scene.grid
    noise = scene.noise(random)
    half_length, half_width, turn = random.uniform(40, 52), random.uniform(19, 25), random.uniform(-0.5, 0.3)
    along, across = _turned(scene, centre_mm, turn)
    outline = _length(along / F32(half_length), across / F32(half_width)) + F32(0.035) * noise(
        grid.x_mm, grid.z_mm, 14.0
    )
    free_of_capsule = grid.depth_mm > scene.wall.capsule_mm + 8
    kidney = (outline < 1) & free_of_capsule
    core = _length(along / F32(0.66 * half_length), across / F32(0.40 * half_width))
    scene.tissue[kidney] = Tissue.KIDNEY
    scene.tissue[kidney & (core + F32(0.30) * noise(grid.x_mm, grid.z_mm, 6.0) < 1)] = Tissue.SINUS
    scene.specular += interface(2 * grid.step_mm, (outline - 1) * F32(half_width), 0.6, 3.5, 2.0) * free_of_capsule
    scene.liver &= ~kidney


def _gall_bladder(scene: Scene) -> None:
    """Put a gall bladder into about half of the subcostal views."""
    random, grid = scene.stream(Stream.ORGANS), scene.grid
    if random.random() >= 0.55:
        return
    centre = random.uniform(-35, 25), scene.scanner.depth_mm * random.uniform(0.45, 0.62)
    half_length, half_width, turn = random.uniform(15, 27), random.uniform(8, 13), random.uniform(-0.9, 0.9)
    along, across = _turned(scene, centre, turn)
    outline = _length(along / F32(half_length), across / F32(half_width))
    inside = (outline < 1) & scene.liver
    surface = interface(2 * grid.step_mm, (outline - 1) * F32(half_width), 0.8, 5.0, 3.0)
    scene.specular += surface * (scene.liver | inside)
    scene.tissue[inside] = Tissue.FLUID
    scene.liver &= ~inside


def _turned(
    scene: Scene, centre_mm: tuple[float, float], turn_rad: float
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Coordinates along and across an organ's long axis."""
    x, z = scene.grid.x_mm - F32(centre_mm[0]), scene.grid.z_mm - F32(centre_mm[1])
    cosine, sine = F32(math.cos(turn_rad)), F32(math.sin(turn_rad))
    return x * cosine + z * sine, z * cosine - x * sine


def _length(a: Float32[np.ndarray, "h w"], b: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Euclidean length; unlike ``hypot`` it is the same on every CPU, and faster."""
    length: np.ndarray = np.sqrt(a * a + b * b)
    return length
