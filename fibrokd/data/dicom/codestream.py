"""Sizes that compressed frames declare about themselves, read before any decoder allocates them.

A header may promise 256 × 256 pixels while its JPEG holds 12,000 × 12,000: decoders allocate what the codestream
says. Must not decode. Reference: ITU-T T.81 B.2.2 (JPEG, SOF), T.87 C.2.2 (JPEG-LS, SOF55), T.800 A.5.1 and I.4
(JPEG 2000, SIZ and JP2 boxes; T.814 high throughput streams carry the same SIZ), DICOM PS3.5 G (run lengths).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_JPEG_START = b"\xff\xd8"
_FRAME_HEADERS = frozenset({0xF7, *range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SIZ_BYTES = 42 + 3 * 4  # up to four components
_MAX_PRECISION = 16  # bits of a sample
_MAX_TILES = 4096  # 8192 × 8192 pixels in tiles of 128 × 128
_SOF55, _SOS, _EOI, _APP0, _COM = 0xF7, 0xDA, 0xD9, 0xE0, 0xFE
_RLE_HEADER_BYTES = 64
_RLE_SLACK = 128  # bytes that a run may exceed its segment by: encoders pad


@dataclass(frozen=True)
class FrameSize:
    """What a codestream declares.

    Args:
        rows: Picture rows.
        columns: Picture columns.
        samples: Samples per pixel.
        precision: Bits of a sample; no part of the size, and so of no comparison.
    """

    rows: int
    columns: int
    samples: int
    precision: int = field(default=0, compare=False)


def declared_size(stream: bytes) -> FrameSize | None:
    """Return what a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream declares, ``None`` where it does not.

    Args:
        stream: One compressed frame.
    """
    if stream.startswith(_JP2_START):
        return _from_siz(_within_boxes(stream))
    if stream.startswith(_J2K_START):
        return _from_siz(stream[:_SIZ_BYTES])
    return _from_sof(stream) if stream.startswith(_JPEG_START) else None


def _from_siz(start: bytes) -> FrameSize | None:
    """The size, where the grid is one that pictures have: no subsampled components, no swarm of tiles."""
    if not start.startswith(_J2K_START) or len(start) < 42:
        return None
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", start, 8)
    (samples,) = struct.unpack_from(">H", start, 40)
    components = start[42 : 42 + 3 * samples]
    if min(tile_width, tile_height) == 0 or len(components) < 3 * min(samples, 3):
        return None
    tiles = -(-right // tile_width) * -(-bottom // tile_height)
    sound = all(precision & 0x7F < _MAX_PRECISION for precision in components[::3])
    sound = sound and set(components[1::3]) | set(components[2::3]) <= {1}
    precision = (components[0] & 0x7F) + 1
    return FrameSize(bottom - top, right - left, samples, precision) if sound and tiles <= _MAX_TILES else None


def _within_boxes(stream: bytes) -> bytes:
    """First bytes of the codestream of a JP2 file; empty where it has none."""
    at = 0
    while at + 16 <= len(stream):
        size, kind = struct.unpack_from(">I4s", stream, at)
        header = 8
        if size == 1:  # the size follows in 64 bits
            (size,) = struct.unpack_from(">Q", stream, at + 8)
            header = 16
        if kind == b"jp2c":
            return stream[at + header : at + header + _SIZ_BYTES]
        if size < header:
            break
        at += size
    return b""


def _from_sof(stream: bytes) -> FrameSize | None:
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _FRAME_HEADERS:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", stream, at + 4)
            return FrameSize(rows, columns, samples, precision)
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


def is_sound_jpeg_ls(stream: bytes) -> bool:
    """Return whether the headers of a JPEG-LS codestream keep to the standard in every field that decoders rely on.

    Decoders were seen to end the process over an impossible precision, and to run for ever over an impossible error.

    Args:
        stream: One compressed frame.
    """
    precision = components = scanned = 0
    for marker, at, end in _ls_segments(stream):
        body = stream[at:end]
        if marker == _SOF55 and not precision and len(body) >= 6:
            precision, components = body[0], body[5]
            if len(body) != 6 + 3 * components or set(body[7::3]) - {0x11} or set(body[8::3]) - {0}:
                return False
        elif marker == _SOS and precision and body and len(body) == 1 + 2 * body[0] + 3:
            near, interleave, transform = body[-3:]
            most = min(255, ((1 << precision) - 1) // 2)
            scanned += body[0]
            if near > most or interleave > 2 or transform or any(body[2:-3:2]):
                return False
        elif not (_APP0 <= marker <= _COM):
            return False
    return 2 <= precision <= _MAX_PRECISION and 1 <= components == scanned


def _ls_segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of every header segment; after a scan's header its data are passed over."""
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            yield 0, at, at
            return
        marker = stream[at + 1]
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == _EOI:
            return
        yield marker, at + 4, end
        at = end
        if marker == _SOS:  # in scan data a marker's first byte is followed by a byte below 0x80 only
            while 0 <= (at := stream.find(b"\xff", at)) < len(stream) - 1 and stream[at + 1] < 0x80:
                at += 2
            if at < 0:
                return


def run_lengths_fit(stream: bytes, pixels: int, segments: int) -> bool:
    """Return whether a run-length encoded frame unpacks to what its header promises, without unpacking it.

    Args:
        stream: One compressed frame.
        pixels: Rows × columns.
        segments: Samples per pixel × bytes per sample: every segment holds one byte of every pixel.
    """
    if len(stream) < _RLE_HEADER_BYTES or int.from_bytes(stream[:4], "little") != segments or segments > 15:
        return False
    offsets = (*struct.unpack_from(f"<{segments}I", stream, 4), len(stream))
    if offsets[0] < _RLE_HEADER_BYTES or any(b < a for a, b in itertools.pairwise(offsets)):
        return False
    return all(
        end - start <= 2 * pixels + _RLE_SLACK
        and pixels <= _unpacked(stream, start, end, pixels + _RLE_SLACK) <= pixels + _RLE_SLACK
        for start, end in itertools.pairwise(offsets)
    )


def _unpacked(stream: bytes, at: int, end: int, most: int) -> int:
    """Unpacked length of a segment; counting stops above ``most``."""
    total = 0
    while at < end and total <= most:
        control = stream[at]
        if control < 128:
            total += min(control + 1, end - at - 1)
            at += control + 2
        elif control > 128:
            total += 257 - control
            at += 2
        else:
            at += 1
    return total
