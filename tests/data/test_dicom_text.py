"""Text burned into the tissue: found and hidden where it is planted, never seen where there is none."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from fibrokd.data.dicom.colour import Tissue
from fibrokd.data.dicom.regions import Regions
from fibrokd.data.dicom.text import text_rows, without_text
from fibrokd.data.reading import decode
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.overlay import draw_text
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from tests.data.objects import jpeg_cine, to_bytes

SIZES = (256, 384, 512)
KINDS = ("easy", "medium", "hard")


def phantom(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A rendered phantom without text, and its fan."""
    clip = Clip(make_patient(number, 5, number % 5, DIFFICULTIES[KINDS[number % 3]]))
    frame = clip.frame_with_masks(0, SIZES[number // 3 % 3], overlay=False)
    return frame.image, frame.fan


def planted(picture: np.ndarray, fan: np.ndarray, font: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture with a name written somewhere within the fan, and the pixels of the strokes."""
    rows, columns = np.where(ndimage.binary_erosion(fan, iterations=40))
    at = np.random.default_rng(seed).integers(len(rows))
    row, column = int(rows[at]), max(int(columns[at]) - 30, 5)
    written, ink = picture.copy(), np.zeros_like(picture)
    for layer in (written, ink):
        if font.startswith("bitmap"):
            draw_text(layer, (row, column), "SMITH J", 235, int(font[-1]))
        else:
            image = Image.fromarray(layer)
            size = ImageFont.load_default(int(font[-2:]))
            ImageDraw.Draw(image).text((column, row), "Smith J 1961", fill=235, font=size)
            layer[:] = np.asarray(image)
    return written, ink > 100


def changed_clean_phantoms(count: int, start: int = 0) -> int:
    return sum(
        not np.array_equal(without_text(picture, Tissue(Regions()), []), picture)
        for picture, _ in (phantom(number) for number in range(start, start + count))
    )


def test_clean_phantoms_stay_as_they_are() -> None:
    assert changed_clean_phantoms(27) == 0


@pytest.mark.slow
def test_four_hundred_and_fifty_clean_phantoms_stay_as_they_are() -> None:
    assert changed_clean_phantoms(450) == 0


@pytest.mark.parametrize("font", ["bitmap1", "bitmap2", "smooth 12", "smooth 16"])
def test_planted_names_are_hidden(font: str) -> None:
    hidden = []
    for number in range(10):
        written, ink = planted(*phantom(number), font, number)
        notes: list[str] = []
        cleaned = without_text(written, Tissue(Regions()), notes)
        hidden.append(float((cleaned[ink] == 0).mean()))
        assert (cleaned != written).sum() < 30 * ink.sum()  # little else goes with it
        assert bool(notes) == (not np.array_equal(cleaned, written))
    assert np.mean(np.array(hidden) > 0.5) >= 0.9
    assert np.mean(hidden) >= 0.85  # one in a hundred melts into bright speckle and is not found


def test_text_beside_the_fan_is_left_to_the_crop() -> None:
    picture, fan = phantom(3)
    draw_text(picture, (4, 4), "SMITH J", 235, 2)
    assert not fan[:16, :64].any()
    assert text_rows(picture)
    np.testing.assert_array_equal(without_text(picture, Tissue(Regions()), []), picture)


def test_a_cine_with_a_name_in_it_is_cleaned_and_says_so() -> None:
    clip = Clip(make_patient(7, 1, 2, DIFFICULTIES["medium"]))
    frames = [clip.frame(index, 256, overlay=False) for index in range(10)]
    named = [frame.copy() for frame in frames]
    for frame in named:
        draw_text(frame, (140, 100), "SMITH J", 235, 2)
    ink = named[0] != frames[0]
    decoding = decode(to_bytes(jpeg_cine(named)))
    assert len(decoding.images) == 3
    for image in decoding.images:
        assert (image.pixels[ink] == 0).mean() > 0.95
    assert decoding.notes == ("burned-in text within the tissue was set to 0 (rows: 1)",)
    assert not any("text" in note for note in decode(to_bytes(jpeg_cine(frames))).notes)


def test_pictures_full_of_strokes_do_not_take_for_ever() -> None:
    stripes = np.zeros((600, 800), np.uint8)
    for left in range(0, 800, 4):
        for top in range(0, 600, 8):
            stripes[top : top + 6, left : left + 2] = 255
    before = time.process_time()
    assert text_rows(stripes) == []
    assert time.process_time() - before < 4
    assert text_rows(np.zeros((64, 64), np.uint8)) == []
