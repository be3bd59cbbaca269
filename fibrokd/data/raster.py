"""Decodes PNG, JPEG, BMP and TIFF with Pillow, header checks first. Called by ``reading`` only.

Shape letters: H W picture.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from fibrokd.data.grey import colour_share, from_unit, high_byte, luminance, over_black
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import ReadLimits
from fibrokd.errors import UnreadableImageError

_PLAIN = {"1", "L"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_COLOUR = {"RGB", "RGBX", "CMYK", "YCbCr", "P"}
_WHOLE = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


def decode_raster(
    data: bytes,
    format: str,  # noqa: A002 - the field's name in UltrasoundImage
    name: str,
    limits: ReadLimits,
) -> tuple[UltrasoundImage, list[str]]:
    """Decode one picture; of an animated or paged file the first frame.

    Args:
        data: The file's bytes.
        format: Format decided by the content; no other Pillow plugin gets to see the bytes.
        name: What to call the file in messages.
        limits: Checked on the header.

    Returns:
        The picture, upright (EXIF orientation applied), and notes.

    Raises:
        UnreadableImageError: ``too_large``, ``too_small``, ``truncated``, ``corrupt`` or ``unsupported_format``.
    """
    notes: list[str] = []
    try:
        with Image.open(io.BytesIO(data), formats=[format]) as picture:
            check_side(*picture.size, name, limits)
            count = int(getattr(picture, "n_frames", 1))
            if count > 1:
                notes.append(f"only the first of {count} frames was read")
            picture.load()
            upright = _upright(picture, notes)
            pixels = _grey_levels(upright, name, notes)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("too_large", f"{name} declares more pixels than any ultrasound screen.") from error
    except (OSError, SyntaxError, EOFError, ValueError, struct.error, IndexError, KeyError, TypeError) as error:
        raise _refusal(error, name, format) from error
    return UltrasoundImage(pixels=pixels, format=format), notes


def check_side(width: int, height: int, name: str, limits: ReadLimits) -> None:
    """Refuse a picture by the size its header declares.

    Raises:
        UnreadableImageError: ``too_large`` or ``too_small``.
    """
    if max(width, height) > limits.max_side_px:
        raise UnreadableImageError(
            "too_large",
            f"Expected sides of at most {limits.max_side_px} px in {name}, found {width} × {height}.",
            "Raise max_side_px, or leave the file out.",
        )
    if min(width, height) < limits.min_side_px:
        raise UnreadableImageError(
            "too_small", f"Expected sides of at least {limits.min_side_px} px in {name}, found {width} × {height}."
        )


def _upright(picture: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error, OverflowError):
        notes.append("the EXIF block is damaged: its orientation was not applied")
        return picture


def _grey_levels(picture: Image.Image, name: str, notes: list[str]) -> UInt8[np.ndarray, "H W"]:
    mode = picture.mode
    if mode in _PLAIN:
        return np.array(picture.convert("L"), dtype=np.uint8)
    if mode in _ALPHA or (mode == "P" and "transparency" in picture.info):
        layers = np.array(picture.convert("RGBA"), dtype=np.uint8)
        return over_black(_from_colour(layers[..., :3], notes), layers[..., 3])
    if mode in _COLOUR:
        return _from_colour(np.array(picture.convert("RGB"), dtype=np.uint8), notes)
    if mode in _WHOLE:
        return _from_whole(np.array(picture), name)
    if mode == "F":
        return _from_real(np.array(picture, dtype=np.float64), name)
    raise UnreadableImageError("unsupported_format", f"Expected grey or colour samples in {name}, found mode {mode}.")


def _from_colour(rgb: UInt8[np.ndarray, "H W 3"], notes: list[str]) -> UInt8[np.ndarray, "H W"]:
    share = colour_share(rgb)
    if share > 0.02:
        notes.append(f"{share:.0%} of the pixels are coloured; their luminance was taken")
    return luminance(rgb)


def _from_whole(samples: np.ndarray, name: str) -> UInt8[np.ndarray, "H W"]:
    """Whole numbers of more than 8 bits: the full 16-bit range is meant, whatever part of it the picture uses."""
    if samples.min() < 0 or samples.max() > 0xFFFF:
        raise UnreadableImageError(
            "unsupported_format", f"Expected samples of 16 bits in {name}, found {samples.min()} … {samples.max()}."
        )
    return high_byte(samples, bits=16)


def _from_real(samples: np.ndarray, name: str) -> UInt8[np.ndarray, "H W"]:
    """Real numbers: 0 … 1, or 0 … 255 when any exceeds 1; anything else has no known meaning."""
    if not np.isfinite(samples).all() or samples.min() < 0 or samples.max() > 255:
        raise UnreadableImageError(
            "unsupported_format", f"Expected real samples within 0 … 1 or 0 … 255 in {name}, found others or NaN."
        )
    return from_unit(samples if samples.max() <= 1 else samples / 255.0)


def _refusal(error: Exception, name: str, format: str) -> UnreadableImageError:  # noqa: A002
    text = str(error).lower()
    if "truncated" in text or "unexpected end" in text or isinstance(error, EOFError):
        return UnreadableImageError("truncated", f"{name} ends before its {format} picture does.")
    if isinstance(error, UnidentifiedImageError) or "unsupported" in text:
        reason = "corrupt" if isinstance(error, UnidentifiedImageError) else "unsupported_format"
        return UnreadableImageError(reason, f"{name} starts like {format}, but its header cannot be used.")
    return UnreadableImageError("corrupt", f"{name} is a damaged {format} file ({type(error).__name__}).")
