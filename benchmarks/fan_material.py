"""Fans crowded by burned-in marks: words, grey bars, rulers and logos planted beside a fan whose place is known."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from fibrokd.phantom.overlay import draw_text


@dataclass(frozen=True)
class MarkedPicture:
    """A picture whose fan is crowded by burned-in marks.

    Args:
        pixels: Grey levels.
        fan: Where the fan is.
        marks: Marks outside the fan that were planted beside it.
        letters: Number of the letter that every pixel of a planted text belongs to; 0 elsewhere.
    """

    pixels: np.ndarray
    fan: np.ndarray
    marks: np.ndarray
    letters: np.ndarray


def crowd(picture: np.ndarray, fan: np.ndarray, seed: int, kinds: tuple[str, ...] = ()) -> MarkedPicture:
    """Plant one to three kinds of marks (of :data:`MARKS`, or those asked for) beside the fan, often JPEG-coded after.

    Args:
        picture: Grey levels.
        fan: Where the fan is.
        seed: Another number, other marks.
        kinds: Names of marks.
    """
    random = np.random.default_rng(seed)
    kinds = kinds or tuple(random.choice(list(MARKS), random.integers(1, 4), replace=False))
    away = ndimage.distance_transform_edt(~fan)
    canvas = _Canvas(picture.copy(), fan, np.zeros(fan.shape, np.int32), away, max(1, len(picture) // 200))
    for kind in kinds:
        MARKS[kind](canvas, random)
    marks = (canvas.pixels != picture) & ~fan
    pixels = canvas.pixels
    if random.random() < 0.7:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=int(random.integers(60, 91)))
        pixels = np.array(Image.open(stream))
    return MarkedPicture(pixels, fan, marks, canvas.letters * marks)


@dataclass(frozen=True)
class _Canvas:
    pixels: np.ndarray
    fan: np.ndarray
    letters: np.ndarray  # number of every letter
    away: np.ndarray  # pixels to the fan
    scale: int  # pixels per font pixel

    def stamp(self, stamp: np.ndarray, gap: float, towards: str, random: np.random.Generator, letter: int = 0) -> None:
        """Slide a stamp (0 is clear) towards the fan until ``gap`` pixels are left, and press it on.

        Where it is text, ``letter`` is the width of a letter.
        """
        height, width = stamp.shape
        rows, columns = np.nonzero(stamp)
        along = random.uniform(0.15, 0.85)
        frame_height, frame_width = self.pixels.shape
        if towards == "up":
            left = int(along * (frame_width - width))
            places = [(top, left) for top in range(frame_height - height, 0, -1)]
        else:
            top = int(along * (frame_height - height))
            lefts = range(frame_width - width + 1)
            places = [(top, left) for left in (lefts if towards == "right" else reversed(lefts))]
        free = [self.away[rows + top, columns + left].min() >= gap for top, left in places]
        reached = free.index(False) - 1 if False in free else -1
        if reached < 0 or not free[reached]:
            return
        top, left = places[reached]
        self.pixels[top : top + height, left : left + width][rows, columns] = stamp[rows, columns]
        if letter:
            numbers = int(self.letters.max()) + 1 + columns // letter
            self.letters[top : top + height, left : left + width][rows, columns] = numbers


def _side(random: np.random.Generator) -> str:
    return str(random.choice(["right", "left", "up"]))


def _letters(text: str, grey: int, scale: int) -> np.ndarray:
    height, width = 5 * scale, 4 * scale * len(text)
    square = np.zeros((max(height, width), max(height, width)), np.uint8)
    draw_text(square, (0, 0), text, grey, scale)
    return square[:height, :width]


def _plant_text(canvas: _Canvas, random: np.random.Generator) -> None:
    for _ in range(random.integers(1, 5)):
        letters = "".join(random.choice(list("ABCDEFGHIJKLMNOPRSTUVWXYZ0123456789 .-"), random.integers(3, 16)))
        scale = canvas.scale * int(random.integers(1, 3))
        stamp = _letters(letters, int(random.integers(120, 256)), scale)
        if stamp.any():
            canvas.stamp(stamp, random.uniform(1, 6), _side(random), random, letter=4 * scale)


def _plant_bar(canvas: _Canvas, random: np.random.Generator) -> None:
    length, thickness = (int(share * len(canvas.pixels)) for share in (random.uniform(0.2, 0.4), 0.035))
    levels = np.linspace(255, 1, length).astype(np.uint8)
    stamp = np.repeat(levels[:, None], thickness, axis=1)
    towards = _side(random)
    canvas.stamp(stamp.T if towards == "up" else stamp, random.uniform(1, 4), towards, random)


def _plant_ticks(canvas: _Canvas, random: np.random.Generator) -> None:
    """A depth ruler whose ticks touch the flank, or a dashed one along the whole outline."""
    grey, pitch, reach = int(random.integers(120, 256)), canvas.scale * int(random.integers(6, 16)), 4 * canvas.scale
    ring = (canvas.away > 0) & (canvas.away <= reach)
    row, column = np.mgrid[: len(canvas.fan), : canvas.fan.shape[1]]
    sides = (column < column[canvas.fan].mean()) ^ (random.random() < 0.5)
    ticks = ring & sides & (row % pitch < canvas.scale)
    canvas.pixels[ticks] = grey


def _plant_logo(canvas: _Canvas, random: np.random.Generator) -> None:
    """A filled box with letters over one of the lower corners of the fan."""
    rows, columns = np.nonzero(canvas.fan)
    size = len(canvas.pixels)
    corner = columns.argmin() if random.random() < 0.5 else columns.argmax()
    height, width = int(random.uniform(0.05, 0.09) * size), int(random.uniform(0.08, 0.14) * size)
    top = int(min(max(rows[corner] - height * random.uniform(0.2, 0.8), 0), size - height))
    left = int(min(max(columns[corner] - width / 2, 0), canvas.pixels.shape[1] - width))
    logo = canvas.pixels[top : top + height, left : left + width]
    logo[...] = int(random.integers(30, 120))
    letters = _letters("SONO", int(random.integers(180, 256)), canvas.scale)[: height - 2, : width - 2]
    inner = logo[2 : 2 + len(letters), 2 : 2 + letters.shape[1]]
    inner[...] = np.maximum(inner, letters)


MARKS = {"text": _plant_text, "bar": _plant_bar, "ticks": _plant_ticks, "logo": _plant_logo}
"""Kinds of marks."""
