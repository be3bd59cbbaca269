"""Grey levels of one DICOM frame: samples → colour space or palette → grey → what is no tissue set to 0.

Wiring of ``decoders``, ``levels``, ``palette``, ``colour`` and ``text``. Must not choose
frames or judge objects. Shape letters: H W frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset

from fibrokd.data.dicom.colour import Tissue, put_right, without_colour
from fibrokd.data.dicom.decoders import Samples, stored_samples
from fibrokd.data.dicom.levels import grey_levels
from fibrokd.data.dicom.objects import Promise
from fibrokd.data.dicom.palette import through_palette
from fibrokd.data.dicom.regions import Regions
from fibrokd.data.dicom.text import without_text
from fibrokd.data.grey import high_byte
from fibrokd.data.limits import ReadLimits
from fibrokd.errors import UnreadableImageError

_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_REFUSED = ("YBR_PARTIAL_420", "YBR_PARTIAL_422", "HSV", "ARGB", "CMYK", "XYB")


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Args:
        pixels: Grey levels, 0 = black.
        decoder: Plugin that decoded it, with its version; ``native`` where nothing was compressed.
        notes: What was decided or repaired.
    """

    pixels: UInt8[np.ndarray, "H W"]
    decoder: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A checked object, ready to be decoded frame by frame.

    Args:
        dataset: The object.
        name: What to call the file in messages.
        promise: What its header promises.
        regions: What it declares about its areas.
        limits: How much of the tissue colour may hide.
    """

    dataset: Dataset
    name: str
    promise: Promise
    regions: Regions
    limits: ReadLimits


def check_photometric(dataset: Dataset, name: str) -> None:
    """Refuse colour spaces that are not read, before anything is decoded.

    Args:
        dataset: The object.
        name: What to call the file in messages.

    Raises:
        UnreadableImageError: ``unsupported_format``.
    """
    kind = str(dataset.PhotometricInterpretation).strip().upper()
    grey = kind in (*_GREY, _PALETTE)
    if (grey and dataset.SamplesPerPixel == 1) or (kind in _COLOUR and dataset.SamplesPerPixel == 3):
        return
    known = kind if kind in (*_GREY, _PALETTE, *_COLOUR, *_REFUSED) else "of an unknown kind"
    raise UnreadableImageError(
        "unsupported_format",
        f"{name} has photometric interpretation {known} with {int(dataset.SamplesPerPixel)} samples per pixel.",
        "Export it as MONOCHROME2, RGB or YBR_FULL_422.",
    )


def decode_frame(source: Source, index: int) -> Frame:
    """Decode one frame to grey levels.

    Args:
        source: The object.
        index: Frame index.

    Raises:
        UnreadableImageError: ``truncated``, ``corrupt``, ``unsupported_transfer_syntax``, ``unsupported_format``
            or ``colour_flow``.
    """
    samples = stored_samples(source.dataset, index, source.name, source.promise)
    tissue, notes = Tissue(source.regions), list[str]()
    pixels = without_text(_grey(samples, source, tissue, notes), tissue, notes)
    return Frame(np.ascontiguousarray(pixels), samples.decoder, tuple(notes))


def _grey(samples: Samples, source: Source, tissue: Tissue, notes: list[str]) -> UInt8[np.ndarray, "H W"]:
    kind = str(source.dataset.PhotometricInterpretation).strip().upper()
    if kind in _GREY:
        with _tables_named(source.name):
            return grey_levels(samples.values, source.dataset, notes)
    if kind == _PALETTE:
        with _tables_named(source.name):
            rgb = through_palette(samples.values, source.dataset, notes)
    else:
        stored = high_byte(samples.values, int(source.dataset.BitsStored))
        rgb = put_right(stored, samples.photometric, source.regions, notes)
    return without_colour(rgb, tissue, source.limits.max_colour_share, notes)


@contextmanager
def _tables_named(name: str) -> Iterator[None]:
    """Turn whatever look-up tables of the wrong kind or length raise into a refusal."""
    try:
        yield
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # its text may quote the header
        raise UnreadableImageError(
            "corrupt", f"The look-up tables of {name} cannot be used ({type(error).__name__})."
        ) from error
