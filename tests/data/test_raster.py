"""Raster hazards: every picture that can be read has the expected grey levels, every other one the expected reason."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fibrokd.data.grey import luminance, over_black
from fibrokd.data.limits import ReadLimits
from fibrokd.data.reading import decode, read_bytes
from fibrokd.errors import UnreadableImageError
from tests.data.sectors import draw_sector, encode

PICTURE, _ = draw_sector(64, 80, apex=(-8, 40), radii=(12, 60))
ORIENTED = {
    1: PICTURE,
    2: PICTURE[:, ::-1],
    3: PICTURE[::-1, ::-1],
    4: PICTURE[::-1],
    5: PICTURE.T,
    6: np.rot90(PICTURE, -1),
    7: np.rot90(PICTURE, 2).T,
    8: np.rot90(PICTURE),
}


def pixels_of(data: bytes) -> np.ndarray:
    (image,) = read_bytes(data)
    return image.pixels


def reason_of(data: bytes, limits: ReadLimits | None = None) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_bytes(data, "bad", limits)
    return caught.value.reason


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    """Put a chunk right behind the header of a PNG."""
    return png[:33] + chunk(kind, data) + png[33:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_picture_stands_upright_whatever_its_orientation_tag(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pixels_of(encode(PICTURE, kind, exif=exif)), ORIENTED[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_stands_upright_whatever_its_orientation_tag(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels_of(encode(PICTURE, "JPEG", quality=95, exif=exif))
    assert found.shape == ORIENTED[orientation].shape
    assert np.abs(found.astype(int) - ORIENTED[orientation]).mean() < 3


def test_a_cmyk_photograph_is_not_read_as_its_negative() -> None:
    cmyk = Image.fromarray(PICTURE).convert("RGB").convert("CMYK")
    assert np.abs(pixels_of(encode(cmyk, "JPEG", quality=95)).astype(int) - PICTURE).mean() < 3


def test_one_bit_becomes_black_and_white() -> None:
    bits = Image.fromarray(PICTURE).point(lambda level: 255 * (level > 60)).convert("1")
    for kind in ("PNG", "TIFF", "BMP"):
        np.testing.assert_array_equal(pixels_of(encode(bits, kind)), np.where(PICTURE > 60, 255, 0))


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_level_that_a_png_declares_transparent_is_black(mode: str) -> None:
    picture = Image.fromarray(np.where(PICTURE == 0, 200, PICTURE).astype(np.uint8))
    expected = np.where(np.asarray(picture) == 200, 0, np.asarray(picture))
    key = {"L": 200, "RGB": (200, 200, 200), "P": 200}[mode]
    np.testing.assert_array_equal(pixels_of(encode(picture.convert(mode), "PNG", transparency=key)), expected)


def test_half_transparent_pixels_are_seen_against_black() -> None:
    layers = np.dstack([PICTURE, PICTURE, PICTURE, np.full_like(PICTURE, 128)])
    np.testing.assert_allclose(pixels_of(encode(layers)), PICTURE * (128 / 255), atol=0.51)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_colour_and_transparency_follow_the_rules_for_grey_levels(kind: str) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (64, 80, 4), dtype=np.uint8)
    np.testing.assert_array_equal(pixels_of(encode(rgba[..., :3].copy(), kind)), luminance(rgba[..., :3]))
    if kind != "BMP":
        expected = over_black(luminance(rgba[..., :3]), rgba[..., 3])
        np.testing.assert_array_equal(pixels_of(encode(rgba, kind)), expected)


def test_conversion_in_bands_leaves_no_seam() -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (700, 40), dtype=np.uint16)
    np.testing.assert_array_equal(pixels_of(encode(deep)), deep >> 8)


def test_the_share_of_colour_is_that_of_the_whole_picture() -> None:
    rgb = np.repeat(np.random.default_rng(0).integers(0, 256, (600, 50, 1), dtype=np.uint8), 3, axis=2)
    rgb[:60, :, 0] ^= 0x80
    assert "10% of the pixels are coloured; their luminance was taken" in decode(encode(rgb)).notes


def deep_tiff(samples: np.ndarray, photometric: int, bits: int, order: str = "<", *, real: bool = False) -> bytes:
    """An uncompressed TIFF of one strip, written from its specification; 12 bits are packed without gaps."""
    height, width = samples.shape
    if bits == 12:
        packed = np.unpackbits(samples.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 4:]
        data = np.packbits(packed).tobytes()
    else:
        data = samples.astype(f"{order}{'f' if real else 'u'}{bits // 8}").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    tags |= {339: 3} if real else {}
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(data))
    return head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_white_is_zero_is_not_read_as_its_negative(bits: int) -> None:
    samples = PICTURE.astype(np.uint16) * (257 if bits == 16 else 1)
    highest = (1 << bits) - 1
    np.testing.assert_array_equal(pixels_of(deep_tiff(samples, 1, bits)), PICTURE)
    np.testing.assert_array_equal(pixels_of(deep_tiff(highest - samples, 0, bits)), PICTURE)


def test_real_samples_of_a_tiff_whose_white_is_zero_are_turned_over_too() -> None:
    unit = (255 - PICTURE) / 255
    np.testing.assert_array_equal(pixels_of(deep_tiff(unit, 0, 32, real=True)), PICTURE)


def test_twelve_bits_fill_all_levels() -> None:
    samples = PICTURE.astype(np.uint16) * 16 + 7
    np.testing.assert_array_equal(pixels_of(deep_tiff(samples, 1, 12)), PICTURE)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_scale_in_every_picture(kind: str) -> None:
    bright = np.linspace(0, 65535, 64 * 80).astype(np.uint16).reshape(64, 80)
    for deep in (bright, bright // 128):
        np.testing.assert_array_equal(pixels_of(encode(deep, kind)), deep >> 8)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, -0.01, 255.5])
def test_real_samples_without_a_known_meaning_are_refused(odd: float) -> None:
    real = (PICTURE / 255).astype(np.float32)
    real[3, 3] = odd
    assert reason_of(encode(real, "TIFF")) == "unsupported_format"


def test_real_samples_up_to_255_are_grey_levels() -> None:
    np.testing.assert_array_equal(pixels_of(encode(PICTURE.astype(np.float32), "TIFF")), PICTURE)


def test_whole_samples_beyond_sixteen_bits_are_refused() -> None:
    assert reason_of(encode(PICTURE.astype(np.int32) * 70_000, "TIFF")) == "unsupported_format"
    assert reason_of(encode(PICTURE.astype(np.int32) - 5, "TIFF")) == "unsupported_format"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_an_animated_or_paged_file_the_first_picture_is_read_and_it_is_said(kind: str) -> None:
    pages = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE), Image.fromarray(PICTURE // 2)]
    decoding = decode(encode(pages[0], kind, save_all=True, append_images=pages[1:]))
    np.testing.assert_array_equal(decoding.images[0].pixels, PICTURE)
    assert "only the first of 3 frames was read" in decoding.notes


def test_an_animated_gif_is_refused_by_name() -> None:
    pages = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    assert reason_of(encode(pages[0], "GIF", save_all=True, append_images=pages[1:])) == "unsupported_format"


@pytest.mark.parametrize("side", [1, 31])
def test_a_picture_without_room_for_texture_is_refused(side: int) -> None:
    assert reason_of(encode(np.arange(side * 64, dtype=np.uint8).reshape(side, 64))) == "too_small"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_ends_early_is_refused(kind: str, share: float) -> None:
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    whole = encode(PICTURE, kind, **options)
    assert reason_of(whole[: int(len(whole) * share)]) in {"truncated", "corrupt"}


def png_bomb(side: int) -> bytes:
    """A PNG of zeros: a thousandth of its pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    line = bytes(side + 1)
    body = b"".join([*(packer.compress(line) for _ in range(side)), packer.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_a_bomb_with_all_its_pixels_is_refused_by_its_header() -> None:
    bomb = png_bomb(9000)
    tracemalloc.start()
    assert reason_of(bomb) == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_header_of_60000_squared_is_refused() -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    assert reason_of(png) == "too_large"
    assert reason_of(png, ReadLimits(max_side_px=65535)) == "too_large"  # Pillow's own bound holds as well


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000), 9)),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(50_000_000), 9)),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(50_000_000), 9)),
    ],
    ids=["zTXt", "iTXt", "iCCP"],
)
def test_metadata_that_swell_are_never_unpacked(kind: bytes, data: bytes) -> None:
    bomb = with_chunk(encode(PICTURE), kind, data)
    tracemalloc.start()
    assert reason_of(bomb) == "too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_what_a_file_is_does_not_depend_on_its_name(tmp_path) -> None:
    from fibrokd.data.reading import read

    for name in ("a.dcm", "a.jpg", "a.txt", "a"):
        (tmp_path / name).write_bytes(encode(PICTURE))
        assert [image.format for image in read(tmp_path / name)] == ["PNG"]


def test_mode_and_quantisation_tables_tell_how_a_file_was_written() -> None:
    grey = Image.fromarray(np.random.default_rng(5).integers(0, 256, (64, 64), dtype=np.uint8))

    def told(picture: Image.Image, kind: str, **options: int) -> tuple[str, str]:
        stream = BytesIO()
        picture.save(stream, kind, **options)
        [image] = read_bytes(stream.getvalue(), "x")
        return image.mode, image.jpeg_tables

    high, low, again = (told(grey, "JPEG", quality=quality) for quality in (95, 60, 95))
    assert high[0] == "L"
    assert len(high[1]) == 8
    assert high == again
    assert high[1] != low[1]
    assert told(grey.convert("RGB"), "PNG") == ("RGB", "")
