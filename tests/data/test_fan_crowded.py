"""Marks that crowd the outline neither hide the fan nor get into it, and make no fan of anything else."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.fan_material import MARKS, MarkedPicture, crowd
from fibrokd.data.fan import finder as fan_module
from fibrokd.data.fan.crowded import find_crowded
from fibrokd.data.fan.finder import Fan, find_fan
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from tests.data.sectors import draw_integer_sector, draw_sector

SIZES = (192, 256, 384, 512)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def crowded(patients: int, seed: int, kinds: tuple[str, ...] = ()) -> list[MarkedPicture]:
    """Hard phantom frames of four sizes, each with one to three kinds of marks beside the fan."""
    pictures = []
    for number in range(patients):
        patient = make_patient(number, seed=seed, stage=number % 5, difficulty=DIFFICULTIES["hard"])
        clip = Clip(patient)
        for size in SIZES:
            frame = clip.frame_with_masks(size=size)
            pictures.append(crowd(frame.image, frame.fan, 1000 * number + size, kinds))
    return pictures


@cache
def some_crowded() -> list[MarkedPicture]:
    return crowded(24, seed=31)


def in_outline(picture: MarkedPicture) -> Fan:
    sector, confidence = find_crowded(picture.pixels)
    height, width = picture.pixels.shape
    return Fan(height, width, confidence, sector)


def assert_found(pictures: list[MarkedPicture], accepted: float, leaking: float) -> None:
    fans = [in_outline(picture) for picture in pictures]
    found = [fan.confidence >= 0.9 for fan in fans]
    alike = [overlap(fan.mask, picture.fan) for fan, picture in zip(fans, pictures, strict=True)]
    leaks = [(fan.inner_mask(2) & picture.marks).any() for fan, picture in zip(fans, pictures, strict=True)]
    assert np.mean(np.array(found) & (np.array(alike) >= 0.90)) >= accepted
    assert np.median(alike) >= 0.98
    assert np.mean(np.array(leaks) & found) <= leaking


def test_fans_crowded_by_text_rulers_bars_and_logos_are_found_without_them() -> None:
    assert_found(some_crowded(), accepted=0.97, leaking=0.011)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MARKS)
def test_fans_crowded_by_one_kind_of_mark_are_found_without_it(kind: str) -> None:
    assert_found(crowded(30, seed=47, kinds=(kind,)), accepted=0.97, leaking=0.02)


def test_where_the_fast_search_fails_the_fan_is_found_and_no_mark_is_kept() -> None:
    refused = [picture for picture in some_crowded() if fan_module._find_clean(picture.pixels)[0].confidence < 0.9]
    assert len(refused) >= 20
    fans = [find_fan(picture.pixels) for picture in refused]
    assert np.mean([fan.confidence >= 0.9 for fan in fans]) >= 0.95
    assert np.mean([overlap(fan.mask, picture.fan) >= 0.9 for fan, picture in zip(fans, refused, strict=True)]) >= 0.95
    accepted = [(fan, picture) for fan, picture in zip(fans, refused, strict=True) if fan.confidence >= 0.9]
    assert np.mean([(fan.inner_mask(2) & picture.marks).any() for fan, picture in accepted]) <= 0.02


def test_where_marks_melted_into_what_the_fast_search_found_none_is_kept() -> None:
    """The fast search alone believes in most of them, and would keep marks in more than half."""
    pairs = [(fan_module._find_clean(picture.pixels)[0], picture) for picture in some_crowded()]
    believed = [(fan, picture) for fan, picture in pairs if fan.confidence >= 0.9]
    assert len(believed) >= 50
    assert np.mean([(fan.inner_mask(fan.off_px) & picture.marks).any() for fan, picture in believed]) >= 0.5
    fans = [(find_fan(picture.pixels), picture) for _, picture in believed]
    assert np.mean([(fan.inner_mask(fan.off_px) & picture.marks).any() for fan, picture in fans]) <= 0.02
    assert np.mean([overlap(fan.mask, picture.fan) >= 0.9 for fan, picture in fans]) >= 0.97


def test_a_clean_fan_that_the_fast_search_believes_in_is_never_looked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(pixels: np.ndarray) -> None:
        raise AssertionError

    monkeypatch.setattr(fan_module, "find_crowded", never)
    for number in range(20):
        clip = Clip(make_patient(number, seed=31, stage=number % 5, difficulty=DIFFICULTIES["hard"]))
        frame = clip.frame_with_masks(size=SIZES[number % 4]).image
        assert find_fan(frame) == fan_module._find_clean(frame)[0]


GOLDEN = {
    ((192, 192), (-20, 96), (40, 200), 5): "16da2b6aa54ee49e",
    ((256, 256), (-30, 128), (60, 270), 6): "b574c5cd00d08a86",
    ((384, 300), (-40, 150), (70, 400), 4): "44eb446fd5703a72",
    ((480, 640), (-60, 320), (110, 520), 7): "d98a493a1118a5d6",
    ((1000, 1200), (-80, 600), (160, 1040), 6): "92ed12e9353a57ee",
}


@pytest.mark.parametrize("shape", GOLDEN)
def test_the_masks_of_clean_fans_never_change(
    shape: tuple[tuple[int, int], tuple[int, int], tuple[int, int], int],
) -> None:
    """Recorded before crowded outlines were looked for: fans found then keep every pixel."""
    mask = find_fan(draw_integer_sector(*shape)).mask
    assert hashlib.sha256(mask.tobytes()).hexdigest()[:16] == GOLDEN[shape]


def _speckled(shape: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.where(shape, np.random.default_rng(seed).rayleigh(40, shape.shape).clip(12, 255), 0).astype(np.uint8)


ROW, COLUMN = np.mgrid[:256, :256]


def _x_ray(seed: int, tilt: float) -> np.ndarray:
    """A bright chest that widens downwards, dark lungs, ribs, black around it."""
    random = np.random.default_rng(seed)
    aside = np.abs(COLUMN - 128 - tilt * (ROW - 128))
    body = 1 / (1 + np.exp((aside - 70 - 0.25 * ROW) / random.uniform(2, 8)))
    lungs = np.exp(-(((aside - 45) / 28) ** 2) - ((ROW - 120) / 75) ** 2)
    ribs = 0.08 * np.sin((ROW + 0.002 * aside**2) / 6)
    shade = body * (0.75 - 0.5 * lungs + ribs * lungs)
    picture: np.ndarray = (255 * shade + random.normal(0, 3, ROW.shape)).clip(0, 255).astype(np.uint8)
    return picture


NEGATIVES = {
    "disc": _speckled(np.hypot(ROW - 128, COLUMN - 128) < 110),
    "ellipse": _speckled(np.hypot((ROW - 130) / 100, (COLUMN - 128) / 70) < 1),
    "wide ellipse": _speckled(np.hypot((ROW - 130) / 80, (COLUMN - 128) / 110) < 1),
    "diamond": _speckled(np.abs(COLUMN - 128) + np.abs(ROW - 128) < 110),
    "parallelogram": _speckled((np.abs(COLUMN - 128 - 0.4 * (ROW - 128)) < 60) & (ROW > 20) & (ROW < 235)),
    "upside down": _speckled((np.abs(COLUMN - 128) < 0.6 * (240 - ROW)) & (ROW > 20)),
    "half disc, round above": _speckled((np.hypot(ROW - 180, COLUMN - 128) < 110) & (ROW < 180)),
    "half disc, round below": _speckled((np.hypot(ROW - 60, COLUMN - 128) < 110) & (ROW > 60)),
    "bright centre": np.clip(220 - 0.012 * ((ROW - 128.0) ** 2 + (COLUMN - 128.0) ** 2), 0, 255).astype(np.uint8),
    "ramp": np.clip(ROW * 0.8 + 20 * np.sin(COLUMN / 9), 0, 255).astype(np.uint8),
    "linear probe": _speckled((np.abs(COLUMN - 128) < 80) & (ROW > 20) & (ROW < 240)),
    "noise": np.random.default_rng(0).integers(0, 256, (256, 300), dtype=np.uint8),
    "black": np.zeros((100, 120), np.uint8),
    "one pixel": np.full((1, 1), 7, np.uint8),
    "strip": np.random.default_rng(0).integers(0, 256, (32, 900), dtype=np.uint8),
    "x-ray": _x_ray(0, 0.0),
    "tilted x-ray": _x_ray(1, 0.1),
    "sharper x-ray": _x_ray(2, -0.05),
}


@pytest.mark.parametrize("name", NEGATIVES)
@pytest.mark.parametrize("kind", [None, *MARKS])
def test_another_shape_than_a_fan_is_not_believed_whatever_is_written_beside_it(name: str, kind: str | None) -> None:
    picture = NEGATIVES[name]
    if kind is not None:
        shape = picture > 11
        if min(picture.shape) < 200 or not 0.1 < shape.mean() < 0.9:
            return
        picture = crowd(picture, shape, seed=5, kinds=(kind,)).pixels
    assert find_crowded(picture)[1] < 0.9


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(MARKS)),
    seed=st.integers(0, 1000),
    half_angle=st.floats(0.4, 0.65),
    background=st.sampled_from([0, 6]),
    scale=st.sampled_from([1, 2]),
)
def test_the_mirror_image_has_the_mirrored_fan(
    kind: str, seed: int, half_angle: float, background: int, scale: int
) -> None:
    pixels, truth = draw_sector(
        240 * scale,
        320 * scale,
        half_angle,
        (-20.0 * scale, 159.5 * scale + (scale - 1) / 2),
        (45.0 * scale, 215.0 * scale),
        background,
        seed,
    )
    picture = crowd(pixels, truth, seed, (kind,))
    mirror = MarkedPicture(
        np.ascontiguousarray(picture.pixels[:, ::-1]), truth[:, ::-1], picture.marks[:, ::-1], picture.letters[:, ::-1]
    )
    fan, other = in_outline(picture), in_outline(mirror)
    # Now and then a fan among marks is refused (text, seed 253, half angle 0.4375, twofold). How many are found is held
    # by the tests above; here it is that what is found does not depend on the side.
    assume(min(fan.confidence, other.confidence) >= 0.9)
    assert overlap(fan.mask, truth) >= 0.95
    assert overlap(fan.mask, other.mask[:, ::-1]) >= 0.97


def test_a_large_screenshot_is_traced_on_a_copy_and_comes_back_in_its_own_pixels() -> None:
    pixels, truth = draw_sector(1440, 1920, apex=(-120.0, 960.0), radii=(270.0, 1410.0))
    picture = crowd(pixels, truth, 3, ("text", "ticks"))
    fan = in_outline(picture)
    assert fan.mask.shape == (1440, 1920)
    assert fan.confidence >= 0.9
    assert overlap(fan.mask, truth) >= 0.97
