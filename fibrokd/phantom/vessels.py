"""Hepatic veins and portal branches: tapered tubes cut out of the liver; their walls shine where they face the beam.

Portal walls are bright, venous walls nearly invisible. With fibrosis the hepatic veins narrow and their outline gets
irregular; with fibrosis and with steatosis the wall echo fades into the liver around it.

Shape letters: h w painted samples, a b a window of them, K points of a centre line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from fibrokd.phantom.anatomy import Scene, View, interface
from fibrokd.phantom.lattice import F32
from fibrokd.phantom.randomness import Stream

_WALL_REACH_MM = 4.0
_WALL_INSIDE_MM = 1.2
_FAR_MM = 99.0

_VEIN_SHINE = 0.5
"""Amplitude of a hepatic vein's wall; that of portal branches is about 3, relative to liver speckle."""


@dataclass(frozen=True, eq=False)
class Tube:
    """One vessel in the scan plane.

    Args:
        points_mm: Centre line, (x, z).
        radius_mm: Radius of the lumen at its thick end.
        taper: Radius at the thin end over radius at the thick end.
        shine: Amplitude of the wall echo at normal incidence.
    """

    points_mm: Float[np.ndarray, "K 2"]
    radius_mm: float
    taper: float
    shine: float


def add_vessels(scene: Scene) -> Float32[np.ndarray, "h w"]:
    """Cut vessels out of the liver and add their walls.

    Returns:
        Signed distance to the nearest vessel wall, mm; negative inside a lumen (clipped at 99).
    """
    random = scene.stream(Stream.VESSELS)
    patient, grid = scene.patient, scene.grid
    burden = patient.effect * patient.severity
    irregular = F32(0.5 * burden) * scene.noise(random)(grid.x_mm, grid.z_mm, 5.0)
    nearest = np.full(grid.x_mm.shape, _FAR_MM, F32)
    drawn = []
    for tube in _tubes(scene, random):
        window = grid.window(tube.points_mm, tube.radius_mm + _WALL_REACH_MM + 2)
        x, z = grid.x_mm[window], grid.z_mm[window]
        if min(x.shape) >= 2:
            distance = _distance(tube, x, z) + irregular[window]
            np.minimum(nearest[window], distance, out=nearest[window])
            drawn.append((tube, window, distance))
    for tube, window, distance in drawn:
        # A branch has no wall where it leaves its trunk, hence no echo inside any lumen.
        seen = scene.liver[window] & (distance < _WALL_REACH_MM) & (nearest[window] > -_WALL_INSIDE_MM)
        shine = interface(2 * grid.step_mm, distance, 0.8, tube.shine, 1.5)
        scene.specular[window] += np.where(seen, shine, F32(0))
    scene.liver &= nearest >= 0
    return nearest


def _tubes(scene: Scene, random: np.random.Generator) -> Iterator[Tube]:
    """Draw the vessels of one plane: some lengthwise, more in cross-section."""
    patient = scene.patient
    burden = patient.effect * patient.severity
    portal_shine = 3.0 * (1 - 0.45 * patient.steatosis) * (1 - 0.35 * burden)
    veins, portal, sections = (int(number) for number in random.integers((1, 1, 6), (4, 4, 14)))
    yield from _veins(scene, random, veins)
    yield from _portal_tree(scene, random, portal, portal_shine)
    for _ in range(sections):
        start = _place(scene, random)
        vein = random.random() < 0.35
        shine = (_VEIN_SHINE if vein else portal_shine) * random.uniform(0.5, 1.2)
        line = np.stack([start, start + random.normal(0, 3, 2)])
        yield Tube(line, random.uniform(0.8, 2.2) * (1 - 0.3 * burden), 1.0, shine)


