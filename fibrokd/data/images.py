"""One decoded ultrasound frame, whatever file it came from.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8


@dataclass(frozen=True)
class UltrasoundImage:
    """One grayscale B-mode frame as decoded, before any cropping.

    Args:
        pixels: Grey levels, ``uint8`` [H, W]; 0 is black whatever the file's photometric interpretation was.
        format: True format of the file's content: ``PNG``, ``JPEG``, ``BMP``, ``TIFF`` or ``DICOM``.
        frame: Index of the frame within its file; 0 for single images.
        spacing_mm: (row, column) millimetres per pixel, where the file states it.
        patient: Patient key as the file states it (identifying: never written out as it is).
        study: Study key as the file states it (identifying: never written out as it is).
        device: Manufacturer and model as the file states it.
        tissue: Box (top, left, bottom, right), half-open, that the file declares to be B-mode tissue.
        decoder: What decoded the pixels, such as ``pillow`` or ``pydicom/pillow``.
    """

    pixels: UInt8[np.ndarray, "H W"]
    format: str
    frame: int = 0
    spacing_mm: tuple[float, float] | None = None
    patient: str | None = None
    study: str | None = None
    device: str | None = None
    tissue: tuple[int, int, int, int] | None = None
    decoder: str = "pillow"
