"""Liver echotexture as a continuous function of severity: the main cue of the stage.

A healthy liver is nearly homogeneous fully developed speckle (Rayleigh envelope). Fibrosis adds structure that the
beam can resolve: coarse modulation makes the envelope pre-Rayleigh (gamma-modulated Rayleigh = K distribution;
Jakeman & Pusey, IEEE Trans. Antennas Propag. 1976), portal tracts widen first (F1–F2), septa then bridge them and
close into nodules (F3–F4). All of it is in dB of echo strength, added up.

Shape letters: N points inside the liver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int

from fibrokd.phantom.lattice import F32, SmoothNoise, bell, smoothstep, smoothstep_field

_CELL_MM = 4.0
"""Side of the cells that hold at most one portal tract each."""


@dataclass(frozen=True)
class Fibrosis:
    """What the texture depends on.

    Args:
        severity: 0 … 1, as it shows in the image.
        effect: Scales every change with severity.
        nodule_mm: Nodule diameter.
    """

    severity: float
    effect: float
    nodule_mm: float


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Nearest sites of a jittered lattice.

    Args:
        first_mm: Distance to the nearest site.
        second_mm: Distance to the second nearest site.
        site: Flat index of the nearest site.
        sites: Number of sites of the lattice.
    """

    first_mm: Float32[np.ndarray, " N"]
    second_mm: Float32[np.ndarray, " N"]
    site: Int[np.ndarray, " N"]
    sites: int


def liver_texture(
    x: Float32[np.ndarray, " N"],
    z: Float32[np.ndarray, " N"],
    fibrosis: Fibrosis,
    noise: SmoothNoise,
    random: np.random.Generator,
) -> Float32[np.ndarray, " N"]:
    """Echo strength of liver points relative to the mean liver echo, dB.

    Args:
        x: Lateral positions, mm.
        z: Depths, mm.
        fibrosis: Severity and its scale.
        noise: Smooth fields in this plane.
        random: Generator of the texture stream.
    """
    severity, effect = fibrosis.severity, fibrosis.effect
    coarse = (0.5 + effect * 2.3 * severity) * noise(x, z, 0.55 * fibrosis.nodule_mm + 0.8)
    patchy = (0.5 + effect * 1.3 * severity) * noise(x, z, 18.0)
    total: np.ndarray = coarse + patchy + _portal_tracts(x, z, fibrosis, random) + _septa(x, z, fibrosis, noise, random)
    return total.astype(F32)


def jittered_neighbours(
    x: Float32[np.ndarray, " N"], z: Float32[np.ndarray, " N"], step_mm: float, random: np.random.Generator
) -> Neighbours:
    """Find the two nearest sites of a square lattice whose sites are shifted at random within their cells.

    Cellular noise after Worley (SIGGRAPH 1996, doi:10.1145/237170.237267): only the 3 x 3 cells around a point are
    looked at, which is exact but for rare second neighbours.

    Args:
        x: Lateral positions, mm.
        z: Depths, mm.
        step_mm: Side of a cell, mm.
        random: Generator; one child is spawned.
    """
    low_x, low_z = float(x.min()) - step_mm, float(z.min()) - step_mm
    u, v = (x - F32(low_x)) / F32(step_mm), (z - F32(low_z)) / F32(step_mm)
    column, row = u.astype(np.int64), v.astype(np.int64)
    rows, columns = int(row.max()) + 2, int(column.max()) + 2
    shift = random.spawn(1)[0].uniform(0.03, 0.97, (2, rows * columns)).astype(F32)
    u -= column
    v -= row
    first = np.full(x.shape, 9.0, F32)
    second = np.full(x.shape, 9.0, F32)
    nearest = np.zeros(x.shape, np.int64)
    home = row * columns + column
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            site = home + (down * columns + right)
            du = shift[0].take(site) + (F32(right) - u)
            dv = shift[1].take(site) + (F32(down) - v)
            square = du * du + dv * dv
            np.copyto(nearest, site, where=square < first)
            np.minimum(second, np.maximum(square, first), out=second)
            np.minimum(first, square, out=first)
    scale = F32(step_mm)
    return Neighbours(np.sqrt(first) * scale, np.sqrt(second) * scale, nearest, rows * columns)


def _portal_tracts(
    x: Float32[np.ndarray, " N"], z: Float32[np.ndarray, " N"], fibrosis: Fibrosis, random: np.random.Generator
) -> Float32[np.ndarray, " N"]:
    """Small bright foci, 0.35 per cm² in health; more, larger and brighter until the middle of the scale."""
    grown = smoothstep(0.05, 0.45, fibrosis.severity)
    near = jittered_neighbours(x, z, _CELL_MM, random)
    per_cm2 = 0.35 + fibrosis.effect * 0.45 * grown
    held = random.spawn(1)[0].random(near.sites) < per_cm2 * (_CELL_MM / 10) ** 2
    level = (2.5 + fibrosis.effect * 4.0 * grown) * held.astype(F32)
    foci: np.ndarray = level[near.site].astype(F32) * bell(near.first_mm, 0.7 + fibrosis.effect * 0.6 * grown)
    return foci


def _septa(
    x: Float32[np.ndarray, " N"],
    z: Float32[np.ndarray, " N"],
    fibrosis: Fibrosis,
    noise: SmoothNoise,
    random: np.random.Generator,
) -> Float32[np.ndarray, " N"]:
    """Bridging septa around nodules: ridges of cellular noise, in patches that spread with severity."""
    severity, effect, nodule_mm = fibrosis.severity, fibrosis.effect, fibrosis.nodule_mm
    bridging = smoothstep(0.18, 0.95, severity)
    near = jittered_neighbours(x, z, nodule_mm, random)
    cover = smoothstep_field(-1.0, 1.0, noise(x, z, 11.0) + F32(2.6 * (bridging - 0.62)))
    ridge = bell(near.second_mm - near.first_mm, 0.30 + 0.10 * nodule_mm)
    nodules = random.spawn(1)[0].standard_normal(near.sites, dtype=F32)[near.site]
    between = F32(effect * smoothstep(0.45, 1.0, severity)) * (F32(1.7) * nodules - F32(1.2)) * (1 - ridge)
    septa: np.ndarray = (F32(effect * 6.5 * bridging) * ridge + between) * cover
    return septa
