"""Phantom frames as DICOM ultrasound objects: single frames (MONOCHROME2 or RGB) and JPEG cines (YBR_FULL_422).

Objects carry what a real export does: identity, device, burned-in annotation, calibrated ultrasound region (PS3.3
C.8.5.5; centimetres per pixel). UIDs are derived from the cohort's identity, so equal cohorts are equal files. Owns
writing only; the product's DICOM reader is elsewhere and shares no code with this, so that each can check the other.

Shape letters: S side of the image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from fibrokd.phantom.geometry import screen
from fibrokd.phantom.patients import Patient, scanner_of

FRAME_TIME_MS = 50.0
"""Time between the frames of a cine: 20 frames per second."""

_CENTIMETRES = 3
_TWO_DIMENSIONAL, _TISSUE = 1, 1
_FRAME_TIME = Tag(0x0018, 0x1063)


@dataclass(frozen=True)
class Source:
    """Where an object comes from.

    Args:
        cohort: Digest of the cohort's identity; part of every UID.
        patient: Whose examination.
        clip: Clip number: one series each.
        frame: Frame number: one instance each.
        overlay: Text is burned in.
    """

    cohort: str
    patient: Patient
    clip: int
    frame: int
    overlay: bool


def single_frame(image: UInt8[np.ndarray, "S S"], source: Source) -> bytes:
    """Return one frame as an Ultrasound Image object: RGB where the scanner exports colour, else MONOCHROME2.

    Args:
        image: Rendered frame.
        source: Where it comes from.
    """
    dataset = _base(image.shape[0], source, UltrasoundImageStorage, ExplicitVRLittleEndian)
    if scanner_of(source.patient).exports_rgb:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        pixels = np.repeat(image[..., None], 3, axis=2).tobytes()
    else:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        pixels = image.tobytes()
    dataset.PixelData = pixels + b"\x00" * (len(pixels) % 2)
    dataset["PixelData"].VR = "OB"
    return _encoded(dataset)


def cine(frames: Sequence[UInt8[np.ndarray, "S S"]], source: Source, quality: int) -> bytes:
    """Return the frames of a clip as an Ultrasound Multi-frame Image object, JPEG baseline in YBR_FULL_422.

    Args:
        frames: Rendered frames, in order.
        source: Where they come from.
        quality: JPEG quality.
    """
    dataset = _base(frames[0].shape[0], source, UltrasoundMultiFrameImageStorage, JPEGBaseline8Bit)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
    dataset.NumberOfFrames = len(frames)
    dataset.FrameTime, dataset.FrameIncrementPointer = FRAME_TIME_MS, _FRAME_TIME
    encoded = [_jpeg(frame, quality) for frame in frames]
    ratio = sum(3 * frame.size for frame in frames) / sum(len(data) for data in encoded)
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.LossyImageCompressionRatio = round(ratio, 2)
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    return _encoded(dataset)


def _base(size: int, source: Source, sop_class: UID, syntax: UID) -> Dataset:
    """Everything but the pixels."""
    patient, scanner = source.patient, scanner_of(source.patient)
    who, clip = str(patient.number), str(source.clip)
    instance = _uid(source, "instance", who, clip, str(source.frame))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, instance
    meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, instance
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    dataset.PatientID, dataset.PatientName = f"PHANTOM{patient.number:05d}", "Phantom^Synthetic"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.StudyInstanceUID = _uid(source, "study", who)
    dataset.SeriesInstanceUID = _uid(source, "series", who, clip)
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260101", "101500", "1"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.PatientOrientation = ""
    dataset.Modality = "US"
    dataset.SeriesNumber, dataset.InstanceNumber = source.clip + 1, source.frame + 1
    dataset.Manufacturer, dataset.ManufacturerModelName = scanner.name, "SYN-1"
    dataset.InstitutionName = scanner.site
    dataset.Rows = dataset.Columns = size
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.BurnedInAnnotation = "YES" if source.overlay else "NO"
    dataset.SequenceOfUltrasoundRegions = [_region(size, patient)]
    return dataset


def _region(size: int, patient: Patient) -> Dataset:
    """The calibrated B-mode region: the box of the fan."""
    place = screen(scanner_of(patient), size)
    rows, columns = np.flatnonzero(place.fan.any(axis=1)), np.flatnonzero(place.fan.any(axis=0))
    vertical, horizontal = place.pixels_per_mm
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = _TWO_DIMENSIONAL, _TISSUE, 2
    region.RegionLocationMinX0, region.RegionLocationMaxX1 = int(columns[0]), int(columns[-1])
    region.RegionLocationMinY0, region.RegionLocationMaxY1 = int(rows[0]), int(rows[-1])
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = _CENTIMETRES
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.1 / horizontal, 0.1 / vertical
    return region


def _uid(source: Source, *key: str) -> UID:
    return generate_uid(entropy_srcs=["fibrokd phantom", source.cohort, *key])


def _jpeg(image: UInt8[np.ndarray, "S S"], quality: int) -> bytes:
    stream = io.BytesIO()
    colour = Image.fromarray(np.repeat(image[..., None], 3, axis=2))
    colour.save(stream, "JPEG", quality=quality, subsampling="4:2:2")
    return stream.getvalue()


def _encoded(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
