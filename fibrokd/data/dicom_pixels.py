"""Grey levels of one DICOM frame: transfer syntax, photometric interpretation, look-up tables.

Must not choose frames or judge objects. Reference: DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation), C.11.1
(modality LUT), C.11.2 (VOI LUT). Shape letters: H W frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import RLELossless

from fibrokd.data.dicom_regions import Regions
from fibrokd.data.grey import chroma, from_unit, high_byte, luminance
from fibrokd.errors import UnreadableImageError

# One fixed order, so that the same file gives the same pixels wherever the same decoders are installed.
_DECODERS = ("pillow", "pydicom", "pylibjpeg", "gdcm")
_CHROMA = 20  # |R−G| + |G−B| above which a pixel counts as coloured
_FLOW_SHARE = 0.02  # coloured share of the tissue above which a declared colour-flow picture is no B-mode


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Args:
        pixels: Grey levels, 0 = black.
        decoder: Plugin that decoded it; ``native`` where nothing was compressed.
        notes: What was decided or repaired.
    """

    pixels: UInt8[np.ndarray, "H W"]
    decoder: str
    notes: tuple[str, ...] = ()


def decode_frame(dataset: Dataset, index: int, name: str, regions: Regions) -> Frame:
    """Decode one frame to grey levels.

    Args:
        dataset: A checked object.
        index: Frame index.
        name: What to call the file in messages.
        regions: What the object declares about its areas.

    Raises:
        UnreadableImageError: ``truncated``, ``corrupt``, ``unsupported_transfer_syntax``, ``unsupported_format``
            or ``colour_flow``.
    """
    samples, decoder = _samples(dataset, index, name)
    kind = str(dataset.PhotometricInterpretation).strip().upper()
    notes: list[str] = []
    if kind == "PALETTE COLOR":
        pixels = luminance(_through_palette(samples, dataset, notes))
    elif samples.ndim == 3 and samples.shape[-1] == 3:
        rgb = _repaired(high_byte(samples, int(dataset.BitsStored)), kind, notes)
        pixels = luminance(_checked_colour(rgb, regions, name, notes))
    elif kind in ("MONOCHROME1", "MONOCHROME2") and samples.ndim == 2:
        pixels = _monochrome(samples, dataset)
        pixels = 255 - pixels if kind == "MONOCHROME1" else pixels
    else:
        raise UnreadableImageError("unsupported_format", f"{name} has photometric interpretation {kind[:16]!r}.")
    return Frame(np.ascontiguousarray(pixels), decoder, tuple(notes))


