"""DICOM ultrasound: from the bytes of an object to B-mode frames. Called by ``reading`` only; wiring.

Opening is ``file``, what is accepted ``objects``, areas ``regions``, pixels ``pixels``, frames
of a cine ``cine``, keys ``identity_keys``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset

from fibrokd.data.devices import stated_device
from fibrokd.data.dicom.cine import Clip, choose_frames
from fibrokd.data.dicom.file import looks_like_dicom, open_object
from fibrokd.data.dicom.identity_keys import identity_of
from fibrokd.data.dicom.objects import check_header, check_object
from fibrokd.data.dicom.pixels import Source, check_photometric, decode_frame
from fibrokd.data.dicom.regions import Box, Part, Regions, read_regions
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.errors import UnreadableImageError

__all__ = ["decode_dicom", "looks_like_dicom"]


@dataclass(frozen=True)
class _About:
    """What every picture of an object shares."""

    patient: str | None
    study: str | None
    device: str | None
    mode: str

    @classmethod
    def of(cls, dataset: Dataset) -> _About:
        identity = identity_of(dataset)
        mode = str(dataset.get("PhotometricInterpretation") or "").strip().upper()[:16]
        manufacturer, model = (str(dataset.get(key) or "") for key in ("Manufacturer", "ManufacturerModelName"))
        return cls(identity.patient_key, identity.study_key, stated_device(manufacturer, model) or None, mode)


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
        One picture per frame taken and tissue region, in order, and notes.

    Raises:
        UnreadableImageError: With a reason of ``reading.REASONS``.
    """
    dataset = open_object(data, name, limits)
    with _damage_named(name):
        check_object(dataset, name, limits)
        promise = check_header(dataset, name, limits)
        check_photometric(dataset, name)
        regions = read_regions(dataset, promise.rows, promise.columns)
        about = _About.of(dataset)
    source = Source(dataset, name, promise, regions, limits)
    clip = Clip(lambda index: decode_frame(source, index), lambda pixels: _tissues(pixels, regions))
    taken, left_out = choose_frames(promise.frames, frames, clip)
    notes = [*regions.notes, *left_out]
    notes += [note for _, frame in taken for note in frame.notes]
    images = [image for index, frame in taken for image in _images(frame.pixels, index, frame.decoder, regions, about)]
    return images, list(dict.fromkeys(notes))


def _images(
    pixels: UInt8[np.ndarray, "H W"], index: int, decoder: str, regions: Regions, about: _About
) -> Iterator[UltrasoundImage]:
    """One picture per tissue region, or the whole frame where none is declared."""
    for number, part in enumerate(regions.parts or (None,)):
        yield UltrasoundImage(
            pixels=pixels if part is None else _alone(pixels, part, regions.parts),
            format="DICOM",
            frame=index,
            spacing_mm=part.spacing_mm if part else regions.spacing_mm,
            patient=about.patient,
            study=about.study,
            device=about.device,
            tissue=part.box if part else None,
            decoder=f"pydicom/{decoder}",
            part=number,
            mode=about.mode,
        )


def _tissues(pixels: UInt8[np.ndarray, "H W"], regions: Regions) -> list[np.ndarray]:
    """What every picture of a frame shows, [h, w] each: its tissue region; the whole frame where none is declared."""
    return [_alone(pixels, part, regions.parts)[_slices(part.box)] for part in regions.parts] or [pixels]


def _alone(pixels: UInt8[np.ndarray, "H W"], part: Part, parts: tuple[Part, ...]) -> UInt8[np.ndarray, "H W"]:
    """The frame with what covers a tissue region, and the other tissue regions, set to 0."""
    if len(parts) == 1 and not part.holes:
        return pixels
    alone = pixels.copy()
    own = alone[_slices(part.box)].copy()
    for other in parts:
        alone[_slices(other.box)] = 0
    alone[_slices(part.box)] = own
    for hole in part.holes:
        alone[_slices(hole)] = 0
    return alone


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box[0], box[2]), slice(box[1], box[3])


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turn whatever a damaged header element raises when it is looked at into a refusal."""
    try:
        yield
    except (UnreadableImageError, MemoryError):
        raise
    except Exception as error:  # their text may quote the header
        raise UnreadableImageError(
            "corrupt", f"The DICOM header of {name} is damaged ({type(error).__name__})."
        ) from error
