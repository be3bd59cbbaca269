"""Tubes cut out of the liver."""

from dataclasses import replace

import numpy as np
from scipy.spatial.distance import cdist

from fibrokd.phantom.anatomy import make_scene
from fibrokd.phantom.patients import DIFFICULTIES, make_patient, scanner_of
from fibrokd.phantom.vessels import Tube, _distance, add_vessels


def test_the_distance_of_a_straight_tube_is_that_to_a_densely_sampled_line():
    points = np.stack([np.linspace(0, 30, 7), np.linspace(10, 25, 7)], axis=1)
    x, z = np.meshgrid(np.linspace(-10, 40, 30, dtype=np.float32), np.linspace(0, 40, 25, dtype=np.float32))
    dense = np.stack([np.linspace(0, 30, 4000), np.linspace(10, 25, 4000)], axis=1)
    oracle = cdist(np.stack([x.ravel(), z.ravel()], 1), dense).min(axis=1).reshape(x.shape) - 3.0
    assert np.abs(_distance(Tube(points, 3.0, 1.0, 1.0), x, z) - oracle).max() < 0.02


def test_a_tapered_tube_is_thinner_at_its_far_end():
    points = np.array([[0.0, 0.0], [40.0, 0.0]])
    x = np.array([[0.0, 40.0]], np.float32)
    near, far = _distance(Tube(points, 4.0, 0.5, 1.0), x, np.zeros_like(x))[0]
    assert (near, far) == (-4.0, -2.0)


def test_vessels_are_cut_out_of_the_liver_and_narrow_with_fibrosis():
    def lumen_share(severity):
        shares = []
        for number in range(12):
            who = replace(make_patient(number, 4, 0, DIFFICULTIES["medium"]), severity=severity)
            plane = make_scene(who, 0, scanner_of(who))
            whole = plane.liver.copy()
            distance = add_vessels(plane)
            assert not (plane.liver & (distance < 0)).any()
            shares.append((whole & (distance < 0)).sum() / whole.sum())
        return np.mean(shares)

    healthy, cirrhotic = lumen_share(0.0), lumen_share(1.0)
    assert 0.005 < healthy < 0.15
    assert cirrhotic < 0.9 * healthy
