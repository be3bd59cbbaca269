"""Stored samples of one DICOM frame: transfer syntaxes, decoders and their versions, checks before decoding.

Must not interpret samples: colour spaces, palettes and windows come later. Only transfer syntaxes of a fixed list are
decoded, in a fixed order of decoders, so that the same file gives the same pixels wherever the same are installed.
GDCM's JPEG and JPEG 2000 code aborts the process on some damaged streams (about 4 % of streams with damaged headers);
it is asked for JPEG-LS alone, after the stream's header has been checked. Reference: DICOM PS3.5 8.2 and annex A.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from importlib import metadata

import numpy as np
from jaxtyping import Integer
from PIL import Image, features
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from fibrokd.data.dicom.codestream import declared_size, is_sound_jpeg_ls, run_lengths_fit
from fibrokd.data.dicom.objects import Promise
from fibrokd.errors import UnreadableImageError

_NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian})
_LOSSLESS_JPEG = frozenset({JPEGLossless, JPEGLosslessSV1})
_JPEG_LS = frozenset({JPEGLSLossless, JPEGLSNearLossless})
_J2K = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
_DECODERS: dict[UID, tuple[str, ...]] = {
    RLELossless: ("pydicom",),
    JPEGBaseline8Bit: ("pillow",),
    JPEGExtended12Bit: ("pillow",),
    **dict.fromkeys(_LOSSLESS_JPEG, ("pillow",)),
    **dict.fromkeys(_JPEG_LS, ("pyjpegls", "gdcm")),
    **dict.fromkeys(_J2K, ("pillow", "pylibjpeg")),
}
_EIGHT_BITS_ONLY = _LOSSLESS_JPEG | {JPEGBaseline8Bit, JPEGExtended12Bit}
_LOSSLESS_SINCE = 3  # major version of libjpeg-turbo
_VIDEO = "1.2.840.10008.1.2.4.10"  # .100 … .108: MPEG-2, MPEG-4, HEVC
_PACKAGES = {"gdcm": "python-gdcm", "pylibjpeg": "pylibjpeg-openjpeg"}


@dataclass(frozen=True)
class Samples:
    """Samples of one frame as stored.

    Args:
        values: [H, W] or [H, W, 3] integers.
        photometric: Photometric interpretation of ``values``: a decoder may have undone a transform of the codestream.
        decoder: What decoded them, with its version; ``native`` where nothing was compressed.
    """

    values: np.ndarray
    photometric: str
    decoder: str


def stored_samples(dataset: Dataset, index: int, name: str, promise: Promise) -> Samples:
    """Decode one frame.

    Args:
        dataset: A checked object.
        index: Frame index.
        name: What to call the file in messages.
        promise: What its header promises.

    Raises:
        UnreadableImageError: ``truncated``, ``corrupt`` or ``unsupported_transfer_syntax``.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _NATIVE:
        if len(dataset.PixelData) < get_expected_length(dataset):
            raise UnreadableImageError("truncated", f"{name} holds fewer pixels than its header says.")
        return _decoded(dataset, index, "", name, promise)
    plugins = _available(syntax, promise)
    if not plugins:
        raise _no_decoder(syntax, name, promise.bits_stored)
    stream = checked_codestream(dataset, index, name, promise)
    if syntax in _LOSSLESS_JPEG:
        return _lossless_jpeg(stream, str(dataset.PhotometricInterpretation), index, name)
    for plugin in plugins[:-1]:
        try:
            return _decoded(dataset, index, plugin, name, promise)
        except UnreadableImageError:
            continue  # such as Pillow on 16-bit colour; the last decoder's refusal is the one reported
    return _decoded(dataset, index, plugins[-1], name, promise)


def checked_codestream(dataset: Dataset, index: int, name: str, promise: Promise) -> bytes:
    """Return a compressed frame whose own statement of its size agrees with the header; decoders allocate by it.

    Args:
        dataset: A checked object.
        index: Frame index.
        name: What to call the file in messages.
        promise: What its header promises.

    Raises:
        UnreadableImageError: ``truncated`` or ``corrupt``.
    """
    try:
        stream = get_frame(dataset.PixelData, index, number_of_frames=promise.frames)
    except Exception as error:  # damaged encapsulation
        raise UnreadableImageError(
            "truncated", f"Frame {index} of {name} is not in its pixel data ({type(error).__name__})."
        ) from error
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        segments = promise.samples * promise.bits_allocated // 8
        if not run_lengths_fit(stream, promise.rows * promise.columns, segments):
            raise UnreadableImageError("corrupt", f"The run lengths of frame {index} of {name} do not fit its header.")
        return stream
    found = declared_size(stream)
    if found is None:
        raise UnreadableImageError("corrupt", f"The compressed frame {index} of {name} states no size.")
    expected, stated = (promise.rows, promise.columns, promise.samples), (found.rows, found.columns, found.samples)
    if dataset.file_meta.TransferSyntaxUID in _JPEG_LS and not is_sound_jpeg_ls(stream):
        raise UnreadableImageError("corrupt", f"The JPEG-LS header of frame {index} of {name} is damaged.")
    if stated != expected:
        raise UnreadableImageError(
            "corrupt",
            f"The header of {name} says {expected} rows, columns and samples, its compressed frame {stated}.",
        )
    return stream


