"""Receive chain, compression and scan conversion."""

import numpy as np
import pytest

from fibrokd.phantom.display import grey_levels, make_receiver, scan_convert, scan_convert_mask
from fibrokd.phantom.geometry import LINES, SAMPLES, screen
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from fibrokd.phantom.scanners import SCANNERS

scanners = pytest.mark.parametrize("scanner", SCANNERS.values(), ids=list(SCANNERS))


def level(power, scanner, gain_db=0.0):
    return float(grey_levels(np.full((SAMPLES, LINES), power, np.float32), scanner, gain_db).mean())


@scanners
def test_grey_rises_with_power_and_liver_lies_a_little_below_the_middle(scanner):
    greys = [level(10 ** (db / 10), scanner) for db in (-90, -30, -10, 0, 10, 60)]
    assert greys == sorted(greys)
    assert (greys[0], greys[-1]) == (0, 1)
    assert 0.4 < greys[3] < 0.65


@scanners
def test_gain_is_the_same_as_more_power(scanner):
    assert level(1.0, scanner, 6.0) == pytest.approx(level(10**0.6, scanner), abs=1e-5)


@scanners
def test_scan_conversion_reproduces_a_ramp_and_leaves_the_outside_alone(scanner):
    grey = np.repeat(np.linspace(0, 1, SAMPLES, dtype=np.float32)[:, None], LINES, axis=1)
    image = scan_convert(grey, scanner, 200)
    place = screen(scanner, 200)
    assert (image[~place.fan] == scanner.background).all()
    wanted = np.clip(place.samples[0] / (SAMPLES - 1), 0, 1) * 255
    assert np.abs(image[place.fan] - wanted).max() < 1.0


def test_a_full_mask_fills_the_fan_and_an_empty_one_nothing():
    scanner = SCANNERS["sonova"]
    assert np.array_equal(scan_convert_mask(np.ones((SAMPLES, LINES), bool), scanner, 128), screen(scanner, 128).fan)
    assert not scan_convert_mask(np.zeros((SAMPLES, LINES), bool), scanner, 128).any()


def test_compensation_and_with_it_noise_grow_with_depth_and_haze_fades():
    patient = make_patient(0, 0, 0, DIFFICULTIES["easy"])
    receiver = make_receiver(SCANNERS["handix"], patient, np.random.default_rng(0))
    power = {name: np.abs(getattr(receiver, name)) ** 2 for name in ("noise", "haze")}
    assert receiver.gain[-1] > 100 * receiver.gain[0]
    assert power["noise"][-40:].mean() > 1e3 * power["noise"][:40].mean()
    assert power["haze"][:40].mean() > 1e3 * power["haze"][-40:].mean()
