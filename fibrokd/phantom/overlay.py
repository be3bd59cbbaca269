"""Burned-in marks: a 3 x 5 bitmap font, depth rulers, grey bar, orientation mark and vendor text.

Also draws the planted shortcut of ``overlay_leak``: marks from which the stage can be read. Marks are drawn on the
finished grey image and may touch the fan, as they do on real screens.

Shape letters: S side of the screen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from fibrokd.phantom.geometry import Screen, screen
from fibrokd.phantom.patients import Patient
from fibrokd.phantom.scanners import Scanner

_SMALLEST_WITH_TEXT = 112
"""Below this size a screen's text would be unreadable after resizing and cover the fan; only rulers are drawn."""

# Fifteen bits per glyph, row by row.
_GLYPHS = {
    "0": "111101101101111", "1": "010110010010111", "2": "111001111100111", "3": "111001111001111",
    "4": "101101111001001", "5": "111100111001111", "6": "111100111101111", "7": "111001010010010",
    "8": "111101111101111", "9": "111101111001111", "A": "010101111101101", "B": "110101110101110",
    "C": "011100100100011", "D": "110101101101110", "E": "111100110100111", "F": "111100110100100",
    "G": "011100101101011", "H": "101101111101101", "I": "111010010010111", "J": "001001001101010",
    "K": "101101110101101", "L": "100100100100111", "M": "101111111101101", "N": "110101101101101",
    "O": "010101101101010", "P": "110101110100100", "Q": "010101101111011", "R": "110101110101101",
    "S": "011100010001110", "T": "111010010010010", "U": "101101101101111", "V": "101101101101010",
    "W": "101101111111101", "X": "101101010101101", "Y": "101101010010010", "Z": "111001010100111",
    ".": "000000000000010", "-": "000000111000000", "/": "001001010100100", " ": "000000000000000",
}  # fmt: skip


def draw_text(image: UInt8[np.ndarray, "S S"], at: tuple[int, int], text: str, grey: int, scale: int = 1) -> None:
    """Draw text in place; glyphs that would leave the image and characters without a glyph are left out.

    Args:
        image: Grey image.
        at: Row and column of the upper left corner.
        text: Text, any case.
        grey: Grey level of the strokes.
        scale: Pixels per font pixel.
    """
    row, column = at
    for character in text.upper():
        bits = np.array(list(_GLYPHS.get(character, _GLYPHS[" "]))).reshape(5, 3) == "1"
        glyph = bits.repeat(scale, 0).repeat(scale, 1)
        height, width = glyph.shape
        if row >= 0 and column >= 0 and row + height <= image.shape[0] and column + width <= image.shape[1]:
            image[row : row + height, column : column + width][glyph] = grey
        column += width + scale


def draw_overlay(image: UInt8[np.ndarray, "S S"], scanner: Scanner, patient: Patient, clip: int) -> None:
    """Draw everything the scanner burns into an export, in place."""
    size = image.shape[0]
    scale = max(1, size // 256)
    place = screen(scanner, size)
    _draw_rulers(image, scanner, place, scale)
    for row, column, text, grey in _texts(scanner, patient, clip, size // scale):
        if size >= _SMALLEST_WITH_TEXT:
            draw_text(image, (row * scale, column * scale), text, grey, scale)
    if patient.leak:
        row = size // 2 + 10 * scale * patient.stage
        image[row : row + 5 * scale, 7 * scale : 11 * scale] = 235
        draw_text(image, (size - 9 * scale, 3 * scale), f"ID {patient.number % 7}F{patient.stage}", 200, scale)


def _texts(scanner: Scanner, patient: Patient, clip: int, size: int) -> Iterator[tuple[int, int, str, int]]:
    """Yield (row, column, text, grey level) in units of the font scale."""
    depth_cm = scanner.depth_mm / 10
    if scanner.overlay == "bar":
        yield 3, 3, scanner.name, 210
        yield 3, size - 60, "MI1.1 TIS0.7", 170
        yield 10, 3, f"{scanner.frequency_mhz:.1f}MHZ G{50 + int(patient.gain_db)}", 150
    elif scanner.overlay == "ticks":
        yield 3, 4, f"{scanner.name} ABD", 160
        yield 10, 4, f"FR 2{patient.number % 10}HZ", 160
        yield 17, 4, f"{depth_cm:.1f}CM", 160
        yield size - 9, size // 2 - 24, f"LIVER {'RL'[clip % 2]} LOBE", 220
    elif scanner.overlay == "plain":
        yield size - 8, 3, f"C5-{int(2 * scanner.frequency_mhz)} DR{int(scanner.dynamic_range_db)}", 180
    else:
        yield size - 16, size - 46, f"{scanner.name} P3", 140
        yield size - 9, size - 46, f"{depth_cm:.0f}CM ABD", 140


def _draw_rulers(image: UInt8[np.ndarray, "S S"], scanner: Scanner, place: Screen, scale: int) -> None:
    """Depth marks every centimetre, and each style's own graphics."""
    size = image.shape[0]
    rows = [round(place.skin_px + cm * 10 * place.pixels_per_mm[0]) for cm in range(int(scanner.depth_mm / 10) + 1)]
    for cm, row in enumerate(rows):
        if row >= size:
            continue
        long = cm % 5 == 0
        if scanner.overlay == "bar":
            image[row, size - (7 if long else 4) * scale : size - 2 * scale] = 190
        elif scanner.overlay == "ticks":
            image[row, 4 * scale : (9 if long else 6) * scale] = 200
        elif scanner.overlay == "numbers" and cm % 2 == 0:
            draw_text(image, (row - 2, size - 12 * scale), str(cm), 150, scale)
    if scanner.overlay == "bar":
        image[size // 4 : size // 4 + size // 3, 2 * scale : 5 * scale] = np.linspace(255, 0, size // 3)[:, None]
    elif scanner.overlay == "plain":
        row, column = 3 * scale, int(place.centre_px - 24 * scale)
        image[row : row + 5 * scale, column : column + 5 * scale] = 230
