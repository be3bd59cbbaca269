"""The only decoder: PNG, JPEG, BMP, TIFF and DICOM into :class:`UltrasoundImage`, limits first.

What a file is gets decided by its content, never by its name. Every way of failing ends as an
:class:`UnreadableImageError` whose ``reason`` is one of :data:`REASONS`. Must not crop, resize or judge the picture.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath

from fibrokd.data.decoder_warnings import warnings_as_notes
from fibrokd.data.dicom.frames import decode_dicom, looks_like_dicom
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.data.preprocess import tissue_of
from fibrokd.data.raster import decode_raster
from fibrokd.errors import UnreadableImageError

REASONS = {
    "empty": "the file has no bytes",
    "not_an_image": "the content is no picture format",
    "unsupported_format": "a picture format or sample type that fibrokd does not read",
    "truncated": "the file ends before the picture does",
    "corrupt": "the content breaks its own format",
    "too_large": "more pixels, frames or bytes than ReadLimits allows",
    "too_small": "fewer pixels than ReadLimits allows",
    "no_pixels": "a DICOM object without pixel data",
    "blank": "every pixel of the picture, or of the tissue that the file declares, has the same grey level or is black",
    "not_ultrasound": "a DICOM object that is no ultrasound picture",
    "secondary_capture": "a DICOM screenshot; limits.accept_secondary_capture reads them",
    "colour_flow": "a colour Doppler picture, not B-mode",
    "unsupported_transfer_syntax": "no decoder for the DICOM compression",
    "too_slow": "reading took longer than a worker process may",
    "too_much_memory": "reading took more memory than there is, or than a worker process may",
    "crashed": "the decoder ended the worker process",
    "unreadable": "the operating system or a decoder refused; the detail names the error",
}
"""Every reason a file can be refused for, and what it means."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "BigTIFF"),
    (b"MM\x00+", "BigTIFF"),
    (b"GIF8", "GIF"),
    (b"%PDF", "PDF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)
_READABLE = ("PNG", "JPEG", "BMP", "TIFF")
_EXTENSIONS = {
    "PNG": {".png"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "DICOM": {".dcm", ".dicom", ".dic", ".ima", ""},
}


@dataclass(frozen=True)
class BlankPicture:
    """A picture of a file that shows nothing, while others of the same file do.

    Args:
        frame: Index of the frame within its file.
        part: Index of the picture within its frame.
        detail: What was seen, in words without patient data.
    """

    frame: int
    part: int
    detail: str


@dataclass(frozen=True)
class Decoding:
    """What one file held.

    Args:
        images: One picture per frame taken and part of it, in file order; never empty.
        notes: What was decided or repaired on the way, in words without patient data.
        blank: Pictures that show nothing, such as the empty half of a dual screen.
    """

    images: tuple[UltrasoundImage, ...]
    notes: tuple[str, ...] = ()
    blank: tuple[BlankPicture, ...] = ()


def read(path: Path, limits: ReadLimits | None = None, frames: FramePolicy | None = None) -> list[UltrasoundImage]:
    """Decode one file.

    Args:
        path: Any file; its extension is not looked at.
        limits: What it may cost; defaults to :class:`ReadLimits`.
        frames: Which frames of a cine to take; defaults to 20, 50 and 80 % of its length.

    Raises:
        UnreadableImageError: With one of :data:`REASONS`.
    """
    return read_bytes(load_bytes(path, limits), path.name, limits, frames)


def read_bytes(
    data: bytes, name: str = "upload", limits: ReadLimits | None = None, frames: FramePolicy | None = None
) -> list[UltrasoundImage]:
    """Decode a file held in memory, so that an upload never touches a disk.

    Args:
        data: The file's bytes.
        name: What to call it in messages.
        limits: See :func:`read`.
        frames: See :func:`read`.

    Raises:
        UnreadableImageError: With one of :data:`REASONS`.
    """
    return list(decode(data, name, limits, frames).images)


def load_bytes(path: Path, limits: ReadLimits | None = None, name: str | None = None) -> bytes:
    """Return the bytes of a regular file whose size is within limits.

    Args:
        path: The file.
        limits: See :func:`read`.
        name: What to call it in messages; by default as it is called.

    Raises:
        UnreadableImageError: It is missing, no regular file (a pipe would block for ever), too large, or unreadable.
    """
    limits, name = limits or ReadLimits(), name or path.name
    try:
        if not path.is_file():
            raise UnreadableImageError("unreadable", f"Expected a file at {name}, found none or no regular one.")
        _check_size(path.stat().st_size, name, limits)
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(
            "unreadable", f"Expected to read {name}, the system refused ({error.strerror}).", "Check permissions."
        ) from error
    except MemoryError as error:
        raise UnreadableImageError("too_much_memory", f"{name} needs more memory than it may take.") from error


def decode(
    data: bytes, name: str = "upload", limits: ReadLimits | None = None, frames: FramePolicy | None = None
) -> Decoding:
    """Like :func:`read_bytes`, and also return the notes taken on the way."""
    limits, frames = limits or ReadLimits(), frames or FramePolicy()
    _check_size(len(data), name, limits)
    if not data:
        raise UnreadableImageError("empty", f"Expected a picture in {name}, found no bytes.")
    try:
        with warnings_as_notes() as warned:
            images, notes = _decode(data, name, limits, frames)
    except UnreadableImageError:
        raise
    except MemoryError as error:
        raise UnreadableImageError("too_much_memory", f"{name} needs more memory than it may take.") from error
    except Exception as error:
        # A decoder met something nobody foresaw. Only the error's class is told: its text may quote patient data.
        raise UnreadableImageError("unreadable", f"{name} made its decoder fail ({type(error).__name__}).") from error
    blank = [BlankPicture(i.frame, i.part, why) for i in images if (why := _why_blank(i, frames.min_mean))]
    if len(blank) == len(images):
        raise UnreadableImageError("blank", f"{name} shows nothing: {blank[0].detail}.")
    left_out = {(picture.frame, picture.part) for picture in blank}
    shown = tuple(image for image in images if (image.frame, image.part) not in left_out)
    return Decoding(shown, (*notes, *warned), tuple(blank))


def true_format(data: bytes) -> str | None:
    """Return what the content is: ``PNG``, ``JPEG``, ``BMP``, ``TIFF``, ``DICOM``, the name of another known
    format, or ``None``.

    Args:
        data: The file's bytes; the first 200 are enough.
    """  # noqa: D205 - one sentence
    if data[128:132] == b"DICM":  # first: a DICOM file may carry a TIFF header in its preamble (PS3.10 7.1)
        return "DICOM"
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "video or HEIF"
    return "DICOM" if looks_like_dicom(data) else None


def extension_fits(path: str | PurePath, format: str) -> bool:  # noqa: A002 - the field's name in UltrasoundImage
    """Return whether the file name's extension is one that this format usually has.

    Example:
        >>> extension_fits("a12.jpg", "PNG"), extension_fits("IM0001", "DICOM")
        (False, True)
    """
    suffix = PurePath(path).suffix.lower()
    if format == "DICOM" and suffix[1:].isdigit():  # names that are UIDs, such as 1.2.840.113
        return True
    return suffix in _EXTENSIONS.get(format, set())


def pixel_digest(image: UltrasoundImage) -> str:
    """Return the sha256 over shape and grey levels: it survives re-wrapping in another lossless container."""
    height, width = image.pixels.shape
    digest = hashlib.sha256(f"{height}x{width}:".encode())
    digest.update(image.pixels.tobytes())
    return digest.hexdigest()


def _decode(data: bytes, name: str, limits: ReadLimits, frames: FramePolicy) -> tuple[list[UltrasoundImage], list[str]]:
    found = true_format(data)
    if found == "DICOM":
        return decode_dicom(data, name, limits, frames)
    if found in _READABLE:
        image, notes = decode_raster(data, found, name, limits)
        return [image], notes
    if found is not None:
        raise UnreadableImageError(
            "unsupported_format", f"Expected PNG, JPEG, BMP, TIFF or DICOM in {name}, found {found}.", "Convert it."
        )
    raise UnreadableImageError("not_an_image", f"Expected PNG, JPEG, BMP, TIFF or DICOM in {name}, found none of them.")


def _why_blank(image: UltrasoundImage, least_mean: float) -> str:
    """Why a picture shows nothing; empty where it shows something.

    Only the tissue that a file declares is looked at: rulers and names beside it do not make a picture. Within it, a
    few marks on black do not either; without a declaration nobody knows which pixels are marks.
    """
    tissue = tissue_of(image)
    least, most = int(tissue.min()), int(tissue.max())
    if least == most:
        return f"every pixel of the picture is {most}"
    if image.tissue is not None and tissue.mean() < least_mean:
        return "the tissue that it declares is black"
    return ""


def _check_size(size: int, name: str, limits: ReadLimits) -> None:
    if size > limits.max_file_mb * 10**6:
        raise UnreadableImageError(
            "too_large",
            f"Expected {name} to have at most {limits.max_file_mb} MB, found {size / 1e6:.0f} MB.",
            "Raise max_file_mb, or leave the file out.",
        )
