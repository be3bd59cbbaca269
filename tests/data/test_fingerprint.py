"""Fingerprints: alike for copies of one picture, however it was altered, and unlike for patients on one scanner."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
from PIL import Image

from fibrokd.data.fan.finder import Fan, find_fan
from fibrokd.data.fingerprint import LARGEST, LENGTH, SIDE, fingerprint, mirrored
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.hazards import tamper
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from fibrokd.phantom.scanners import SCANNERS
from tests.data.sectors import draw_sector

NAMES = tuple(SCANNERS)


@functools.cache
def render(number: int, scanner: str, frame: int = 0, size: int = 256) -> np.ndarray:
    patient = make_patient(number, 5, number % 5, DIFFICULTIES["hard"], (scanner,))
    return Clip(patient).frame(frame, size)


def of(pixels: np.ndarray) -> np.ndarray:
    return fingerprint(pixels, find_fan(pixels))


def alike(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.astype(float), other.astype(float)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def reencoded(pixels: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def test_a_fingerprint_is_as_long_as_promised_and_holds_small_numbers() -> None:
    found = of(render(0, "sonova"))
    assert found.shape == (LENGTH,)
    assert found.dtype == np.int8
    assert np.abs(found).max() <= LARGEST
    # Sums of products of even or odd parts, twice as large, stay whole in single precision.
    assert (2 * LARGEST) ** 2 * LENGTH / 2 < 2**24


@pytest.mark.parametrize("scanner", NAMES)
@pytest.mark.parametrize("kind", ["brightness", "gamma", "crop", "blur"])
def test_an_altered_copy_has_nearly_the_same_fingerprint(kind: str, scanner: str) -> None:
    pixels = render(1, scanner)
    for seed in range(3):
        copy = tamper(pixels, kind, np.random.default_rng(seed))
        assert alike(of(pixels), of(copy)) > 0.85


@pytest.mark.parametrize("scanner", NAMES)
@pytest.mark.parametrize("quality", [50, 75])
def test_a_reencoded_copy_has_nearly_the_same_fingerprint(quality: int, scanner: str) -> None:
    pixels = render(2, scanner)
    # Ringing beside the fan moves its fitted outline by up to a pixel; the same outline gives more than 0.98.
    assert alike(of(pixels), of(reencoded(pixels, quality))) > 0.65
    assert alike(of(pixels), fingerprint(reencoded(pixels, quality), find_fan(pixels))) > 0.98


@pytest.mark.parametrize("scanner", NAMES)
@pytest.mark.parametrize("size", [192, 512])
def test_the_size_of_the_picture_does_not_matter(size: int, scanner: str) -> None:
    pixels = render(3, scanner)
    resized = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC))
    assert alike(of(pixels), of(resized)) > 0.85


@pytest.mark.parametrize("scanner", NAMES)
def test_a_mirrored_picture_has_the_mirrored_fingerprint(scanner: str) -> None:
    pixels = render(4, scanner)
    turned = of(np.ascontiguousarray(pixels[:, ::-1]))
    assert alike(mirrored(of(pixels)[None])[0], turned) > 0.9
    assert abs(alike(of(pixels), turned)) < 0.4


def test_mirroring_twice_changes_nothing() -> None:
    found = of(render(4, "handix"))[None]
    np.testing.assert_array_equal(mirrored(mirrored(found)), found)
    np.testing.assert_array_equal(mirrored(found).reshape(SIDE, SIDE), found.reshape(SIDE, SIDE)[:, ::-1])


@pytest.mark.parametrize("scanner", NAMES)
def test_the_next_frame_of_a_clip_is_alike(scanner: str) -> None:
    assert alike(of(render(5, scanner, 0)), of(render(5, scanner, 1))) > 0.5


@pytest.mark.parametrize("scanner", NAMES)
def test_patients_on_one_scanner_are_unlike(scanner: str) -> None:
    found = np.stack([of(render(10 + number, scanner)) for number in range(12)]).astype(float)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert np.abs(np.triu(unit @ unit.T, 1)).max() < 0.45


def test_margins_and_text_around_the_fan_do_not_count() -> None:
    pixels = render(6, "echolab")
    framed = np.zeros((320, 400), dtype=np.uint8)
    framed[20:276, 50:306] = pixels
    framed[5:12, 340:395:2] = 255
    assert alike(of(pixels), of(framed)) > 0.85


def test_a_picture_without_a_fan_is_compared_by_its_content() -> None:
    texture = np.random.default_rng(0).rayleigh(40, (60, 80)).clip(10, 255).astype(np.uint8)
    content = np.asarray(Image.fromarray(texture).resize((320, 240), Image.Resampling.BICUBIC))
    framed = np.zeros((300, 420), dtype=np.uint8)
    framed[30:270, 40:360] = np.maximum(content, 10)
    none = [Fan(*pixels.shape) for pixels in (content, framed)]
    one, other = fingerprint(np.maximum(content, 10), none[0]), fingerprint(framed, none[1])
    assert alike(one, other) > 0.85


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (300, 200)])
@pytest.mark.parametrize("level", [0, 77])
def test_a_blank_picture_has_a_fingerprint_of_zeros(level: int, shape: tuple[int, int]) -> None:
    assert not of(np.full(shape, level, dtype=np.uint8)).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 2), (17, 500)])
def test_pictures_of_any_shape_have_a_fingerprint(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert fingerprint(noise, Fan(*shape)).shape == (LENGTH,)


def test_a_sector_that_leaves_the_frame_counts_what_the_frame_holds() -> None:
    whole, _ = draw_sector(480, 640, apex=(-40.0, 320.0), radii=(90.0, 470.0))
    fan = find_fan(whole)
    assert fan.sector is not None
    shorter = np.ascontiguousarray(whole[:400])
    one = fingerprint(whole, fan)
    other = fingerprint(shorter, Fan(400, 640, fan.confidence, fan.sector))
    assert alike(one, other) > 0.8
    deepest = other.reshape(SIDE, SIDE)[-1]
    assert (deepest[SIDE // 3 : -SIDE // 3] == 0).all()
    assert deepest[0] != 0


def test_a_sector_wholly_outside_the_frame_falls_back_to_the_frame() -> None:
    pixels, _ = draw_sector()
    fan = find_fan(pixels)
    assert fan.sector is not None
    elsewhere = Fan(20, 20, 1.0, fan.sector.enlarged(40))
    corner = np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8)
    np.testing.assert_array_equal(fingerprint(corner, elsewhere), fingerprint(corner, Fan(20, 20)))
