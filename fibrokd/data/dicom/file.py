"""From bytes to a parsed DICOM object, whatever the bytes are; nothing is inflated or forced without bound.

Must not judge objects or decode pixels. pydicom inflates a deflated file whole while it opens it (a file of 0.6 MB
took 1.1 GB), so such files are inflated here, after their size has been counted.
Reference: DICOM PS3.10 7.1 (file format), PS3.5 A.5 (deflated transfer syntax).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from fibrokd.data.limits import ReadLimits
from fibrokd.errors import UnreadableImageError

_PREFIX = 128
_DEFLATED = str(DeflatedExplicitVRLittleEndian).encode()
_LONG_FORM = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT_FORM = frozenset({b"UL", b"UI", b"SH", b"AE", b"LO", b"CS", b"US", b"ST", b"LT", b"DA", b"TM", b"DT"})
_PIECE = 1 << 16
_HEAD_BYTES = 1 << 16


def looks_like_dicom(data: bytes) -> bool:
    """Return whether bytes are a DICOM file: the ``DICM`` mark, or a header of group 0002 or 0008 without preamble.

    Args:
        data: The file's bytes; the first 200 are enough.
    """
    return _has_mark(data) or _starts_with_an_element(data)


def open_object(data: bytes, name: str, limits: ReadLimits) -> Dataset:
    """Parse an object; its pixels stay compressed.

    Args:
        data: The file's bytes.
        name: What to call it in messages.
        limits: What a deflated file may inflate to.

    Raises:
        UnreadableImageError: ``truncated``, ``corrupt`` or ``too_large``.
    """
    if _DEFLATED in data:
        data = _inflated_where_deflated(data, name, limits)
    try:
        # force only where the first bytes look like a header; needed tags are checked afterwards either way.
        dataset = dcmread(io.BytesIO(data), force=not _has_mark(data))
    except RecursionError as error:
        raise UnreadableImageError("corrupt", f"The DICOM sequences of {name} are nested without end.") from error
    except (EOFError, OSError) as error:
        raise UnreadableImageError("truncated", f"{name} ends before its DICOM header does.") from error
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises many classes on damaged headers; their text may quote patient data
        raise UnreadableImageError(
            "corrupt", f"The DICOM header of {name} is damaged ({type(error).__name__})."
        ) from error
    if len(dataset) == 0:  # pydicom says nothing when a header, or compressed pixels, end too early
        raise UnreadableImageError("truncated", f"{name} ends before the first element of its DICOM header.")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
    elif not isinstance(syntax, UID):
        raise UnreadableImageError("corrupt", f"The transfer syntax of {name} is no single identifier.")
    return dataset


def read_header(path: Path, tags: list[str], limits: ReadLimits) -> Dataset | None:
    """Return some elements of a file's header, ``None`` where it is no DICOM file; pixels are not read.

    Args:
        path: Any file.
        tags: Keywords of the elements.
        limits: What a file that cannot be read in part may cost.

    Raises:
        Exception: Of any class, where the file is damaged.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not looks_like_dicom(head):
        return None
    meta = _meta(head)
    if meta is not None and _DEFLATED not in head[: meta.end]:
        return dcmread(path, stop_before_pixels=True, specific_tags=tags, force=not _has_mark(head))
    if path.stat().st_size > limits.max_file_mb * 10**6:
        return None
    return open_object(path.read_bytes(), path.name, limits)


def _has_mark(data: bytes) -> bool:
    return data[_PREFIX : _PREFIX + 4] == b"DICM"


def _starts_with_an_element(data: bytes) -> bool:
    """Whether the first 8 bytes are a tag of group 0002 or 0008 with an explicit VR or a small implicit length."""
    if len(data) < _PREFIX:
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    if data[:3] in (b"\x00\x02\x00", b"\x00\x08\x00"):  # big endian, which is always explicit
        return explicit
    if data[:2] not in (b"\x02\x00", b"\x08\x00"):
        return False
    return data[3] == 0 and (explicit or int.from_bytes(data[4:8], "little") <= 1024)


