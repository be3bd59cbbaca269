"""Decoders' warnings and logs: counted, never quoted."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from fibrokd.data.decoder_warnings import warnings_as_notes
from fibrokd.data.reading import decode
from tests.data.sectors import draw_sector, encode


def test_warnings_become_counts_without_their_text() -> None:
    with warnings_as_notes() as notes:
        for _ in range(2):
            warnings.warn("DOE^JANE", UserWarning, stacklevel=1)
        warnings.warn("DOE^JANE", DeprecationWarning, stacklevel=1)
    assert notes == [
        "the decoder warned (DeprecationWarning, 1 times)",
        "the decoder warned (UserWarning, 2 times)",
    ]


def test_no_tag_of_a_picture_reaches_the_log_even_when_everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[270] = "DOE^JANE"
    picture = Image.fromarray(draw_sector()[0])
    data = encode(picture, "TIFF", tiffinfo=tags)
    caplog.set_level(logging.DEBUG)
    (image,) = decode(data).images
    np.testing.assert_array_equal(image.pixels, np.asarray(picture))
    assert "DOE" not in caplog.text


def test_loggers_are_as_before_afterwards() -> None:
    before = [(logging.getLogger(name).disabled, logging.getLogger(name).propagate) for name in ("PIL", "pydicom")]
    with pytest.raises(KeyError), warnings_as_notes():
        raise KeyError
    after = [(logging.getLogger(name).disabled, logging.getLogger(name).propagate) for name in ("PIL", "pydicom")]
    assert before == after