def _veins(scene: Scene, random: np.random.Generator, count: int) -> Iterator[Tube]:
    """Hepatic veins; in the planes through the dome they converge on the inferior vena cava."""
    burden = scene.patient.effect * scene.patient.severity
    cava = np.array([random.uniform(-30, 30), scene.scanner.depth_mm * random.uniform(0.5, 0.8)])
    for _ in range(count):
        shine, radius = _VEIN_SHINE * random.uniform(0.5, 1.2), random.uniform(2.8, 5.0)
        start, away = _place(scene, random), cava + random.normal(0, 3, 2)
        turn, length = random.uniform(-1.2, 1.2), random.uniform(35, 80)
        end = start + length * np.array([math.cos(turn), 0.6 * math.sin(turn)])
        if scene.view in (View.INTERCOSTAL, View.SUBCOSTAL):
            start, end = away, start * (1.0, 0.8)
        yield Tube(_curve(random, start, end), radius * (1 - 0.42 * burden), 0.45, shine)


def _portal_tree(scene: Scene, random: np.random.Generator, count: int, shine: float) -> Iterator[Tube]:
    """A portal trunk and branches that leave it at 25 to 60 degrees."""
    narrowed = 1 - 0.10 * scene.patient.effect * scene.patient.severity
    turn, length, radius = random.uniform(-1.2, 1.2), random.uniform(40, 80), random.uniform(3.2, 5.6)
    start = _place(scene, random)
    trunk = _curve(random, start, start + length * np.array([math.cos(turn), 0.6 * math.sin(turn)]))
    yield Tube(trunk, radius * narrowed, 0.45, shine * random.uniform(0.5, 1.2))
    for _ in range(count - 1):
        at = int(random.integers(2, len(trunk) - 2))
        along = trunk[at + 1] - trunk[at]
        turn = math.atan2(along[1], along[0]) + random.uniform(0.45, 1.05) * random.choice((-1, 1))
        end = trunk[at] + random.uniform(18, 45) * np.array([math.cos(turn), math.sin(turn)])
        # A branch is thinner than the trunk it leaves, and thinner still further out.
        thickness = radius * (1 - 0.55 * at / len(trunk)) * random.uniform(0.55, 0.8)
        yield Tube(_curve(random, trunk[at], end), thickness * narrowed, 0.45, shine * random.uniform(0.5, 1.2))


def _place(scene: Scene, random: np.random.Generator) -> Float[np.ndarray, " 2"]:
    """A place below the capsule, (x, z)."""
    top = float(np.median(scene.wall.capsule_mm)) + 14
    return np.array([random.uniform(-55, 55), random.uniform(top, 0.86 * scene.scanner.depth_mm)])


def _curve(
    random: np.random.Generator, start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "K 2"]:
    """A slightly bent line: a quadratic Bézier curve whose bend grows with its length."""
    chord = float(np.hypot(*(end - start)))
    middle = (start + end) / 2 + random.normal(0, 0.11 * chord, 2)
    t = np.linspace(0, 1, 12)[:, None]
    line: np.ndarray = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    return line


def _distance(tube: Tube, x: Float32[np.ndarray, "a b"], z: Float32[np.ndarray, "a b"]) -> Float32[np.ndarray, "a b"]:
    """Signed distance from the wall of a tapered tube made of straight pieces."""
    start = tube.points_mm[:-1].astype(F32)
    step = np.diff(tube.points_mm, axis=0).astype(F32)
    pieces = len(start)
    dx = x[None] - start[:, 0, None, None]
    dz = z[None] - start[:, 1, None, None]
    sx, sz = step[:, 0, None, None], step[:, 1, None, None]
    along = np.clip((dx * sx + dz * sz) / np.maximum(sx * sx + sz * sz, F32(1e-6)), 0, 1)
    position = (np.arange(pieces, dtype=F32)[:, None, None] + along) / F32(pieces)
    radius = F32(tube.radius_mm) * (1 - F32(1 - tube.taper) * position)
    dx -= along * sx
    dz -= along * sz
    nearest: np.ndarray = (np.sqrt(dx * dx + dz * dz) - radius).min(axis=0)
    return nearest
