"""Reading PNG, JPEG, BMP and TIFF: the right grey levels, and a reason for every file that has none."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fibrokd.data.grey import high_byte, luminance
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import ReadLimits
from fibrokd.data.reading import REASONS, decode, extension_fits, pixel_digest, read, read_bytes, true_format
from fibrokd.errors import UnreadableImageError
from tests.data.sectors import draw_sector, encode

PICTURE, _ = draw_sector(64, 80, apex=(-8, 40), radii=(12, 60))


def reason_of(data: bytes, limits: ReadLimits | None = None) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_bytes(data, "bad", limits)
    assert caught.value.reason in REASONS
    return caught.value.reason


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_back_every_grey_level(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "misnamed.jpg"
    file.write_bytes(encode(PICTURE, kind))
    (image,) = read(file)
    assert image.format == kind
    np.testing.assert_array_equal(image.pixels, PICTURE)


def test_a_jpeg_is_close_to_what_went_in() -> None:
    (image,) = read_bytes(encode(PICTURE, "JPEG", quality=95))
    assert image.format == "JPEG"
    assert np.abs(image.pixels.astype(int) - PICTURE).mean() < 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK"])
def test_a_grey_picture_in_a_colour_mode_keeps_its_grey_levels(mode: str) -> None:
    grey = Image.fromarray(PICTURE)
    picture = grey.convert(mode) if mode in ("P", "LA") else grey.convert("RGB").convert(mode)
    (image,) = read_bytes(encode(picture, "TIFF" if mode == "CMYK" else "PNG"))
    np.testing.assert_array_equal(image.pixels, PICTURE)


def test_a_palette_is_looked_up_and_not_taken_for_grey_levels() -> None:
    picture = Image.fromarray(255 - PICTURE).convert("P")
    picture.putpalette([255 - level for level in range(256) for _ in range(3)])
    (image,) = read_bytes(encode(picture))
    np.testing.assert_array_equal(image.pixels, PICTURE)


def test_colour_becomes_the_luminance_that_pillow_computes() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(luminance(rgb), np.array(Image.fromarray(rgb).convert("L")))
    decoding = decode(encode(rgb))
    np.testing.assert_array_equal(decoding.images[0].pixels, luminance(rgb))
    assert any("coloured" in note for note in decoding.notes)


def test_transparent_pixels_are_black() -> None:
    layers = np.dstack([np.full((40, 40), 200, np.uint8)] * 3 + [np.zeros((40, 40), np.uint8)])
    layers[:20, :, 3] = 255
    (image,) = read_bytes(encode(layers))
    assert set(image.pixels[:20].flat) == {200}
    assert set(image.pixels[20:].flat) == {0}


def test_sixteen_bits_become_their_high_byte_whatever_the_picture_uses() -> None:
    dark = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 2
    for kind in ("PNG", "TIFF"):
        (image,) = read_bytes(encode(dark, kind))
        np.testing.assert_array_equal(image.pixels, (dark >> 8).astype(np.uint8))


def test_bits_below_eight_use_the_full_range() -> None:
    np.testing.assert_array_equal(high_byte(np.array([0, 1]), 1), [0, 255])
    np.testing.assert_array_equal(high_byte(np.array([0, 5, 15, 99]), 4), [0, 85, 255, 255])


def test_real_samples_in_the_unit_range_are_read_and_nan_is_refused() -> None:
    unit = (PICTURE / 255).astype(np.float32)
    (image,) = read_bytes(encode(unit, "TIFF"))
    np.testing.assert_array_equal(image.pixels, PICTURE)
    unit[3, 3] = np.nan
    assert reason_of(encode(unit, "TIFF")) == "unsupported_format"


def test_the_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (image,) = read_bytes(encode(PICTURE, "PNG", exif=exif))
    np.testing.assert_array_equal(image.pixels, np.rot90(PICTURE, -1))


def test_only_the_first_page_is_read_and_it_is_said() -> None:
    pages = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    decoding = decode(encode(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    np.testing.assert_array_equal(decoding.images[0].pixels, PICTURE)
    assert decoding.notes == ("only the first of 2 frames was read",)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just some text, long enough to be looked at " * 10, "not_an_image"),
        (bytes(5000), "not_an_image"),
        (encode(PICTURE, "GIF"), "unsupported_format"),
        (encode(PICTURE, "WEBP"), "unsupported_format"),
        (b"%PDF-1.7 " + bytes(300), "unsupported_format"),
        (encode(PICTURE, "PNG")[:600], "truncated"),
        (encode(PICTURE, "JPEG")[:600], "truncated"),
        (encode(PICTURE, "BMP")[:600], "truncated"),
        (encode(PICTURE, "PNG")[:16] + bytes(400), "corrupt"),
        (b"\xff\xd8\xff" + bytes(400), "corrupt"),
        (b"II*\x00" + bytes(400), "corrupt"),
        (encode(PICTURE[:10, :10]), "too_small"),
        (encode(np.full((64, 64), 7, np.uint8)), "blank"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)}B",
)
def test_a_bad_file_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert reason_of(data) == reason


@pytest.mark.parametrize("side", [8193, 20_000, 1_000_000])
def test_a_picture_bomb_is_refused_by_its_header_without_allocating_it(side: int) -> None:
    bomb = png_header(side, side)
    tracemalloc.start()
    assert reason_of(bomb) == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_file_over_the_size_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.png"
    with file.open("wb") as stream:
        stream.truncate(2_000_001)
    with pytest.raises(UnreadableImageError, match="at most 1 MB"):
        read(file, ReadLimits(max_file_mb=1))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.png"):
        with pytest.raises(UnreadableImageError) as caught:
            read(path)
        assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_no_damage_to_a_file_escapes_as_another_error(kind: str) -> None:
    whole = encode(PICTURE, kind)
    reasons: set[str] = set()
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 4):
            damaged[at] = int(random.integers(256))
        try:
            images = read_bytes(bytes(damaged), "damaged")
        except UnreadableImageError as error:
            reasons.add(error.reason)
        else:
            assert images[0].pixels.dtype == np.uint8
    assert reasons <= set(REASONS)


def test_a_refusal_survives_the_way_back_from_a_worker() -> None:
    with pytest.raises(UnreadableImageError) as caught:
        read_bytes(b"")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.reason, copy.problem) == (caught.value.reason, caught.value.problem)


def test_the_pixel_digest_sees_pixels_and_shape_but_not_the_container() -> None:
    digests = {pixel_digest(read_bytes(encode(PICTURE, kind))[0]) for kind in ("PNG", "BMP", "TIFF")}
    assert len(digests) == 1
    other = UltrasoundImage(pixels=np.ascontiguousarray(PICTURE.reshape(80, 64)), format="PNG")
    assert pixel_digest(other) not in digests
    changed = PICTURE.copy()
    changed[0, 0] ^= 1
    assert pixel_digest(UltrasoundImage(pixels=changed, format="PNG")) not in digests
    view = UltrasoundImage(pixels=np.asfortranarray(PICTURE), format="PNG")
    assert pixel_digest(view) in digests


def test_formats_are_known_by_content_and_compared_with_the_name() -> None:
    assert true_format(encode(PICTURE, "PNG")) == "PNG"
    assert true_format(b"nothing") is None
    fits = [("a.PNG", "PNG", True), ("a.jpg", "PNG", False), ("a.tiff", "TIFF", True), ("IM0001", "DICOM", True)]
    fits += [("1.2.840.113", "DICOM", True), ("a.png", "DICOM", False), ("noname", "PNG", False)]
    assert [extension_fits(name, kind) for name, kind, _ in fits] == [expected for *_, expected in fits]
