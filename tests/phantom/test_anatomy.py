"""Layout of the scan plane."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.phantom.anatomy import Tissue, View, interface, make_scene, view_of
from fibrokd.phantom.patients import DIFFICULTIES, make_patient, scanner_of


def patient(number=0, **changes):
    return replace(make_patient(number, 2, 0, DIFFICULTIES["medium"]), **changes)


def scene(number=0, clip=0, **changes):
    who = patient(number, **changes)
    return make_scene(who, clip, scanner_of(who))


def test_layers_lie_in_order_and_the_liver_is_the_largest_organ():
    for number in range(6):
        plane = scene(number)
        assert (plane.wall.fat_mm < plane.wall.muscle_mm).mean() > 0.95
        assert (plane.wall.muscle_mm < plane.wall.capsule_mm).mean() > 0.95
        assert plane.liver.mean() > 0.15
        assert (plane.tissue[plane.liver] == Tissue.LIVER).all()


def test_views_are_even_and_bring_their_own_organs():
    views = [view_of(0, number, 0) for number in range(400)]
    assert min(views.count(view) for view in View) > 70
    planes = [scene(number, severity=0.0) for number in range(24)]
    for plane in planes:
        present = set(np.unique(plane.tissue))
        assert (Tissue.KIDNEY in present) == (plane.view is View.RENAL)
        assert (Tissue.LUNG in present) or plane.view in (View.RENAL, View.LEFT_LOBE) or plane.behind_mm.max() < 0
        assert Tissue.LUNG not in present or plane.view in (View.INTERCOSTAL, View.SUBCOSTAL)
    bladders = [Tissue.FLUID in plane.tissue for plane in planes if plane.view is View.SUBCOSTAL]
    assert any(bladders)
    assert not all(bladders)


def test_the_capsule_gets_nodular_in_late_fibrosis_only():
    def roughness(severity):
        return np.mean([scene(n, severity=severity, nodule_factor=1.0).wall.roughness_mm for n in range(2)])

    assert roughness(0.0) == roughness(0.4) == pytest.approx(0.10)
    assert roughness(0.4) < roughness(0.6) < roughness(0.8) < roughness(1.0)


def test_ascites_needs_a_decompensated_liver():
    assert not any(scene(n, severity=0.7).wall.ascites_mm.any() for n in range(20))
    share = np.mean([scene(n, severity=1.0).wall.ascites_mm.any() for n in range(40)])
    assert 0.2 < share < 0.6


def test_an_interface_shines_where_it_faces_the_beam():
    distance = np.repeat(np.linspace(-10, 10, 41, dtype=np.float32)[:, None], 5, axis=1)
    flat = interface(0.5, distance, 0.6, 3.0, 2.0)
    assert flat.max() == pytest.approx(3.0)
    assert np.array_equal(flat.argmax(axis=0), np.full(5, 20))
    along = np.repeat(np.linspace(-2, 2, 41, dtype=np.float32)[None, :], 7, axis=0)
    assert interface(0.5, along, 0.6, 3.0, 2.0).max() == 0
