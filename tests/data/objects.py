"""DICOM ultrasound objects for the data tests, written with pydicom: pixels and header chosen by the test."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit

from tests.data.sectors import encode

SINGLE, MULTI = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"


def make_object(height: int, width: int, syntax: UID = ExplicitVRLittleEndian, kind: str = SINGLE) -> Dataset:
    """Return an ultrasound object without pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = (
        UID(kind),
        UID("1.2.3"),
        syntax,
    )
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality = "US"
    dataset.PatientID, dataset.StudyInstanceUID = "CASE-0042", "1.2.3.4"
    dataset.Manufacturer, dataset.ManufacturerModelName = "Synthetic", "One"
    dataset.Rows, dataset.Columns = height, width
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    return dataset


def monochrome(picture: np.ndarray, **header: object) -> Dataset:
    """Return an uncompressed one-sample object; 16 bits where the picture has them."""
    dataset = make_object(*picture.shape)
    if picture.dtype.itemsize == 2:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    for key, value in header.items():
        setattr(dataset, key, value)
    dataset.PixelData = picture.tobytes()
    dataset["PixelData"].VR = "OW" if picture.dtype.itemsize == 2 else "OB"
    return dataset


def colour(rgb: np.ndarray, planar: int, kind: str = "RGB") -> Dataset:
    """Return an uncompressed three-sample object."""
    dataset = make_object(*rgb.shape[:2])
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, kind, planar
    dataset.PixelData = (rgb.transpose(2, 0, 1) if planar else rgb).tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def palette(indices: np.ndarray, table: np.ndarray) -> Dataset:
    """Return a PALETTE COLOR object; ``table`` holds 256 16-bit entries."""
    dataset = monochrome(indices, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", table.astype("<u2").tobytes())
    return dataset


def jpeg_cine(frames: list[np.ndarray], header_size: tuple[int, int] | None = None) -> Dataset:
    """Return a JPEG baseline YBR_FULL_422 multi-frame object."""
    dataset = make_object(*(header_size or frames[0].shape), JPEGBaseline8Bit, MULTI)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "YBR_FULL_422", 0
    dataset.NumberOfFrames = len(frames)
    streams = [encode(np.repeat(f[..., None], 3, 2), "JPEG", quality=90, subsampling="4:2:2") for f in frames]
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].VR = "OB"
    return dataset


def region(
    box: tuple[int, int, int, int], data_type: int = 1, spacing_cm: tuple[float, float] = (0.05, 0.05)
) -> Dataset:
    """Return one ultrasound region; ``box`` is (top, left, bottom, right), inclusive as in the standard."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, data_type, 2
    item.RegionLocationMinY0, item.RegionLocationMinX0, item.RegionLocationMaxY1, item.RegionLocationMaxX1 = box
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaY, item.PhysicalDeltaX = spacing_cm
    return item


def to_bytes(dataset: Dataset) -> bytes:
    """Return the file's bytes."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
