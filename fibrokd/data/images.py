"""One decoded ultrasound frame, whatever file it came from.

Shape letters: H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL
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
        device: Manufacturer and model as the file states them (free text: never written out as it is).
        tissue: Box (top, left, bottom, right), half-open, that the file declares to be B-mode tissue.
        decoder: What decoded the pixels, with its version, such as ``pillow 12.1`` or ``pydicom/gdcm 3.2.6``.
        part: Index of the picture within its frame; 0 but for layouts that show several pictures side by side, which
            become one sample each.
        mode: How samples were stored, such as ``L``, ``RGB`` or a DICOM photometric interpretation.
        jpeg_tables: First 8 hex digits of the sha256 of a JPEG's quantisation tables: the encoder and its quality;
            empty for other formats.
    """

    pixels: UInt8[np.ndarray, "H W"]
    format: str
    frame: int = 0
    spacing_mm: tuple[float, float] | None = None
    patient: str | None = None
    study: str | None = None
    device: str | None = None
    tissue: tuple[int, int, int, int] | None = None
    decoder: str = f"pillow {PIL.__version__}"
    part: int = 0
    mode: str = ""
    jpeg_tables: str = ""
