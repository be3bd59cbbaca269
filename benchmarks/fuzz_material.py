"""Sound files of every kind that can be written here, and ways to damage them: what ``fuzz_readers`` reads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from fibrokd.phantom.cohort import render_case

Random = np.random.Generator
Mutation = Callable[[bytearray, bytes, Random], bytearray]

_HEADER = 600  # bytes: where most headers end
_LIES = (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\xff\xff")
_ULTRASOUND, _CINE = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"


# --------------------------------------------------------------------------- whole files
def whole_files() -> dict[str, bytes]:
    """Return one small, sound file of every kind that can be written here, by name of the kind."""
    grey = render_case(0, 0, 2, 96, "medium")
    return {**_pictures(grey), **_objects(grey)}


def _pictures(grey: UInt8[np.ndarray, "H W"]) -> dict[str, bytes]:
    picture = Image.fromarray(grey)
    deep = Image.fromarray(grey.astype(np.uint16) * np.uint16(256))
    real = Image.fromarray(grey.astype(np.float32))
    colour = picture.convert("RGB")
    return {
        "png": _encoded(picture, "PNG"),
        "png_rgba": _encoded(colour.convert("RGBA"), "PNG"),
        "png_palette": _encoded(picture.convert("P"), "PNG", transparency=3),
        "png_16": _encoded(deep, "PNG"),
        "png_animated": _encoded(picture, "PNG", save_all=True, append_images=[picture.rotate(9), picture.rotate(5)]),
        "jpeg": _encoded(picture, "JPEG", quality=90),
        "jpeg_progressive": _encoded(colour, "JPEG", quality=80, progressive=True),
        "jpeg_cmyk": _encoded(colour.convert("CMYK"), "JPEG"),
        "tiff": _encoded(picture, "TIFF"),
        "tiff_lzw": _encoded(colour, "TIFF", compression="tiff_lzw"),
        "tiff_deflate": _encoded(deep, "TIFF", compression="tiff_adobe_deflate"),
        "tiff_jpeg": _encoded(colour, "TIFF", compression="jpeg"),
        "tiff_real": _encoded(real, "TIFF"),
        "tiff_pages": _encoded(picture, "TIFF", save_all=True, append_images=[picture, picture]),
        "bmp": _encoded(picture, "BMP"),
        "bmp_rgb": _encoded(colour, "BMP"),
    }


def _encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _objects(grey: UInt8[np.ndarray, "H W"]) -> dict[str, bytes]:
    """DICOM objects in every transfer syntax for which an encoder is installed."""
    found = {
        f"dicom_{name}": _saved(_native(grey, syntax))
        for name, syntax in (
            ("explicit", ExplicitVRLittleEndian),
            ("implicit", ImplicitVRLittleEndian),
            ("big_endian", ExplicitVRBigEndian),
            ("deflated", DeflatedExplicitVRLittleEndian),
        )
    }
    for name, syntax in (("rle", RLELossless), ("jpeg2000", JPEG2000Lossless)):
        dataset = _native(grey, ExplicitVRLittleEndian)
        dataset.compress(syntax, generate_instance_uid=False)
        found[f"dicom_{name}"] = _saved(dataset)
    found["dicom_palette"] = _saved(_palette(grey))
    found["dicom_cine"] = _saved(_cine([np.roll(grey, 3 * k, axis=1) for k in range(5)]))
    return found | _by_gdcm(found["dicom_explicit"])


def _native(grey: UInt8[np.ndarray, "H W"], syntax: UID, kind: str = _ULTRASOUND) -> Dataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(kind), UID("1.2.3")
    meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientID, dataset.StudyInstanceUID = "US", "CASE-1", "1.2.3.4"
    dataset.Rows, dataset.Columns = grey.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 2
    item.RegionLocationMinX0, item.RegionLocationMinY0 = 0, 0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = grey.shape[1] - 1, grey.shape[0] - 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.1  # without them GDCM, which compresses some kinds, aborts
    dataset.SequenceOfUltrasoundRegions = [item]
    dataset.PixelData = grey.tobytes()
    dataset["PixelData"].VR = "OB"
    return dataset


def _palette(grey: UInt8[np.ndarray, "H W"]) -> Dataset:
    dataset = _native(grey, ExplicitVRLittleEndian)
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", (np.arange(256) * 257).astype("<u2").tobytes())
    return dataset


def _cine(frames: list[UInt8[np.ndarray, "H W"]]) -> Dataset:
    dataset = _native(frames[0], JPEGBaseline8Bit, _CINE)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = encapsulate([_encoded(Image.fromarray(frame), "JPEG") for frame in frames])
    return dataset


def _saved(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _by_gdcm(explicit: bytes) -> dict[str, bytes]:
    """Compressions that only GDCM writes; none where it is not installed."""
    try:
        import gdcm
    except ImportError:
        return {}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.dcm"), Path(folder, "b.dcm")
        source.write_bytes(explicit)
        for name, syntax in (
            ("jpeg_lossless", gdcm.TransferSyntax.JPEGLosslessProcess14_1),
            ("jpeg_ls", gdcm.TransferSyntax.JPEGLSLossless),
        ):
            reader = gdcm.ImageReader()
            reader.SetFileName(str(source))
            change = gdcm.ImageChangeTransferSyntax()
            change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
            if not reader.Read():
                continue
            change.SetInput(reader.GetImage())
            if not change.Change():
                continue
            writer = gdcm.ImageWriter()
            writer.SetFileName(str(target))
            writer.SetFile(reader.GetFile())
            writer.SetImage(change.GetOutput())
            if writer.Write():
                found[f"dicom_{name}"] = target.read_bytes()
    return found


# --------------------------------------------------------------------------- damage
def flip_bits(data: bytearray, _other: bytes, random: Random) -> bytearray:
    """Flip 1 … 16 bits anywhere."""
    for at in random.integers(0, len(data), random.integers(1, 17)):
        data[at] ^= 1 << int(random.integers(8))
    return data


def flip_header_bits(data: bytearray, _other: bytes, random: Random) -> bytearray:
    """Flip 1 … 4 bits near the start."""
    for at in random.integers(0, min(len(data), _HEADER), random.integers(1, 5)):
        data[at] ^= 1 << int(random.integers(8))
    return data


def cut_end(data: bytearray, _other: bytes, random: Random) -> bytearray:
    """Keep a first part only."""
    return data[: int(random.integers(0, len(data)))]


def cut_middle(data: bytearray, _other: bytes, random: Random) -> bytearray:
    """Take a piece out."""
    start = int(random.integers(0, len(data)))
    return data[:start] + data[start + int(random.integers(1, 2000)) :]


def splice(data: bytearray, other: bytes, random: Random) -> bytearray:
    """Put a piece of another file in."""
    start, begin = int(random.integers(0, len(data))), int(random.integers(0, len(other)))
    piece = other[begin : begin + int(random.integers(1, 3000))]
    return data[:start] + piece + data[start + len(piece) * int(random.integers(0, 2)) :]


def repeat(data: bytearray, _other: bytes, random: Random) -> bytearray:
    """Say a piece again and again."""
    start = int(random.integers(0, len(data)))
    piece = data[start : start + int(random.integers(1, 200))]
    return data[:start] + piece * int(random.integers(2, 200)) + data[start:]


def edit_field(data: bytearray, _other: bytes, random: Random) -> bytearray:
    """Replace one or two bytes of a header by another number."""
    at = int(random.integers(0, min(len(data), _HEADER)))
    data[at : at + 2] = random.integers(0, 256, int(random.integers(1, 3)), dtype=np.uint8).tobytes()
    return data


def lie_about_length(data: bytearray, _other: bytes, random: Random) -> bytearray:
    """Replace two or four bytes, anywhere but mostly in the header, by an extreme number."""
    at = int(random.integers(0, len(data) if random.random() < 0.3 else min(len(data), _HEADER)))
    lie = _LIES[int(random.integers(len(_LIES)))][: 2 + 2 * int(random.integers(2))]
    data[at : at + len(lie)] = lie
    return data


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_header_bits,
    cut_end,
    cut_middle,
    splice,
    repeat,
    edit_field,
    lie_about_length,
)


def damaged(whole: Mapping[str, bytes], files: int, seed: int) -> dict[str, bytes]:
    """Return damaged files by name; every kind of file and of damage occurs equally often.

    Args:
        whole: Sound files by kind.
        files: How many to make.
        seed: Of the damage; file k does not depend on how many are made.
    """
    kinds = sorted(whole)
    made = {}
    for number in range(files):
        random = np.random.default_rng([seed, number])
        kind = kinds[number % len(kinds)]
        other = whole[kinds[int(random.integers(len(kinds)))]]
        data = bytearray(whole[kind])
        first = MUTATIONS[(number // len(kinds)) % len(MUTATIONS)]
        again = [MUTATIONS[int(random.integers(len(MUTATIONS)))]] * int(random.integers(0, 2))
        for mutation in (first, *again):
            data = mutation(data, other, random) if data else data
        made[f"{number:06d}_{kind}_{first.__name__}"] = bytes(data)
    return made