@functools.cache
def decoder_name(plugin: str) -> str:
    """Return a decoder with its version, such as ``pillow 12.1``; ``native`` has pydicom's.

    Args:
        plugin: pydicom's name of the decoder; empty for native samples.
    """
    try:
        version = metadata.version(_PACKAGES.get(plugin, plugin or "pydicom"))
    except metadata.PackageNotFoundError:
        version = "of unknown version"  # a build without package metadata, such as a system's GDCM
    return f"{plugin or 'native'} {version}"


def _available(syntax: UID, promise: Promise) -> list[str]:
    """Decoders of a transfer syntax that are installed and can be trusted with it, in order."""
    if syntax not in _DECODERS or (syntax in _EIGHT_BITS_ONLY and promise.bits_stored > 8):
        return []
    if syntax in _LOSSLESS_JPEG:
        turbo = features.version_feature("libjpeg_turbo") or "0"
        return list(_DECODERS[syntax]) if int(turbo.split(".")[0]) >= _LOSSLESS_SINCE else []
    installed = get_decoder(syntax).available_plugins
    return [plugin for plugin in _DECODERS[syntax] if plugin in installed]


def _lossless_jpeg(stream: bytes, photometric: str, index: int, name: str) -> Samples:
    """Decode 8-bit lossless JPEG with Pillow, which pydicom does not know that it can."""
    try:
        with Image.open(io.BytesIO(stream), formats=["JPEG"]) as picture:
            values = np.asarray(picture)
    except MemoryError:
        raise
    except Exception as error:  # its text may quote the file
        raise UnreadableImageError(
            "corrupt", f"Frame {index} of {name} cannot be decoded (pillow: {type(error).__name__})."
        ) from error
    return Samples(values, photometric.strip().upper(), decoder_name("pillow"))


def _decoded(dataset: Dataset, index: int, plugin: str, name: str, promise: Promise) -> Samples:
    syntax = dataset.file_meta.TransferSyntaxUID
    lifted = _is_lifted(dataset, index, promise)
    try:
        values, facts = get_decoder(syntax).as_array(
            dataset,
            index=index,
            decoding_plugin=plugin,
            raw=True,
            correct_unused_bits=not lifted,  # type: ignore[arg-type]  # pydicom annotates one option as all of them
        )
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many classes; their text may quote the file
        raise UnreadableImageError(
            "corrupt", f"Frame {index} of {name} cannot be decoded ({plugin or 'native'}: {type(error).__name__})."
        ) from error
    photometric = str(facts["photometric_interpretation"]).strip().upper()
    samples = np.asarray(values)
    return Samples(_lowered(samples, promise) if lifted else samples, photometric, decoder_name(plugin))


def _is_lifted(dataset: Dataset, index: int, promise: Promise) -> bool:
    """Whether samples come with bits that do not count below those that do (retired layouts).

    Run lengths hold bytes as they were; other codestreams hold numbers, of as many bits as they state.
    """
    if promise.high_bit + 1 == promise.bits_stored:
        return False
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _NATIVE or syntax == RLELossless:
        return True
    found = declared_size(get_frame(dataset.PixelData, index, number_of_frames=promise.frames))
    return found is not None and found.precision > promise.high_bit


def _lowered(samples: Integer[np.ndarray, "*shape"], promise: Promise) -> Integer[np.ndarray, "*shape"]:
    """The bits that count, moved down; what lies above them, such as the planes of an overlay, falls off.

    Signed samples keep their sign: NumPy fills up with it when it shifts right.
    """
    width = 8 * samples.dtype.itemsize
    return (samples << (width - 1 - promise.high_bit)) >> (width - promise.bits_stored)


def _no_decoder(syntax: UID, name: str, bits: int) -> UnreadableImageError:
    known = f"'{syntax.name}'" if syntax.name != syntax else "of an unregistered kind"
    if syntax.startswith(_VIDEO):
        return UnreadableImageError(
            "unsupported_transfer_syntax",
            f"{name} is a video ({known}).",
            "Export the clip as a multi-frame object with JPEG frames, or as single frames.",
        )
    if syntax in _EIGHT_BITS_ONLY and bits > 8:
        return UnreadableImageError(
            "unsupported_transfer_syntax",
            f"{name} holds {bits} bits per sample in {known}; only 8 are read in it.",
            "Export the picture uncompressed, as JPEG 2000, or with 8 bits.",
        )
    return UnreadableImageError(
        "unsupported_transfer_syntax",
        f"No installed decoder reads the DICOM compression {known} of {name}.",
        "Install the extra 'dicom', or export the picture uncompressed or as JPEG.",
    )
