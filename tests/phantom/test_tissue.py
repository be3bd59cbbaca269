"""Echo strength, attenuation, interfaces."""

from dataclasses import replace

import numpy as np

from fibrokd.phantom.patients import DIFFICULTIES, make_patient, scanner_of
from fibrokd.phantom.tissue import paint


def maps(number=0, **changes):
    who = replace(make_patient(number, 6, 0, DIFFICULTIES["medium"]), **changes)
    return paint(who, 0, scanner_of(who))


def test_nothing_gets_louder_on_its_way_through_tissue():
    transmission = maps().transmission
    assert transmission.max() <= 1
    assert transmission.min() >= 0
    assert (np.diff(transmission, axis=0) <= 1e-6).all()


def test_steatosis_brightens_the_liver_and_weakens_what_comes_from_the_depth():
    for number in range(3):
        lean, fatty = maps(number, steatosis=0.0), maps(number, steatosis=1.0)
        liver = lean.liver.repeat(2, 0).repeat(2, 1)
        brighter = 20 * np.log10(np.median(fatty.scatter[liver] / lean.scatter[liver]))
        assert 2.5 < brighter < 3.1
        weaker = 20 * np.log10(fatty.transmission[-40].mean() / lean.transmission[-40].mean())
        assert weaker < -5


def test_fibrosis_alone_hardly_attenuates():
    healthy, cirrhotic = maps(severity=0.0, steatosis=0.3), maps(severity=0.8, steatosis=0.3)
    assert -6 < 20 * np.log10(cirrhotic.transmission[-40].mean() / healthy.transmission[-40].mean()) < 0


def test_vessels_are_dark_and_interfaces_stay_out_of_pure_speckle():
    plane = maps(1)
    assert (plane.speckle_only & ~plane.liver).sum() == 0
    assert np.abs(plane.mirror[::2, ::2][plane.speckle_only]).max() < 0.03
    assert plane.scatter.min() < 0.05
