"""Which DICOM objects are B-mode pictures, and what their headers may promise. Must not touch pixels.

Values of a header are never quoted in messages unless they are terms that the standard defines: a free text may
name a patient. Reference: DICOM PS3.3 A.6 and A.7 (ultrasound), A.8 (secondary capture), C.7.6.3 (image pixel).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID

from fibrokd.data.limits import ReadLimits
from fibrokd.data.raster import check_side
from fibrokd.errors import UnreadableImageError

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_ULTRASOUND = {_STORAGE + tail for tail in ("6.1", "3.1", "6", "3")}  # single and multi-frame; 6 and 3 are retired
_SECONDARY_CAPTURE = {_STORAGE + tail for tail in ("7", "7.1", "7.2", "7.3", "7.4")}
_VOLUME = _STORAGE + "6.2"
_DIRECTORY = "1.2.840.10008.1.3.10"
_MODALITIES = re.compile(
    r"CR|CT|DOC|DX|ECG|ES|IO|IVOCT|IVUS|KO|MG|MR|NM|OP|OPT|OT|PR|PT|PX|REG|RF|RTDOSE|RTIMAGE|RTPLAN|RTSTRUCT|SEG|SM|SR|US"
    r"|XA|XC"
)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel", "PhotometricInterpretation")


@dataclass(frozen=True)
class Promise:
    """What a checked header promises.

    Args:
        rows: Rows of every frame.
        columns: Columns of every frame.
        frames: Number of frames.
        samples: Samples per pixel, 1 or 3.
        bits_allocated: Bits a sample takes, 8 or 16.
        bits_stored: Bits of it that count.
        high_bit: Number of the highest of them.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one decoded frame."""
        return self.rows * self.columns * self.samples * (self.bits_allocated // 8)


def check_object(dataset: Dataset, name: str, limits: ReadLimits) -> None:
    """Refuse what is no B-mode picture: other modalities, reports, presentation states, directories, volumes.

    Args:
        dataset: The object.
        name: What to call the file in messages.
        limits: Says whether secondary captures are read.

    Raises:
        UnreadableImageError: ``not_ultrasound``, ``unsupported_format`` or ``secondary_capture``.
    """
    kind = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    modality = str(dataset.get("Modality") or "").strip().upper()
    if kind == _DIRECTORY or "DirectoryRecordSequence" in dataset:
        raise UnreadableImageError(
            "not_ultrasound",
            f"{name} is a DICOMDIR: the table of contents of a medium, not a picture.",
            "Leave it out; the files that it lists are read on their own.",
        )
    if kind == _VOLUME:
        raise UnreadableImageError(
            "unsupported_format", f"Expected B-mode pictures, {name} is a 3-D ultrasound volume.", "Export its planes."
        )
    if kind in _SECONDARY_CAPTURE and modality in ("US", "OT"):
        if not limits.accept_secondary_capture:
            raise UnreadableImageError(
                "secondary_capture",
                f"{name} is a secondary capture (a screenshot or scan) of modality {modality}.",
                "Set limits.accept_secondary_capture to true where all of them are known to be B-mode pictures.",
            )
        return
    if kind in _ULTRASOUND and modality in ("US", "OT", ""):
        return
    if not kind and modality == "US":
        return
    raise UnreadableImageError(
        "not_ultrasound",
        f"Expected a DICOM ultrasound picture, {name} is {_class_name(kind)} of {_modality_name(modality)}.",
        "Leave it out; reports, presentation states and other modalities cannot be staged.",
    )


def check_header(dataset: Dataset, name: str, limits: ReadLimits) -> Promise:
    """Check everything the header promises, before decoding.

    Args:
        dataset: The object.
        name: What to call the file in messages.
        limits: What the file may cost.

    Raises:
        UnreadableImageError: ``no_pixels``, ``corrupt``, ``unsupported_format``, ``too_large`` or ``too_small``.
    """
    if not any(key in dataset for key in _PIXELS):
        raise UnreadableImageError("no_pixels", f"The DICOM object {name} holds no pixel data.")
    if not isinstance(dataset.get("PixelData", b""), bytes):
        raise UnreadableImageError("corrupt", f"The pixel data of {name} are no bytes.")
    if "PixelData" not in dataset:
        raise UnreadableImageError("unsupported_format", f"Expected whole samples in {name}, found real ones.")
    missing = [key for key in _NEEDED if dataset.get(key) is None]
    if missing:
        raise UnreadableImageError("corrupt", f"The DICOM header of {name} lacks {', '.join(missing)}.")
    bits_stored = _whole(dataset, "BitsStored", name)
    promise = Promise(
        rows=_whole(dataset, "Rows", name),
        columns=_whole(dataset, "Columns", name),
        frames=_whole(dataset, "NumberOfFrames", name) if dataset.get("NumberOfFrames") else 1,
        samples=_whole(dataset, "SamplesPerPixel", name),
        bits_allocated=_whole(dataset, "BitsAllocated", name),
        bits_stored=bits_stored,
        high_bit=bits_stored - 1 if dataset.get("HighBit") is None else _whole(dataset, "HighBit", name),
    )
    check_side(promise.columns, promise.rows, name, limits)
    if not 1 <= promise.frames <= limits.max_frames:
        raise UnreadableImageError(
            "too_large", f"Expected 1 to {limits.max_frames} frames in {name}, its header says {promise.frames}."
        )
    _check_samples(promise, name)
    _check_bytes(promise, name, limits)
    return promise


def _check_samples(promise: Promise, name: str) -> None:
    if promise.bits_allocated not in (8, 16) or promise.samples not in (1, 3):
        raise UnreadableImageError(
            "unsupported_format",
            f"Expected 8 or 16 bits and 1 or 3 samples in {name}, "
            f"found {promise.bits_allocated} bits and {promise.samples} samples.",
        )
    if not 1 <= promise.bits_stored <= promise.high_bit + 1 <= promise.bits_allocated:
        raise UnreadableImageError(
            "corrupt",
            f"Expected 1 to {promise.bits_allocated} stored bits in {name}, its header says {promise.bits_stored}, "
            f"the highest being number {promise.high_bit}.",
        )


def _check_bytes(promise: Promise, name: str, limits: ReadLimits) -> None:
    for what, size, limit, setting in (
        ("a frame", promise.frame_bytes, limits.max_frame_mb, "max_frame_mb"),
        ("all frames", promise.frame_bytes * promise.frames, limits.max_clip_mb, "max_clip_mb"),
    ):
        if size > limit * 10**6:
            raise UnreadableImageError(
                "too_large",
                f"Expected {what} of {name} to take at most {limit} MB, its header promises {size / 1e6:.0f} MB.",
                f"Raise {setting}, or leave the file out.",
            )


def _whole(dataset: Dataset, key: str, name: str) -> int:
    """A whole number; text that looks like one was written with the wrong kind of element and is not trusted."""
    value = dataset.get(key)
    if not isinstance(value, int):
        raise UnreadableImageError("corrupt", f"{key} of {name} is no whole number.")
    return int(value)


def _class_name(kind: str) -> str:
    known = UID(kind).name
    return f"'{known}'" if kind and known != kind else "of an unknown object class"


def _modality_name(modality: str) -> str:
    return f"modality {modality}" if _MODALITIES.fullmatch(modality) else "no known modality"
