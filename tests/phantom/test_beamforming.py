"""The point spread function."""

import numpy as np
import pytest
from scipy.signal import resample

from fibrokd.phantom.beamforming import beamform, point_spread, receiver_noise
from fibrokd.phantom.geometry import LINES, SAMPLES, beam_grid
from fibrokd.phantom.scanners import SCANNERS

scanners = pytest.mark.parametrize("scanner", SCANNERS.values(), ids=list(SCANNERS))


def white(seed=0):
    real, imaginary = np.random.default_rng(seed).standard_normal((2, SAMPLES, LINES), dtype=np.float32) * np.sqrt(0.5)
    return (real + 1j * imaginary).astype(np.complex64)


def width_mm(profile, step_mm):
    """Full width at half maximum of a complex profile, read from its band-limited interpolation."""
    fine = np.abs(resample(profile, 32 * len(profile)))
    return (fine > fine.max() / 2).sum() * step_mm / 32


@scanners
def test_the_echo_level_does_not_depend_on_depth_or_resolution(scanner):
    power = np.mean([np.abs(beamform(white(seed), scanner)) ** 2 for seed in range(4)], axis=0)
    bands = power[32:-32, 8:-8].reshape(6, -1).mean(axis=1)
    assert np.allclose(bands, 1.0, atol=0.08)


@scanners
def test_a_point_is_as_long_as_half_a_pulse_and_widens_away_from_the_focus(scanner):
    grid = beam_grid(scanner)
    widths = []
    for sample in (150, 300, 420):
        point = np.zeros((SAMPLES, LINES), np.complex64)
        point[sample, LINES // 2] = 1
        echo = beamform(point, scanner)
        pulse_mm = 0.5 * 1.54 / (scanner.bandwidth * scanner.frequency_mhz)
        # Samples 0.3 mm apart cannot hold the shortest pulses in full.
        assert pulse_mm < width_mm(echo[:, LINES // 2], grid.step_mm) < max(1.25 * pulse_mm, 1.45 * grid.step_mm)
        arc_mm = (scanner.radius_mm + sample * grid.step_mm) * grid.step_rad
        widths.append(width_mm(echo[sample], arc_mm))
    assert 0.8 < widths[0] < widths[1] < widths[2] < 12


def test_fully_developed_speckle_is_rayleigh():
    envelope = np.abs(beamform(white(), SCANNERS["mirasono"]))
    assert envelope.mean() / envelope.std() == pytest.approx(1.913, abs=0.03)


def test_noise_tapes_have_unit_power_and_belong_to_their_scanner():
    for scanner in SCANNERS.values():
        thermal, haze = receiver_noise(scanner)
        assert np.mean(np.abs(thermal) ** 2) == pytest.approx(1, abs=0.05)
        assert np.mean(np.abs(haze) ** 2) == pytest.approx(1, abs=0.05)
    assert not np.array_equal(receiver_noise(SCANNERS["sonova"])[1], receiver_noise(SCANNERS["handix"])[1])


def test_transfer_functions_are_real_even_and_positive():
    spread = point_spread(SCANNERS["sonova"])
    assert np.allclose(spread.axial[1:], spread.axial[1:][::-1])
    assert (spread.lateral >= 0).all()
