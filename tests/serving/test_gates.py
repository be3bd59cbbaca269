import numpy as np
import pytest

from fibrokd.data.images import UltrasoundImage
from fibrokd.data.preprocess import PreprocessSpec, preprocess
from fibrokd.data.reading import REASONS
from fibrokd.errors import UnreadableImageError
from fibrokd.serving.gates import GATES, UNREADABLE, Candidate, Gate, refusals, unreadable
from tests.serving.bundles import speckle

FULL = PreprocessSpec(size=64, crop="full")


def candidate(pixels: np.ndarray, spec: PreprocessSpec = FULL) -> Candidate:
    image = UltrasoundImage(pixels, "PNG")
    return Candidate(image, preprocess(image, spec), spec)


def test_a_picture_with_speckle_passes():
    assert refusals(candidate(speckle(100))) is None


@pytest.mark.parametrize("side", [(31, 200), (200, 31)])
def test_a_thumbnail_is_refused_by_its_shorter_side(side):
    pixels = np.resize(speckle(100, side=200), side)
    outcome, reasons = refusals(candidate(pixels))
    assert outcome == "re-acquire"
    assert "too small" in reasons[0]


def test_an_almost_black_picture_is_refused():
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:4, :4] = 200
    outcome, [reason] = refusals(candidate(pixels))
    assert outcome == "re-acquire"
    assert "black" in reason


def test_a_flat_grey_card_is_refused_for_want_of_texture():
    pixels = np.full((64, 64), 120, np.uint8)
    pixels[0, 0] = 130
    _, [reason] = refusals(candidate(pixels))
    assert "texture" in reason


def test_a_picture_without_a_fan_is_refused_only_where_the_bundle_crops_to_it():
    texture = np.random.default_rng(0).integers(0, 255, (256, 256)).astype(np.uint8)
    texture[:, :100] = 0
    assert GATES["no_fan"].check(candidate(texture, PreprocessSpec(size=64, crop="full"))) is None
    strict = PreprocessSpec(size=64, crop="fan", min_confidence=1.0)
    reason = GATES["no_fan"].check(candidate(texture, strict))
    assert reason is not None
    assert "fan" in reason


def test_a_tissue_box_that_the_file_declares_stands_in_for_the_fan():
    spec = PreprocessSpec(size=64, crop="fan", min_confidence=1.0)
    image = UltrasoundImage(speckle(100, side=128), "DICOM", tissue=(10, 10, 110, 110))
    assert refusals(Candidate(image, preprocess(image, spec), spec)) is None


def test_every_reason_is_given_and_taking_again_comes_first(monkeypatch):
    monkeypatch.setitem(GATES, "far", Gate("refer", lambda _: "Far from everything."))
    outcome, reasons = refusals(candidate(np.pad(np.full((2, 2), 255, np.uint8), 31)))
    assert outcome == "re-acquire"
    assert reasons[-1] == "Far from everything."
    assert refusals(candidate(speckle(100))) == ("refer", ("Far from everything.",))


def test_every_reason_of_the_reader_has_words_that_name_no_path():
    assert set(UNREADABLE) == set(REASONS)
    for reason in REASONS:
        text = unreadable(UnreadableImageError(reason, "Expected /home/someone/secret.png …"))
        assert "/" not in text
        assert text.endswith(".")
        assert reason not in text or " " not in reason