# --------------------------------------------------------------------------- samples
def _samples(dataset: Dataset, index: int, name: str) -> tuple[np.ndarray, str]:
    """Samples of one frame as stored, YBR already converted to RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise _no_decoder(syntax, name) from error
    if not syntax.is_encapsulated:
        if len(dataset.PixelData) < get_expected_length(dataset):
            raise UnreadableImageError("truncated", f"{name} holds fewer pixels than its header says.")
        return _decoded(decoder, dataset, index, "", name), "native"
    _check_codestream(dataset, index, name)
    plugins = [plugin for plugin in _DECODERS if plugin in decoder.available_plugins]
    if not plugins:
        raise _no_decoder(syntax, name)
    for plugin in plugins[:-1]:
        try:
            return _decoded(decoder, dataset, index, plugin, name), plugin
        except UnreadableImageError:
            continue  # such as Pillow on 12-bit JPEG; the last decoder's refusal is the one reported
    return _decoded(decoder, dataset, index, plugins[-1], name), plugins[-1]


def _decoded(decoder: object, dataset: Dataset, index: int, plugin: str, name: str) -> np.ndarray:
    try:
        samples, _ = decoder.as_array(dataset, index=index, decoding_plugin=plugin)  # type: ignore[attr-defined]  # pydicom ships no types
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many classes; their text may quote the file
        raise UnreadableImageError(
            "corrupt", f"Frame {index} of {name} cannot be decoded ({plugin or 'native'}: {type(error).__name__})."
        ) from error
    return np.asarray(samples)


def _no_decoder(syntax: str, name: str) -> UnreadableImageError:
    return UnreadableImageError(
        "unsupported_transfer_syntax",
        f"No installed decoder reads the DICOM compression {syntax} of {name}.",
        "Install the extra 'dicom', or export the picture uncompressed or as JPEG.",
    )


def _check_codestream(dataset: Dataset, index: int, name: str) -> None:
    """Compare the size inside a compressed frame with the header's, before a decoder allocates it."""
    try:
        stream = get_frame(dataset.PixelData, index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    except Exception as error:  # damaged encapsulation
        raise UnreadableImageError(
            "truncated", f"Frame {index} of {name} is not in its pixel data ({type(error).__name__})."
        ) from error
    expected = (int(dataset.Rows), int(dataset.Columns))
    found = codestream_size(stream)
    if found is not None and found != expected:
        raise UnreadableImageError(
            "corrupt", f"The header of {name} says {expected} rows and columns, its compressed frame {found}."
        )
    if found is None and dataset.file_meta.TransferSyntaxUID != RLELossless:
        raise UnreadableImageError("corrupt", f"The compressed frame {index} of {name} states no size.")


def codestream_size(stream: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) that a JPEG, JPEG-LS or JPEG 2000 codestream declares, ``None`` where it does not.

    Reference: ITU-T T.81 B.2.2 (SOF), T.87 C.2.2 (SOF55), T.800 A.5.1 (SIZ).
    """
    if stream[:4] == b"\xff\x4f\xff\x51":
        x1, y1, x0, y0 = (int.from_bytes(stream[at : at + 4], "big") for at in (8, 12, 16, 20))
        return (y1 - y0, x1 - x0)
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(stream[at + 5 : at + 7], "big"), int.from_bytes(stream[at + 7 : at + 9], "big")
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None


# --------------------------------------------------------------------------- colour
def _through_palette(samples: np.ndarray, dataset: Dataset, notes: list[str]) -> UInt8[np.ndarray, "H W 3"]:
    rgb = np.asarray(apply_color_lut(samples, dataset))[..., :3]
    if rgb.dtype == np.uint8:
        return rgb
    if rgb.max() <= 255:  # writers that put 8-bit entries into 16-bit tables
        notes.append("the palette's 16-bit entries hold 8-bit values")
        return rgb.astype(np.uint8)
    return high_byte(rgb, bits=16)


def _repaired(rgb: UInt8[np.ndarray, "H W 3"], kind: str, notes: list[str]) -> UInt8[np.ndarray, "H W 3"]:
    """Undo a wrong photometric interpretation: B-mode is grey, so a picture coloured all over was misread."""
    if np.median(chroma(rgb)) <= _CHROMA:
        return rgb
    to, source = ("RGB", "YBR_FULL") if kind == "RGB" else ("YBR_FULL", "RGB")
    other = np.asarray(convert_color_space(rgb, source, to), dtype=np.uint8)
    if np.median(chroma(other)) > _CHROMA:
        return rgb
    notes.append(f"the photometric interpretation {kind} is wrong: the samples were read the other way")
    return other


def _checked_colour(
    rgb: UInt8[np.ndarray, "H W 3"], regions: Regions, name: str, notes: list[str]
) -> UInt8[np.ndarray, "H W 3"]:
    top, left, bottom, right = regions.tissue or (0, 0, *rgb.shape[:2])
    share = float((chroma(rgb[top:bottom, left:right]) > _CHROMA).mean())
    if share > _FLOW_SHARE:
        if regions.colour_flow:
            raise UnreadableImageError(
                "colour_flow",
                f"{name} declares colour flow and {share:.0%} of its tissue is coloured: Doppler, not B-mode.",
                "Use a B-mode picture of the same view.",
            )
        notes.append(f"{share:.0%} of the pixels are coloured; their luminance was taken")
    return rgb


# --------------------------------------------------------------------------- grey
def _monochrome(samples: np.ndarray, dataset: Dataset) -> UInt8[np.ndarray, "H W"]:
    """8 bits as they are; more bits through modality LUT, then VOI LUT or window, else the high byte."""
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    if bits <= 8 and not signed:
        return high_byte(samples, bits)
    values = np.asarray(apply_modality_lut(samples, dataset))
    if dataset.get("VOILUTSequence"):
        entry = dataset.VOILUTSequence[0].LUTDescriptor[2]
        return high_byte(np.asarray(apply_voi_lut(values.astype(np.int64), dataset)), int(entry))
    if dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        return from_unit(window(values.astype(np.float64), _first(dataset.WindowCenter), _first(dataset.WindowWidth)))
    shifted = samples.astype(np.int64) + (1 << (bits - 1) if signed else 0)
    return high_byte(shifted, bits)


def window(values: Float[np.ndarray, "H W"], center: float, width: float) -> Float[np.ndarray, "H W"]:
    """Return the linear VOI window as shares of the output range (PS3.3 C.11.2.1.2.1); widths below 2 are a step.

    Args:
        values: Values after the modality LUT.
        center: Window center.
        width: Window width.
    """
    return np.clip((values - (center - 0.5)) / max(width - 1.0, 1e-6) + 0.5, 0.0, 1.0)


def _first(value: object) -> float:
    return float(value[0] if isinstance(value, list | tuple) or hasattr(value, "__iter__") else value)  # type: ignore[arg-type, index]  # pydicom ships no types
