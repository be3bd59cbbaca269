"""Defects of collections."""

import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from fibrokd.phantom.cohort import render_case
from fibrokd.phantom.hazards import BROKEN, TAMPERINGS, HazardConfig, broken_bytes, tamper
from fibrokd.phantom.writing import encode_image


@pytest.fixture(scope="module")
def image():
    return render_case(0, 0, 2, 128, "medium")


def test_a_collection_has_no_defects_by_default():
    hazards = HazardConfig()
    assert sum(hazards.exact_copies) == hazards.resaved == hazards.tampered == hazards.straddle == hazards.broken == 0
    assert hazards.names == "clean"
    assert not hazards.alters_pixels


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_a_tampered_copy_differs_but_is_the_same_scan(image, tampering):
    copy = tamper(image, tampering, np.random.default_rng(0))
    assert copy.shape == image.shape
    assert not np.array_equal(copy, image)
    compared = copy[:, ::-1] if tampering == "mirror" else copy
    blurred = [ndimage.gaussian_filter(pixels.astype(float), 3) for pixels in (compared, image)]
    assert np.corrcoef(blurred[0].ravel(), blurred[1].ravel())[0, 1] > 0.9
    assert np.array_equal(copy, tamper(image, tampering, np.random.default_rng(0)))


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_broken_files_cannot_be_decoded(image, number):
    content = broken_bytes(number, encode_image(image, "png", 0))
    with pytest.raises((UnidentifiedImageError, OSError, SyntaxError)), Image.open(io.BytesIO(content)) as file:
        file.load()
