"""Decodes PNG, JPEG, BMP and TIFF with Pillow, header checks first. Called by ``reading`` only.

How samples become grey levels, whatever the picture uses of their range: 1 bit → 0 or 255; 12 or 16 bits → the upper 8;
real numbers → 0 … 1 or 0 … 255; colour, palettes and CMYK → luminance; transparency → over black.
Shape letters: H W picture.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops, ImageOps, TiffImagePlugin, UnidentifiedImageError

from fibrokd.data.grey import from_unit, high_byte, over_black
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.limits import ReadLimits
from fibrokd.errors import UnreadableImageError
from fibrokd.files import digest_json

_PLAIN = {"1", "L"}
_ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
_COLOUR = {"RGB", "RGBX", "CMYK", "YCbCr", "P"}
_KEYED = _PLAIN | {"RGB", "P"}  # modes in which a PNG may declare one level or entry transparent
_ORIENTATION = 0x0112
_BAND_ROWS = 256  # deep samples are converted in bands: a whole picture would need 20 bytes per pixel
_COLOURED = 21  # |R−G| + |G−B| from which a pixel counts as coloured; see ``grey.chroma``
_WHOLE = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF 6.0 section 8
_WHITE_IS_ZERO = 0


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
            mode, tables = picture.mode, _jpeg_tables(picture)
            scale = _Scale.of(picture)
            upright = _upright(picture, notes)
            pixels = _grey_levels(upright, scale, name, notes)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("too_large", f"{name} declares more pixels than any ultrasound screen.") from error
    except (OSError, SyntaxError, EOFError, ValueError, struct.error, IndexError, KeyError, TypeError) as error:
        raise _refusal(error, name, format) from error
    return UltrasoundImage(pixels=pixels, format=format, mode=mode, jpeg_tables=tables), notes


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


@dataclass(frozen=True)
class _Scale:
    """What deep samples mean, as far as Pillow leaves it to whoever reads them.

    Args:
        bits: Bits of a sample that count.
        inverted: The highest value is black.
    """

    bits: int = 16
    inverted: bool = False

    @classmethod
    def of(cls, picture: Image.Image) -> _Scale:
        """Of a picture as opened: once it is turned upright, its tags are gone."""
        if not isinstance(picture, TiffImagePlugin.TiffImageFile):
            return cls()
        tags = picture.tag_v2
        bits = tags.get(_BITS_PER_SAMPLE) or (16,)
        return cls(min(int(bits[0]), 16), tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def _jpeg_tables(picture: Image.Image) -> str:
    """Which encoder at which quality: a digest of the quantisation tables; empty where there are none."""
    tables: dict[int, list[int]] = getattr(picture, "quantization", None) or {}
    return digest_json({str(number): list(table) for number, table in tables.items()})[:8] if tables else ""


def _upright(picture: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture) if picture.getexif().get(_ORIENTATION, 1) != 1 else picture
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error, OverflowError):
        notes.append("the EXIF block is damaged: its orientation was not applied")
        return picture


def _grey_levels(picture: Image.Image, scale: _Scale, name: str, notes: list[str]) -> UInt8[np.ndarray, "H W"]:
    mode = picture.mode
    see_through = mode in _ALPHA or (mode in _KEYED and "transparency" in picture.info)
    if mode in _PLAIN and not see_through:
        return np.array(picture.convert("L"), dtype=np.uint8)
    if see_through or mode in _COLOUR:
        return _from_colour(picture, "RGBA" if see_through else "RGB", notes)
    if mode in _WHOLE:
        return _from_whole(np.array(picture), scale, name)
    if mode == "F":
        levels = _from_real(np.array(picture), name)
        return 255 - levels if scale.inverted else levels
    raise UnreadableImageError("unsupported_format", f"Expected grey or colour samples in {name}, found mode {mode}.")


def _from_colour(picture: Image.Image, mode: str, notes: list[str]) -> UInt8[np.ndarray, "H W"]:
    """Luminance over black; Pillow's luminance is that of ``grey``, in a fifth of the time and the memory."""
    layers = picture.convert(mode)
    level = layers.convert("RGB").convert("L")
    red, green, blue = (layers.getchannel(number) for number in range(3))
    chroma = ImageChops.add(ImageChops.difference(red, green), ImageChops.difference(green, blue))
    share = sum(chroma.histogram()[_COLOURED:]) / (chroma.width * chroma.height)
    if share > 0.02:
        notes.append(f"{share:.0%} of the pixels are coloured; their luminance was taken")
    grey = np.array(level, dtype=np.uint8)
    return over_black(grey, np.asarray(layers.getchannel("A"))) if mode == "RGBA" else grey


def _from_whole(samples: np.ndarray, scale: _Scale, name: str) -> UInt8[np.ndarray, "H W"]:
    """Whole numbers of more than 8 bits: their full range is meant, whatever part of it the picture uses."""
    if samples.min() < 0 or samples.max() > 0xFFFF:
        raise UnreadableImageError(
            "unsupported_format", f"Expected samples of 16 bits in {name}, found {samples.min()} … {samples.max()}."
        )
    bands = [samples[top : top + _BAND_ROWS] for top in range(0, len(samples), _BAND_ROWS)]
    levels = np.concatenate([high_byte(band, scale.bits) for band in bands])
    return 255 - levels if scale.inverted else levels  # the high byte of 65535 − s is 255 less that of s


def _from_real(samples: np.ndarray, name: str) -> UInt8[np.ndarray, "H W"]:
    """Real numbers: 0 … 1, or 0 … 255 when any exceeds 1; anything else has no known meaning."""
    # NaN compares as false either way, and so fails.
    if not (samples.min() >= 0 and samples.max() <= 255):
        raise UnreadableImageError(
            "unsupported_format", f"Expected real samples within 0 … 1 or 0 … 255 in {name}, found others or NaN."
        )
    unit = samples if samples.max() <= 1 else samples / samples.dtype.type(255)
    return from_unit(unit)


def _refusal(error: Exception, name: str, format: str) -> UnreadableImageError:  # noqa: A002
    text = str(error).lower()
    if "too large" in text or "too much memory" in text:  # compressed texts and profiles that swell beyond all measure
        return UnreadableImageError("too_large", f"{name} holds {format} metadata that unpack to more than 1 MB.")
    if "truncated" in text or "unexpected end" in text or isinstance(error, EOFError):
        return UnreadableImageError("truncated", f"{name} ends before its {format} picture does.")
    if isinstance(error, UnidentifiedImageError) or "unsupported" in text:
        reason = "corrupt" if isinstance(error, UnidentifiedImageError) else "unsupported_format"
        return UnreadableImageError(reason, f"{name} starts like {format}, but its header cannot be used.")
    return UnreadableImageError("corrupt", f"{name} is a damaged {format} file ({type(error).__name__}).")