def _guessed_syntax(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


# --------------------------------------------------------------------------- the file meta group
@dataclass(frozen=True)
class _Meta:
    """The file meta group: value of every element as a slice of the file, and where the data set starts."""

    values: dict[bytes, slice]
    end: int


def _meta(data: bytes) -> _Meta | None:
    """Walk the file meta group, which is always explicit little endian; ``None`` where it is not regular.

    Strict on purpose: where this walk succeeds, every reader sees the same elements.
    """
    values: dict[bytes, slice] = {}
    end = start = _PREFIX + 4 if _has_mark(data) else 0
    for tag, vr, value in _elements(data, start):
        if tag in values or vr not in _LONG_FORM | _SHORT_FORM or value.stop > len(data):
            return None
        values[tag], end = value, value.stop
    if not values or data[end : end + 2] == b"\x02\x00":
        return None
    stated = values.get(b"\x02\x00\x00\x00")
    regular = stated is not None and int.from_bytes(data[stated], "little") == end - stated.stop
    return _Meta(values, end) if regular else None


def _elements(data: bytes, at: int) -> Iterator[tuple[bytes, bytes, slice]]:
    while data[at : at + 2] == b"\x02\x00" and at + 8 <= len(data):
        vr = data[at + 4 : at + 6]
        long_form = vr in _LONG_FORM
        start = at + 12 if long_form else at + 8
        length = int.from_bytes(data[at + 8 : at + 12] if long_form else data[at + 6 : at + 8], "little")
        yield data[at : at + 4], vr, slice(start, start + length)
        at = start + length


# --------------------------------------------------------------------------- deflated files
def _inflated_where_deflated(data: bytes, name: str, limits: ReadLimits) -> bytes:
    """Return an explicit little endian file in place of a deflated one, other files as they are."""
    meta = _meta(data)
    if meta is None:
        raise UnreadableImageError("corrupt", f"{name} mentions deflate, and its file meta group is not regular.")
    syntax = meta.values.get(b"\x02\x00\x10\x00")
    if syntax is None or data[syntax].rstrip(b"\x00 ") != _DEFLATED:
        if _DEFLATED in data[: meta.end]:
            raise UnreadableImageError("corrupt", f"{name} mentions deflate where it names another transfer syntax.")
        return data
    most = limits.max_inflated_mb * 10**6
    size = 0
    for piece in _inflated(memoryview(data)[meta.end :], name):  # counted first: nothing of a bomb is kept
        size += len(piece)
        if size > most:
            raise UnreadableImageError(
                "too_large",
                f"Expected the deflated file {name} to hold at most {limits.max_inflated_mb} MB, it holds more.",
                "Raise max_inflated_mb, or leave the file out.",
            )
    plain = str(ExplicitVRLittleEndian).encode().ljust(syntax.stop - syntax.start, b"\x00")
    whole = io.BytesIO()
    whole.write(data[: syntax.start] + plain + data[syntax.stop : meta.end])
    whole.writelines(_inflated(memoryview(data)[meta.end :], name))
    return whole.getvalue()


def _inflated(stream: memoryview, name: str) -> Iterator[bytes]:
    """Yield the content of a raw deflate stream in pieces of at most 64 KiB."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, len(stream), _PIECE):
            waiting: bytes | memoryview = stream[start : start + _PIECE]
            while waiting and not inflater.eof:
                yield inflater.decompress(waiting, _PIECE)
                waiting = inflater.unconsumed_tail
            if inflater.eof:
                return
        while piece := inflater.decompress(b"", _PIECE):
            yield piece
    except zlib.error as error:
        raise UnreadableImageError("corrupt", f"The deflated content of {name} is damaged.") from error
    if not inflater.eof:
        raise UnreadableImageError("truncated", f"{name} ends before its deflated content does.")
