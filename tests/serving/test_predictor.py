import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax as reference_softmax

from fibrokd.data.images import UltrasoundImage
from fibrokd.errors import BundleError
from fibrokd.phantom.dicom_writer import Source, cine
from fibrokd.phantom.patients import DIFFICULTIES, make_patient
from fibrokd.serving import predictor as module
from fibrokd.serving.bundle import Bundle
from fibrokd.serving.predictor import Predictor, softmax
from fibrokd.stages import METAVIR
from tests.serving.bundles import bundle_in_memory, oracle, png, speckle


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return bundle_in_memory()


@pytest.fixture(scope="module")
def predictor(bundle) -> Predictor:
    return Predictor(bundle, threads=1)


@pytest.mark.parametrize(("mean", "stage"), [(25, "F0"), (77, "F1"), (128, "F2"), (178, "F3"), (228, "F4")])
def test_the_answer_equals_what_the_network_says_on_paper(predictor, mean, stage):
    pixels = speckle(mean)
    staging = predictor.predict_image(UltrasoundImage(pixels, "PNG"), "a.png")
    assert (staging.outcome, staging.stage, staging.reasons) == ("stage", stage, ())
    expected = oracle(float(pixels.mean()) / 255)
    np.testing.assert_allclose(list(staging.probabilities.values()), expected, atol=1e-5)
    np.testing.assert_array_equal(staging.network_view, pixels)
    assert staging.stamp["verdict"] == "fit"


def test_file_bytes_and_decoded_image_give_the_same_answer(predictor, tmp_path):
    pixels = speckle(100)
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels))
    answers = [
        predictor.predict_image(UltrasoundImage(pixels, "PNG")).probabilities,
        predictor.predict_path(path)[0].probabilities,
        predictor.predict_bytes(path.read_bytes(), "a.png")[0].probabilities,
    ]
    assert answers[0] == answers[1] == answers[2]


def test_answers_come_in_the_order_of_the_files_whatever_is_refused_between(predictor, tmp_path):
    paths = []
    for k in range(2 * module.BATCH + 5):
        path = tmp_path / f"{k:03d}.png"
        path.write_bytes(b"no image" if k % 7 == 3 else png(speckle(20 + 5 * k, seed=k)))
        paths.append(path)
    together = list(predictor.predict_many(paths))
    assert [s.path for s in together] == [p.as_posix() for p in paths]
    for path, staging in zip(paths, together, strict=True):
        [alone] = predictor.predict_path(path)
        assert (alone.outcome, alone.stage) == (staging.outcome, staging.stage)
        assert alone.probabilities == pytest.approx(staging.probabilities, abs=1e-6)


def test_many_files_are_read_as_they_are_needed(predictor, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(speckle(90)))
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield path

    stagings = predictor.predict_many(endless())
    assert next(stagings).stage == "F1"
    assert len(asked) == module.BATCH


def test_memory_does_not_grow_with_the_number_of_files(predictor, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(speckle(90, side=256)))

    def peak(files: int) -> int:
        tracemalloc.start()
        for _ in predictor.predict_many([path] * files):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(16)
    assert peak(128) < 1.3 * peak(32)


def test_every_frame_of_a_dicom_cine_gets_its_own_answer(predictor):
    patient = make_patient(1, 0, 2, DIFFICULTIES["easy"])
    # Blocks of 2 × 2 pixels keep their contrast when 128 px become 64.
    frames = [speckle(60 + 14 * k, seed=k).repeat(2, axis=0).repeat(2, axis=1) for k in range(10)]
    source = Source(cohort="test", patient=patient, clip=0, frame=0, overlay=False)
    stagings = predictor.predict_bytes(cine(frames, source, quality=95), "cine.dcm")
    assert len(stagings) >= 3
    assert [staging.frame for staging in stagings] == sorted({staging.frame for staging in stagings})
    for staging in stagings:
        expected = oracle(float(staging.network_view.mean()) / 255)
        assert staging.stage == METAVIR.names[int(expected.argmax())]
        assert abs(float(staging.original.mean()) - (60 + 14 * staging.frame)) < 3


@pytest.mark.parametrize("data", [b"", b"hello, I am a text file", b"\x89PNG\r\n\x1a\n cut", b"%PDF-1.7"])
def test_what_is_no_image_is_refused_with_what_to_do_and_no_stage(predictor, data):
    [staging] = predictor.predict_bytes(data, "upload.bin")
    assert (staging.outcome, staging.stage, staging.probabilities) == ("re-acquire", None, {})
    assert len(staging.reasons) == 1
    assert staging.as_row() == {
        "path": "upload.bin",
        "frame": 0,
        "part": 0,
        "outcome": "re-acquire",
        "stage": None,
        "probabilities": {},
        "reasons": list(staging.reasons),
    }


def test_a_network_that_answers_with_nan_never_gives_a_stage(bundle):
    predictor = Predictor(bundle, threads=1)
    predictor._engine.run = lambda batch: np.full((len(batch), 5), np.nan, np.float32)
    with pytest.raises(BundleError, match="finite"):
        predictor.predict_image(UltrasoundImage(speckle(90), "PNG"))


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (3, 5), elements=st.floats(-1e4, 1e4, width=32)))
def test_softmax_is_the_textbooks_in_double_precision(logits):
    found = softmax(logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, reference_softmax(logits.astype(np.float64), axis=1), atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_prediction_and_views_import_nothing_heavy():
    """The bedside install has no torch, and a cold start has no time for tables and plots."""
    heavy = ["torch", "torchvision", "timm", "pandas", "sklearn", "scipy.stats", "matplotlib", "streamlit"]
    code = (
        "import sys, fibrokd.serving.predictor, fibrokd.serving.verify, fibrokd.pipeline.predict, app.views;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
