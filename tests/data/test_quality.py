"""How a picture was taken, as three numbers."""

import numpy as np
import pytest

from fibrokd.data.quality import BLACK_LEVEL, QUALITY, quality


def test_a_half_dark_fan_is_half_dark():
    picture = np.zeros((40, 40), dtype=np.uint8)
    picture[10:30, 10:30] = 100
    picture[10:30, 15:25] = BLACK_LEVEL  # a shadow between lit tissue
    assert quality(picture) == {"brightness": 100.0, "contrast": 0.0, "dark_share": 0.5}


def test_what_lies_outside_the_fan_is_of_no_account():
    inner = np.random.default_rng(0).integers(20, 200, (30, 30), dtype=np.uint8)
    framed = np.zeros((90, 90), dtype=np.uint8)
    framed[5:35, 40:70] = inner
    assert quality(framed) == quality(inner)
    assert quality(inner)["brightness"] == pytest.approx(inner.mean(), abs=1e-4)
    assert quality(inner)["contrast"] == pytest.approx(inner.std(), abs=1e-4)


def test_a_black_picture_has_nothing_to_show():
    assert quality(np.zeros((8, 8), dtype=np.uint8)) == dict(zip(QUALITY, (0.0, 0.0, 1.0), strict=True))
