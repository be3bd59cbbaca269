"""Sizes inside compressed frames: found where they are, refused where they lie, counted without unpacking."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from fibrokd.data.dicom.codestream import FrameSize, declared_size, is_sound_jpeg_ls, run_lengths_fit
from tests.data.objects import colour, grey_rgb, monochrome
from tests.data.sectors import draw_sector, encode

PICTURE, _ = draw_sector(96, 128, apex=(-10, 64), radii=(15, 95))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 300}),
        ("JPEG2000", {"no_jp2": True}),
        ("JPEG2000", {"no_jp2": True, "offset": (5, 9), "tile_size": (32, 32), "tile_offset": (0, 0)}),
        ("JPEG2000", {}),
    ],
)
@pytest.mark.parametrize("samples", [1, 3])
def test_the_size_inside_a_compressed_frame_is_found(kind: str, options: dict[str, object], samples: int) -> None:
    picture = PICTURE if samples == 1 else grey_rgb(PICTURE)
    assert declared_size(encode(picture, kind, **options)) == FrameSize(96, 128, samples)


def test_what_is_no_codestream_declares_nothing() -> None:
    for stream in (
        b"",
        b"no codestream",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"\xff\x4f\xff\x51",
        encode(PICTURE, "PNG"),
    ):
        assert declared_size(stream) is None


@given(st.binary(max_size=80), st.sampled_from([b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ", b""]))
def test_no_bytes_make_the_search_fail_or_hang(tail: bytes, head: bytes) -> None:
    found = declared_size(head + tail)
    assert found is None or found.samples >= 0


def frame_of(dataset) -> bytes:
    dataset.compress(RLELossless, generate_instance_uid=False)
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


@pytest.mark.parametrize(
    ("dataset", "segments"),
    [
        (monochrome(PICTURE), 1),
        (colour(grey_rgb(PICTURE), 0), 3),
        (monochrome(PICTURE.astype(np.uint16) * 200), 2),
        (monochrome(np.zeros_like(PICTURE)), 1),
        (monochrome(np.random.default_rng(0).integers(0, 256, PICTURE.shape, dtype=np.uint8)), 1),
    ],
    ids=["grey", "colour", "16bit", "black", "noise"],
)
def test_honest_run_lengths_fit_and_no_others(dataset, segments: int) -> None:
    stream = frame_of(dataset)
    assert run_lengths_fit(stream, PICTURE.size, segments)
    assert not run_lengths_fit(stream, PICTURE.size, segments + 1)
    assert not run_lengths_fit(stream, PICTURE.size // 2, segments)
    assert not run_lengths_fit(stream, PICTURE.size * 2, segments)
    assert not run_lengths_fit(stream[:60], PICTURE.size, segments)


def test_a_run_length_bomb_is_found_out_after_as_much_as_it_may_hold() -> None:
    bomb = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 5_000_000
    assert not run_lengths_fit(bomb, 96 * 128, 1)


def unpacked(packed: bytes) -> bytes:
    """Unpack run lengths the plain way; a run whose value is missing counts as zeros."""
    out = b""
    while packed:
        control, packed = packed[0], packed[1:]
        if control < 128:
            out, packed = out + packed[: control + 1], packed[control + 1 :]
        elif control > 128:
            out, packed = out + (packed[:1] or b"\0") * (257 - control), packed[1:]
    return out


PIXELS, SLACK = 10, 128


@given(
    st.lists(st.sampled_from([b"\x00a", b"\x02abc", b"\xfex", b"\xf8y", b"\x81z", b"\x80", b"\x05ab"])).map(b"".join)
)
def test_run_lengths_fit_exactly_where_unpacking_them_gives_the_promised_length(packed: bytes) -> None:
    fits = PIXELS <= len(unpacked(packed)) <= PIXELS + SLACK and len(packed) <= 2 * PIXELS + SLACK
    assert run_lengths_fit(struct.pack("<16I", 1, 64, *[0] * 14) + packed, PIXELS, 1) == fits


@given(st.binary(max_size=63))
def test_a_frame_shorter_than_its_run_length_header_never_fits(short: bytes) -> None:
    assert not run_lengths_fit(short, PIXELS, 1)


LS_HEADER = bytes.fromhex("ffd8 fff7000b 08 0060 0080 01 011100 ffda0008 01 0100 00 00 00")


def test_jpeg_ls_headers_that_keep_to_the_standard_are_sound() -> None:
    assert is_sound_jpeg_ls(LS_HEADER + b"\x12\x34\xff\x7f\x56\xff\xd9")
    assert is_sound_jpeg_ls(LS_HEADER[:2] + b"\xff\xfe\x00\x06text" + LS_HEADER[2:])
    assert is_sound_jpeg_ls(LS_HEADER + b"\x12" * 50)  # cut off: the decoder will say so
    assert declared_size(LS_HEADER) == FrameSize(96, 128, 1)


@pytest.mark.parametrize(
    ("at", "value"),
    [(6, 37), (6, 1), (11, 3), (13, 0x21), (14, 1), (3, 0xC3), (5, 60), (19, 3), (21, 1), (22, 183), (23, 3), (24, 1)],
)
def test_jpeg_ls_headers_that_break_it_are_not(at: int, value: int) -> None:
    broken = bytearray(LS_HEADER + b"\x12\x34\xff\xd9")
    broken[at] = value
    assert not is_sound_jpeg_ls(bytes(broken))


@given(st.binary(max_size=60))
def test_no_bytes_make_the_check_of_jpeg_ls_fail(tail: bytes) -> None:
    is_sound_jpeg_ls(LS_HEADER + tail)
    assert not is_sound_jpeg_ls(tail[:20])
