"""DICOM ultrasound: from the bytes of an object to B-mode frames. Called by ``reading`` only.

Owns which objects are accepted, the checks before decoding, and the choice of a cine's frames. Pixels of one frame
are ``dicom_pixels``; regions and spacing are ``dicom_regions``; keys are ``identity_keys``.
Reference: DICOM PS3.3 C.7.6.3 (image pixel), C.8.5.5 (ultrasound regions), PS3.10 7.1 (file format).
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from fibrokd.data.dicom_pixels import decode_frame
from fibrokd.data.dicom_regions import read_regions
from fibrokd.data.identity_keys import identity_of
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.data.raster import check_side
from fibrokd.errors import UnreadableImageError

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_ULTRASOUND = {_STORAGE + tail for tail in ("6.1", "3.1", "6", "3")}  # single and multi-frame; 6 and 3 are retired
_SECONDARY_CAPTURE = {_STORAGE + tail for tail in ("7", "7.1", "7.2", "7.3", "7.4")}
_VOLUME = _STORAGE + "6.2"
_PREFIX = 128


def looks_like_dicom(data: bytes) -> bool:
    """Return whether bytes are a DICOM file: the ``DICM`` mark, or a header of group 0002 or 0008 without preamble.

    Args:
        data: The file's bytes; the first 200 are enough.
    """
    return data[_PREFIX : _PREFIX + 4] == b"DICM" or _starts_with_an_element(data)


def _starts_with_an_element(data: bytes) -> bool:
    """Whether the first 8 bytes are a tag of group 0002 or 0008 with an explicit VR or a small implicit length."""
    if len(data) < _PREFIX or data[:2] not in (b"\x02\x00", b"\x08\x00"):
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return data[3] == 0 and (explicit or int.from_bytes(data[4:8], "little") <= 1024)


def decode_dicom(
    data: bytes, name: str, limits: ReadLimits, frames: FramePolicy
) -> tuple[list[UltrasoundImage], list[str]]:
    """Decode the frames of one ultrasound object.

    Args:
        data: The file's bytes.
        name: What to call it in messages.
        limits: Checked on the header.
        frames: Which frames of a cine to take.

    Returns:
        One picture per frame taken, in order, and notes.

    Raises:
        UnreadableImageError: With a reason of ``reading.REASONS``.
    """
    dataset = _open(data, name)
    _check_object(dataset, name)
    height, width = _check_header(dataset, name, limits)
    regions = read_regions(dataset, height, width)
    notes = list(regions.notes)
    count = frame_count(dataset)
    taken: list[tuple[int, UInt8[np.ndarray, "H W"]]] = []
    decoder = ""
    for index in candidates(count, frames.positions):
        frame = decode_frame(dataset, index, name, regions)
        decoder = frame.decoder
        notes += [note for note in frame.notes if note not in notes]
        dropped = _worthless(frame.pixels, [pixels for _, pixels in taken], frames) if count > 1 else None
        if dropped:
            notes.append(f"frame {index} was left out: {dropped}")
        else:
            taken.append((index, frame.pixels))
    if not taken:
        raise UnreadableImageError("blank", f"Every frame looked at in {name} is black.")
    identity = identity_of(dataset)
    device = " ".join(str(dataset.get(key) or "").strip() for key in ("Manufacturer", "ManufacturerModelName")).strip()
    images = [
        UltrasoundImage(
            pixels=pixels,
            format="DICOM",
            frame=index,
            spacing_mm=regions.spacing_mm,
            patient=identity.patient_key,
            study=identity.study_key,
            device=device or None,
            tissue=regions.tissue,
            decoder=f"pydicom/{decoder}",
        )
        for index, pixels in taken
    ]
    return images, notes


def candidates(count: int, positions: tuple[float, ...]) -> list[int]:
    """Return frame indices at shares of a clip's length, ascending, never two neighbours.

    Example:
        >>> candidates(30, (0.2, 0.5, 0.8)), candidates(1, (0.2, 0.5, 0.8)), candidates(3, (0.2, 0.5, 0.8))
        ([6, 15, 24], [0], [0, 2])
    """
    chosen: list[int] = []
    for position in sorted(positions):
        index = min(int(position * count), count - 1)
        if not chosen or index - chosen[-1] >= 2:
            chosen.append(index)
    return chosen


def frame_count(dataset: Dataset) -> int:
    """Return NumberOfFrames, 1 where absent or empty."""
    return int(dataset.get("NumberOfFrames") or 1)


def _worthless(
    pixels: UInt8[np.ndarray, "H W"], taken: list[UInt8[np.ndarray, "H W"]], frames: FramePolicy
) -> str | None:
    if pixels.mean() < frames.min_mean:
        return "black"
    for other in taken:
        if np.abs(pixels.astype(np.int16) - other).mean() < frames.min_difference:
            return "a frozen repeat"
    return None


# --------------------------------------------------------------------------- opening and checking
def _open(data: bytes, name: str) -> Dataset:
    """Parse the object; refuses before parsing what would inflate without bound."""
    has_mark = data[_PREFIX : _PREFIX + 4] == b"DICM"
    if has_mark and _meta_transfer_syntax(data) == str(DeflatedExplicitVRLittleEndian):
        # Inflating is unbounded: a file of 0.6 MB was seen to take 1.1 GB.
        raise UnreadableImageError(
            "unsupported_transfer_syntax", f"{name} is a deflated DICOM file.", "Export it uncompressed or as JPEG."
        )
    try:
        # force only where the first bytes look like a header; needed tags are checked afterwards either way.
        dataset = dcmread(io.BytesIO(data), force=not has_mark)
    except RecursionError as error:
        raise UnreadableImageError("corrupt", f"The DICOM sequences of {name} are nested without end.") from error
    except (EOFError, OSError) as error:
        raise UnreadableImageError("truncated", f"{name} ends before its DICOM header does.") from error
    except Exception as error:  # pydicom raises many classes on damaged headers; their text may quote patient data
        raise UnreadableImageError(
            "corrupt", f"The DICOM header of {name} is damaged ({type(error).__name__})."
        ) from error
    if len(dataset) == 0:  # pydicom says nothing when a header, or compressed pixels, end too early
        raise UnreadableImageError("truncated", f"{name} ends before the first element of its DICOM header.")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = _guessed_syntax(dataset)
    return dataset


def _meta_transfer_syntax(data: bytes) -> str:
    """Return TransferSyntaxUID by walking the file meta group, which is always explicit little endian."""
    for tag, value in _meta_elements(data, _PREFIX + 4):
        if tag == b"\x02\x00\x10\x00":
            return value.rstrip(b"\x00 ").decode("ascii", "replace")
    return ""


def _meta_elements(data: bytes, at: int) -> Iterator[tuple[bytes, bytes]]:
    while data[at : at + 2] == b"\x02\x00" and at + 8 <= len(data):
        long_form = data[at + 4 : at + 6] in (b"OB", b"UN", b"SQ", b"OW", b"UT")
        start = at + 12 if long_form else at + 8
        length = int.from_bytes(data[at + 8 : at + 12] if long_form else data[at + 6 : at + 8], "little")
        yield data[at : at + 4], data[start : start + length]
        at = start + length


def _guessed_syntax(dataset: Dataset) -> UID:
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_object(dataset: Dataset, name: str) -> None:
    kind = str(dataset.get("SOPClassUID") or "")
    modality = str(dataset.get("Modality") or "").strip().upper()
    if kind == _VOLUME:
        raise UnreadableImageError(
            "unsupported_format", f"Expected B-mode pictures, {name} is a 3-D ultrasound volume.", "Export its planes."
        )
    if kind in _ULTRASOUND or (modality == "US" and (not kind or kind in _SECONDARY_CAPTURE)):
        return
    raise UnreadableImageError(
        "not_ultrasound",
        f"Expected a DICOM ultrasound picture, {name} has modality {modality or 'unknown'} and another object class.",
        "Leave it out; reports, presentation states and other modalities cannot be staged.",
    )


def _check_header(dataset: Dataset, name: str, limits: ReadLimits) -> tuple[int, int]:
    """Check everything the header promises, before decoding; return (rows, columns)."""
    if not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise UnreadableImageError("no_pixels", f"The DICOM object {name} holds no pixel data.")
    needed = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
    missing = [key for key in needed if dataset.get(key) is None]
    if missing or "PixelData" not in dataset:
        raise UnreadableImageError("corrupt", f"The DICOM header of {name} lacks {', '.join(missing) or 'PixelData'}.")
    try:
        height, width, count = int(dataset.Rows), int(dataset.Columns), frame_count(dataset)
    except (TypeError, ValueError) as error:
        raise UnreadableImageError("corrupt", f"Rows, Columns or NumberOfFrames of {name} are no numbers.") from error
    check_side(width, height, name, limits)
    if not 1 <= count <= limits.max_frames:
        raise UnreadableImageError(
            "too_large", f"Expected 1 to {limits.max_frames} frames in {name}, its header says {count}."
        )
    if dataset.BitsAllocated not in (8, 16) or dataset.SamplesPerPixel not in (1, 3):
        raise UnreadableImageError(
            "unsupported_format",
            f"Expected 8 or 16 bits and 1 or 3 samples in {name}, "
            f"found {dataset.BitsAllocated} bits and {dataset.SamplesPerPixel} samples.",
        )
    return height, width
