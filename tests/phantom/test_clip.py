"""Laws of the images: speckle statistics, monotone severity, confounders, determinism."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fibrokd.phantom.clip import Clip
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from fibrokd.phantom.scanners import SCANNERS

PATIENTS = 6


def patient(number, severity=0.0, **changes):
    who = make_patient(number, 5, 0, DIFFICULTIES["medium"])
    return replace(who, severity=severity, steatosis=0.0, **changes)


@cache
def speckle(severity):
    """Mean over patients of envelope signal-to-noise ratio and Nakagami m = E[A²]² / Var[A²]."""
    values = []
    for number in range(PATIENTS):
        envelope, parenchyma = Clip(patient(number, severity)).envelope()
        sample = envelope[parenchyma].astype(np.float64)
        assert len(sample) > 3000
        power = sample**2
        values.append((sample.mean() / sample.std(), power.mean() ** 2 / power.var()))
    return tuple(np.mean(values, axis=0))


def test_a_healthy_liver_is_fully_developed_speckle():
    snr, nakagami = speckle(0.0)
    assert snr == pytest.approx(1.91, abs=0.05)
    assert nakagami == pytest.approx(1.0, abs=0.08)


def test_speckle_departs_from_rayleigh_monotonically_with_severity():
    snr, nakagami = np.array([speckle(severity) for severity in (0.0, 0.3, 0.6, 0.9)]).T
    assert all(np.diff(snr) < -0.03)
    assert all(np.diff(nakagami) < -0.05)


def coarse_energy(severity):
    """Standard deviation of the liver at a scale of several speckles, grey levels."""
    from scipy import ndimage

    values = []
    for number in range(PATIENTS):
        shown = Clip(patient(number, severity), scanner=SCANNERS["sonova"]).frame_with_masks(0, 256, overlay=False)
        mask = shown.liver.astype(float)
        weight = ndimage.gaussian_filter(mask, 2)
        smooth = ndimage.gaussian_filter(shown.image * mask, 2) / np.maximum(weight, 1e-3)
        slow_weight = ndimage.gaussian_filter(mask, 8)
        slow = ndimage.gaussian_filter(shown.image * mask, 8) / np.maximum(slow_weight, 1e-3)
        inside = ndimage.binary_erosion(shown.liver, iterations=3)
        values.append((smooth - slow)[inside].std())
    return np.mean(values)


def test_texture_energy_on_the_screen_rises_with_severity():
    assert all(np.diff([coarse_energy(severity) for severity in (0.0, 0.35, 0.7, 1.0)]) > 0)


def test_steatosis_darkens_the_depth_of_the_liver():
    def fall(steatosis):
        falls = []
        for number in range(4):
            who = replace(patient(number), steatosis=steatosis)
            shown = Clip(who, scanner=SCANNERS["sonova"]).frame_with_masks(0, 192, overlay=False)
            rows = np.flatnonzero(shown.liver.sum(axis=1) > 20)
            profile = np.array([shown.image[row][shown.liver[row]].mean() for row in rows])
            falls.append(profile[: len(rows) // 4].mean() - profile[-len(rows) // 4 :].mean())
        return np.mean(falls)

    assert fall(1.0) > fall(0.4) > fall(0.0)
    assert fall(1.0) > fall(0.0) + 30


@pytest.mark.parametrize("name", SCANNERS)
def test_images_look_like_scans_and_are_background_outside_the_fan(name):
    scanner = SCANNERS[name]
    for number in range(2):
        shown = Clip(patient(number), scanner=scanner).frame_with_masks(0, 160, overlay=False)
        assert (shown.image[~shown.fan] == scanner.background).all()
        assert not (shown.liver & ~shown.fan).any()
        assert 0.25 < shown.fan.mean() < 0.8
        assert shown.liver.sum() > 0.2 * shown.fan.sum()
        liver = shown.image[shown.liver]
        assert 45 < liver.mean() < 190
        assert 8 < liver.std() < 60
        assert (shown.image[shown.fan] == 255).mean() < 0.05


def test_a_frame_does_not_depend_on_the_frames_before_it():
    who = patient(1, 0.5)
    in_order = Clip(who)
    frames = [in_order.frame(k, 96) for k in range(4)]
    alone = Clip(who)
    assert np.array_equal(alone.frame(3, 96), frames[3])
    assert np.array_equal(alone.frame(0, 96), frames[0])
    assert np.array_equal(alone.frame_with_masks(2, 96).image, frames[2])


def test_frames_of_a_clip_resemble_each_other_less_and_less_and_other_clips_not_at_all():
    who = patient(2, 0.5)
    clip, other = Clip(who, scanner=SCANNERS["mirasono"]), Clip(who, 1, scanner=SCANNERS["mirasono"])

    def speckle_of(frame):
        real = frame[0].astype(np.float64)
        return (real - real.mean()).ravel()

    # In beam space, with the probe's motion undone by aligning the field of view on the world.
    def correlation(k):
        (a, b), (c, d) = clip._part(0), clip._part(k)
        rows = slice(max(a.start, c.start), min(a.stop, c.stop))
        lines = slice(max(b.start, d.start), min(b.stop, d.stop))
        first = clip.envelope(0)[0][
            rows.start - a.start : rows.stop - a.start, lines.start - b.start : lines.stop - b.start
        ]
        later = clip.envelope(k)[0][
            rows.start - c.start : rows.stop - c.start, lines.start - d.start : lines.stop - d.start
        ]
        return np.corrcoef(np.log(first + 0.05).ravel(), np.log(later + 0.05).ravel())[0, 1]

    assert correlation(1) > correlation(5) > correlation(12)
    assert correlation(1) > 0.85
    frame, elsewhere = clip.frame(0, 128, overlay=False), other.frame(0, 128, overlay=False)
    assert not np.array_equal(frame, elsewhere)


def test_the_same_patient_can_be_seen_by_another_scanner():
    who = patient(3, 0.4)
    images = [Clip(who, scanner=scanner).frame(0, 96) for scanner in SCANNERS.values()]
    assert len({image.tobytes() for image in images}) == len(SCANNERS)
    assert len({Clip(who, scanner=scanner).view for scanner in SCANNERS.values()}) == 1
