"""The fan is found where it is known to be, and nothing is found where there is none."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fibrokd.data.fan.finder import Fan, find_fan, mask_box
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from tests.data.sectors import draw_sector


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@cache
def phantom_frames() -> list[tuple[np.ndarray, np.ndarray]]:
    """A hundred hard frames with text, rulers, shadows: every scanner, three sizes, every third cropped."""
    frames = []
    for number in range(100):
        patient = make_patient(number, seed=11, stage=number % 5, difficulty=DIFFICULTIES["hard"])
        clip, size = Clip(patient), (256, 256, 192, 256, 384)[number % 5]
        frame = clip.frame_with_masks(size=size)
        image, fan = frame.image, frame.fan
        if number % 3 == 1:
            top, right, bottom, left = (int(share * size * (number % 7) / 6) for share in clip.scanner.margins)
            part = slice(top, size - bottom), slice(left, size - right)
            image, fan = np.ascontiguousarray(image[part]), fan[part]
        frames.append((image, fan))
    return frames


def test_the_fan_of_hard_phantom_frames_is_found() -> None:
    fans = [find_fan(image) for image, _ in phantom_frames()]
    overlaps = np.array([overlap(fan.mask, truth) for fan, (_, truth) in zip(fans, phantom_frames(), strict=True)])
    assert np.median(overlaps) >= 0.97
    assert np.mean(overlaps >= 0.90) >= 0.99
    assert np.mean([fan.confidence >= 0.9 for fan in fans]) >= 0.99


def test_hardly_anything_outside_the_true_fan_is_kept_within_the_outline() -> None:
    """What lies outside may be burned-in text; ``preprocess`` keeps what is 2 px inside the outline."""
    kept = [find_fan(image).inner_mask(2) for image, _ in phantom_frames()]
    outside = [(mask & ~truth).sum() / truth.sum() for mask, (_, truth) in zip(kept, phantom_frames(), strict=True)]
    inside = [(mask & truth).sum() / truth.sum() for mask, (_, truth) in zip(kept, phantom_frames(), strict=True)]
    assert np.mean(np.array(outside) <= 0.005) >= 0.98
    assert np.mean(outside) <= 0.001
    assert np.median(inside) >= 0.95


def test_a_shadow_low_on_one_flank_does_not_move_it() -> None:
    picture, truth = draw_sector(half_angle=0.6)
    row, column = np.mgrid[:240, :320]
    shadowed = np.where(np.arctan2(column - 160, row + 20) < -0.45, np.where(row > 120, 0, picture), picture)
    shadowed[200:] = picture[200:]
    assert overlap(find_fan(shadowed.astype(np.uint8)).mask, truth) >= 0.94


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    width=st.integers(200, 500),
    height=st.integers(200, 500),
    half_angle=st.floats(0.35, 0.7),
    apex_share=st.floats(-0.3, 0.0),
    background=st.sampled_from([0, 6]),
)
def test_sectors_of_any_frame_shape_are_found(
    width: int, height: int, half_angle: float, apex_share: float, background: int
) -> None:
    apex = (apex_share * height, width / 2)
    far = min(0.95 * height - apex[0], 0.48 * width / np.sin(half_angle))
    near = max(0.25 * far, -apex[0] + 4)
    if far - near < 80:
        return
    picture, truth = draw_sector(height, width, half_angle, apex, (near, far), background)
    fan = find_fan(picture)
    assert overlap(fan.mask, truth) >= 0.93
    assert fan.confidence >= 0.9
    top, left, bottom, right = fan.box
    assert fan.mask[top:bottom, left:right].sum() == fan.mask.sum()


def test_the_stretch_of_a_squeezed_screen_is_found() -> None:
    picture, _ = draw_sector(240, 320)
    squeezed = np.array(Image.fromarray(picture).resize((240, 240), Image.Resampling.BILINEAR))
    assert find_fan(picture).stretch == pytest.approx(1, abs=0.1)
    assert find_fan(squeezed).stretch == pytest.approx(4 / 3, abs=0.1)


def test_the_apex_is_where_the_beams_meet() -> None:
    apex = find_fan(draw_sector(480, 640, apex=(-40, 320), radii=(90, 470))[0]).apex
    assert apex is not None
    assert apex == pytest.approx((-40, 320), abs=8)


def _photo() -> np.ndarray:
    row, column = np.mgrid[:240, :320]
    photo: np.ndarray = (128 + 60 * np.sin(row / 17) + 50 * np.cos(column / 23)).astype(np.uint8)
    return photo


def _page() -> np.ndarray:
    page = np.zeros((240, 320), np.uint8)
    page[20:220, 20:300] = np.random.default_rng(0).integers(60, 220, (200, 280))
    return page


def _speckled(shape: np.ndarray) -> np.ndarray:
    return np.where(shape, np.random.default_rng(0).rayleigh(40, shape.shape).clip(12, 255), 0).astype(np.uint8)


ROW, COLUMN = np.mgrid[:256, :256]


@pytest.mark.parametrize(
    "picture",
    [
        _speckled(np.hypot(ROW - 128, COLUMN - 128) < 110),
        _speckled(np.hypot((ROW - 130) / 100, (COLUMN - 128) / 70) < 1),
        _speckled((np.abs(COLUMN - 128) < 0.6 * (240 - ROW)) & (ROW > 20)),
        np.clip(220 - 0.012 * ((ROW - 128.0) ** 2 + (COLUMN - 128.0) ** 2), 0, 255).astype(np.uint8),
        np.clip(ROW * 0.8 + 20 * np.sin(COLUMN / 9), 0, 255).astype(np.uint8),
    ],
    ids=["disc", "ellipse", "upside down", "bright centre", "ramp"],
)
def test_another_shape_than_a_fan_stays_below_the_confidence_that_is_needed(picture: np.ndarray) -> None:
    assert find_fan(picture).confidence < 0.9


@pytest.mark.parametrize("half_width", [60, 80, 110])
def test_a_linear_probes_rectangle_is_no_fan(half_width: int) -> None:
    assert find_fan(_speckled((np.abs(COLUMN - 128) < half_width) & (ROW > 20) & (ROW < 240))).confidence < 0.5


@pytest.mark.parametrize(
    "picture",
    [
        np.random.default_rng(0).integers(0, 256, (256, 300), dtype=np.uint8),
        np.zeros((100, 120), np.uint8),
        np.full((64, 64), 200, np.uint8),
        _photo(),
        _page(),
        np.eye(200, dtype=np.uint8) * 255,
        np.random.default_rng(0).integers(0, 256, (32, 900), dtype=np.uint8),
    ],
    ids=["noise", "black", "grey", "photo", "page", "line", "strip"],
)
def test_a_picture_without_a_fan_gets_a_low_confidence(picture: np.ndarray) -> None:
    fan = find_fan(picture)
    assert fan.confidence < 0.5
    assert fan.mask.shape == picture.shape


def test_text_and_rulers_beside_the_fan_are_not_part_of_it() -> None:
    picture, truth = draw_sector()
    marked = picture.copy()
    marked[10:17, 5:60:2] = 255
    marked[20:230:10, 310:318] = 255
    assert overlap(find_fan(marked).mask, truth) >= 0.95


def test_the_same_picture_gives_the_same_fan() -> None:
    picture, _ = draw_sector()
    first, second = find_fan(picture), find_fan(picture.copy())
    assert isinstance(first, Fan)
    np.testing.assert_array_equal(first.mask, second.mask)
    assert (first.confidence, first.box, first.apex, first.stretch) == (
        second.confidence,
        second.box,
        second.apex,
        second.stretch,
    )


def test_a_box_is_half_open() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    assert mask_box(mask) == (2, 3, 5, 9)
