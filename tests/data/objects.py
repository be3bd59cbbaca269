"""DICOM ultrasound objects for the data tests, written with pydicom and GDCM: pixels and header chosen by the test.

Every writer starts from grey levels or colours that the test knows: they are the truth that reading is compared with.
"""

from __future__ import annotations

import functools
import tempfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from fibrokd.phantom.clip import Clip
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from tests.data.sectors import encode

SINGLE, MULTI = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@functools.cache
def phantom_clip(number: int = 7, frames: int = 1, size: int = 256, difficulty: str = "medium") -> list[np.ndarray]:
    """Return frames of a rendered phantom without burned-in text, read-only."""
    clip = Clip(make_patient(number, 1, number % 5, DIFFICULTIES[difficulty]))
    pictures = [clip.frame(index, size, overlay=False) for index in range(frames)]
    for picture in pictures:
        picture.setflags(write=False)
    return pictures


def grey_rgb(picture: np.ndarray) -> np.ndarray:
    """Return a grey picture in three samples."""
    return np.repeat(picture[..., None], 3, 2)


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


def encapsulated(
    streams: Sequence[bytes], size: tuple[int, int], syntax: UID, photometric: str, bits: int = 8
) -> Dataset:
    """Return an object that holds codestreams as they are, one per frame."""
    dataset = make_object(*size, syntax, MULTI if len(streams) > 1 else SINGLE)
    dataset.PhotometricInterpretation = photometric
    if not photometric.startswith(("MONO", "PALETTE")):
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    if bits > 8:
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    if len(streams) > 1:
        dataset.NumberOfFrames = len(streams)
    dataset.PixelData = encapsulate([stream + b"\x00" * (len(stream) % 2) for stream in streams])
    dataset["PixelData"].VR = "OB"
    return dataset


def j2k(picture: np.ndarray, photometric: str, syntax: UID = JPEG2000Lossless, **options: object) -> Dataset:
    """Return a JPEG 2000 object written by Pillow."""
    stream = encode(picture, "JPEG2000", no_jp2=True, **options)
    return encapsulated([stream], picture.shape[:2], syntax, photometric, 16 if picture.dtype.itemsize == 2 else 8)


def transcoded(dataset: Dataset, syntax: UID) -> bytes:
    """Return an uncompressed object recompressed by GDCM: JPEG lossless, JPEG-LS, JPEG 2000, RLE."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        plain.write_bytes(to_bytes(dataset))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        if not reader.Read():
            raise ValueError("GDCM cannot read what pydicom wrote.")
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"GDCM cannot write {syntax.name}.")
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise ValueError("GDCM cannot write.")
        return packed.read_bytes()


def deflated(dataset: Dataset, content: bytes = b"") -> bytes:
    """Return a deflated file; ``content`` stands in for the data set."""
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = to_bytes(dataset)
    inner = content or whole[meta_end(whole) :]
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    whole = to_bytes(dataset)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return whole[: meta_end(whole)] + packer.compress(inner) + packer.flush()


def meta_end(data: bytes) -> int:
    """Return where the data set of a file starts."""
    return 132 + 12 + int.from_bytes(data[140:144], "little")


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
    box: tuple[int, int, int, int],
    data_type: int = 1,
    spacing_cm: tuple[float, float] = (0.05, 0.05),
    spatial_format: int = 1,
    low_priority: bool = False,
) -> Dataset:
    """Return one ultrasound region; ``box`` is (top, left, bottom, right), inclusive as in the standard."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial_format, data_type, 2 + low_priority
    item.RegionLocationMinY0, item.RegionLocationMinX0, item.RegionLocationMaxY1, item.RegionLocationMaxX1 = box
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaY, item.PhysicalDeltaX = spacing_cm
    return item


def to_bytes(dataset: Dataset) -> bytes:
    """Return the file's bytes."""
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
