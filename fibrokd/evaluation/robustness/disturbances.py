"""What is done to pictures, as the network sees them, that leaves the patient the same: fixed and recorded.

Each is what another setting, another export or another hand would have done. They are milder than what stages differ by
and go a little beyond what training's augmentation draws (gain 3.5 dB, tilt 2.8 dB, shift and zoom 5 %): an answer that
moves here is one that a sonographer's setting would move.

Shape letters: S side of the picture.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fibrokd.data import operations

Picture = UInt8[np.ndarray, "S S"]


@dataclass(frozen=True)
class Disturbance:
    """One thing that is done to every picture.

    Args:
        key: Its name in files; unique.
        words: What it is called in the report.
        apply: A pure function of the picture.
    """

    key: str
    words: str
    apply: Callable[[Picture], Picture]


def _shifted(down: float, right: float) -> Callable[[Picture], Picture]:
    return lambda picture: operations.shift(picture, round(down * len(picture)), round(right * len(picture)))


def _saved_as_jpeg(quality: int) -> Callable[[Picture], Picture]:
    def apply(picture: Picture) -> Picture:
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture)).save(stream, format="JPEG", quality=quality)
        saved = np.asarray(Image.open(stream))
        # Rings beyond the outline of the fan would be masked before a network sees them.
        return np.where(picture > 0, saved, 0).astype(np.uint8)

    return apply


def _deeper(factor: float) -> Callable[[Picture], Picture]:
    """The display at another depth: about the middle of the top edge, where the probe is."""

    def apply(picture: Picture) -> Picture:
        side = len(picture)
        centre = (side - 1) / 2
        # Output pixel → input pixel: x' = factor (x − centre) + centre, y' = factor y.
        matrix = (factor, 0.0, centre * (1 - factor), 0.0, factor, 0.0)
        moved = Image.fromarray(np.ascontiguousarray(picture)).transform(
            (side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=0
        )
        return np.asarray(moved).copy()

    return apply


DISTURBANCES: tuple[Disturbance, ...] = (
    Disturbance("gain_lower", "gain 6 dB lower", lambda picture: operations.gain(picture, -6.0)),
    Disturbance("gain_higher", "gain 6 dB higher", lambda picture: operations.gain(picture, 6.0)),
    Disturbance("tgc_falling", "time gain 5 dB less at depth, 5 dB more at the probe",
                lambda picture: operations.tgc_tilt(picture, -5.0)),
    Disturbance("tgc_rising", "time gain 5 dB more at depth, 5 dB less at the probe",
                lambda picture: operations.tgc_tilt(picture, 5.0)),
    Disturbance("haze", "haze of 40 grey levels near the probe",
                lambda picture: operations.haze(picture, 0.15, 0.12, 40.0)),
    Disturbance("attenuation", "darker with depth, as behind fat (by a third at the bottom)",
                lambda picture: operations.attenuate(picture, 0.4)),
    Disturbance("deeper", "displayed 8 % deeper", _deeper(1.08)),
    Disturbance("shallower", "displayed 8 % shallower", _deeper(1 / 1.08)),
    Disturbance("jpeg_50", "saved as JPEG of quality 50", _saved_as_jpeg(50)),
    Disturbance("jpeg_20", "saved as JPEG of quality 20", _saved_as_jpeg(20)),
    Disturbance("shift_down", "fan found 4 % too high", _shifted(0.04, 0.0)),
    Disturbance("shift_right", "fan found 4 % too far left", _shifted(0.0, 0.04)),
    Disturbance("mirrored", "mirrored left and right", operations.flip),
)  # fmt: skip
"""Every disturbance, in the order of the report. A new one is a new row."""

RENDERED = {
    "rendered": "rendered anew, nothing changed",
    "rendered_gain": "rendered with 6 dB more gain",
    "rendered_tgc": "rendered with time-gain sliders tilted by 5 dB",
    "rendered_depth": "rendered 15 % deeper",
    "rendered_haze": "rendered with 8 dB more haze",
    "rendered_noise": "rendered with 6 dB more receiver noise",
}
"""What is done to phantoms: key → what it is called. The first is what the others are compared with."""

SAME, SCANNER = "rendered", "scanner_"


def words_of(key: str) -> str:
    """Return what a disturbance is called, by its key."""
    if key.startswith(SCANNER):
        return f"same patients on scanner {key.removeprefix(SCANNER)}"
    return RENDERED[key] if key in RENDERED else next(item.words for item in DISTURBANCES if item.key == key)


def is_rendered(key: str) -> bool:
    """Return whether the patients were rendered anew; else the stored pictures were disturbed."""
    return key.startswith((SCANNER, SAME))
