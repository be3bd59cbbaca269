"""The fixed rules by which any sample type becomes 8-bit grey levels; nothing here looks at a file.

No rule depends on the picture's own minimum or maximum: gain and dynamic range must stay visible as nuisances, and
the same sample must become the same grey level in every picture. Shape letters: H W picture.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer, UInt8, UInt16

# ITU-R BT.601 luma weights in 16-bit fixed point, the constants Pillow uses: both ways of decoding agree exactly.
_RED, _GREEN, _BLUE = 19595, 38470, 7471
_ROWS_AT_ONCE = 256  # bounds the memory of wide intermediate values


def luminance(rgb: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
    """Return the BT.601 luminance; R = G = B = v gives exactly v.

    Args:
        rgb: 8-bit colour picture.
    """
    grey = np.empty(rgb.shape[:2], dtype=np.uint8)
    for top in range(0, len(rgb), _ROWS_AT_ONCE):
        wide = rgb[top : top + _ROWS_AT_ONCE].astype(np.uint32)
        total = wide[..., 0] * _RED + wide[..., 1] * _GREEN + wide[..., 2] * _BLUE + 0x8000
        grey[top : top + _ROWS_AT_ONCE] = total >> 16
    return grey


def over_black(grey: UInt8[np.ndarray, "H W"], alpha: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Composite grey levels on black; transparent pixels become 0."""
    product = grey.astype(np.uint16) * alpha.astype(np.uint16)
    return ((product + 127) // 255).astype(np.uint8)


def high_byte(samples: Integer[np.ndarray, "*shape"], bits: int) -> UInt8[np.ndarray, "*shape"]:
    """Scale unsigned samples of ``bits`` significant bits to 8 bits by keeping the upper ones.

    Args:
        samples: Values in [0, 2**bits − 1]; larger ones saturate.
        bits: Number of significant bits, 1 … 32. Below 8 the full range is stretched to 0 … 255.
    """
    if samples.dtype == np.uint8 and bits == 8:
        return samples
    top = (1 << bits) - 1
    clipped = np.clip(samples.astype(np.int64), 0, top)
    scaled = clipped >> (bits - 8) if bits >= 8 else (clipped * 255 + top // 2) // top
    return scaled.astype(np.uint8)


def from_unit(values: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Scale values in [0, 1] to 0 … 255, rounding to nearest; values outside saturate."""
    return np.asarray(np.rint(np.clip(values, 0.0, 1.0) * 255.0), dtype=np.uint8)


def chroma(rgb: UInt8[np.ndarray, "H W 3"]) -> UInt16[np.ndarray, "H W"]:
    """Return |R−G| + |G−B| per pixel, 0 … 510.

    B-mode is grey; colour means flow boxes, calipers, tinted maps, or a wrong photometric interpretation.
    """
    wide = rgb.astype(np.int16)
    difference = np.abs(wide[..., 0] - wide[..., 1]) + np.abs(wide[..., 1] - wide[..., 2])
    return np.asarray(difference, dtype=np.uint16)
