"""Liver texture as a function of severity."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fibrokd.phantom.lattice import SmoothNoise
from fibrokd.phantom.texture import Fibrosis, jittered_neighbours, liver_texture


def points(count=40_000):
    random = np.random.default_rng(0)
    return random.uniform(-50, 50, count).astype(np.float32), random.uniform(20, 120, count).astype(np.float32)


def texture(severity, effect=1.0, seed=0):
    x, z = points()
    random = np.random.default_rng(seed)
    noise = SmoothNoise(random, (-50.0, 50.0), (20.0, 120.0))
    return liver_texture(x, z, Fibrosis(severity, effect, 2.6 + 4.2 * effect * severity), noise, random)


def test_neighbours_agree_with_a_tree_over_the_same_sites():
    x, z = points(3000)
    step = 5.0
    near = jittered_neighbours(x, z, step, np.random.default_rng(3))
    low_x, low_z = float(x.min()) - step, float(z.min()) - step
    rows = int((z.max() - low_z) / step) + 2
    columns = near.sites // rows
    shift = np.random.default_rng(3).spawn(1)[0].uniform(0.03, 0.97, (2, near.sites))
    row, column = np.divmod(np.arange(near.sites), columns)
    sites = np.stack([low_x + (column + shift[0]) * step, low_z + (row + shift[1]) * step], axis=1)
    distance, index = cKDTree(sites).query(np.stack([x, z], axis=1), k=2)
    assert np.allclose(near.first_mm, distance[:, 0], atol=1e-3)
    assert (near.site == index[:, 0]).mean() > 0.999
    assert np.isclose(near.second_mm, distance[:, 1], atol=1e-3).mean() > 0.98


def test_texture_energy_rises_with_severity_at_every_step():
    energy = [np.mean([texture(s, seed=seed).std() for seed in range(4)]) for s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert all(np.diff(energy) > 0)
    assert energy[0] < 1.2
    assert energy[-1] > 3 * energy[0]


def test_without_effect_severity_changes_nothing():
    assert np.array_equal(texture(0.0, effect=0.0), texture(1.0, effect=0.0))


def test_texture_is_continuous_in_severity():
    # Nodule size moves the lattices of coarse structure, so continuity holds for the energy, not pixel by pixel.
    energies = np.array([np.mean([texture(s, seed=seed).std() for seed in range(4)]) for s in (0.50, 0.52)])
    assert energies[1] == pytest.approx(energies[0], rel=0.08)
