from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from fibrokd.stages import METAVIR
from tests.serving.bundles import png, speckle, write_test_bundle

MAIN = Path(__file__).parents[2] / "app/main.py"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_test_bundle(tmp_path_factory.mktemp("app") / "bundle")


@pytest.fixture
def page(bundle, monkeypatch) -> AppTest:
    monkeypatch.setenv("FIBROKD_BUNDLE", str(bundle))
    return AppTest.from_file(str(MAIN), default_timeout=20).run()


def words(page: AppTest) -> str:
    """Everything the page says, apart from tables and charts."""
    groups = (page.title, page.header, page.subheader, page.markdown, page.caption)
    boxes = (page.error, page.warning, page.info, page.info)
    return "\n".join(str(item.value) for group in (*groups, *boxes) for item in group)


def tables(page: AppTest) -> str:
    return "\n".join(table.value.to_string() for table in page.table)


def says_a_stage(page: AppTest) -> bool:
    return bool(page.info) or any(name in words(page) for name in METAVIR.names)


def upload(page: AppTest, name: str, data: bytes) -> AppTest:
    return page.file_uploader[0].set_value((name, data, "application/octet-stream")).run()


def test_the_empty_page_warns_and_stages_nothing(page):
    assert not page.exception
    assert "Research use only" in page.warning[0].value
    assert "phantoms" in page.warning[1].value
    assert not says_a_stage(page)


@pytest.mark.parametrize(("mean", "stage"), [(25, "F0"), (128, "F2"), (228, "F4")])
def test_an_uploaded_picture_is_staged_in_words_and_numbers(page, mean, stage):
    upload(page, "scan.png", png(speckle(mean)))
    assert not page.exception
    assert f"Most probable stage: {stage}" in page.info[0].value
    assert all(name in tables(page) for name in (*METAVIR.names, "≥F2", "≥F3"))
    assert "Probabilities: F0 " in words(page)
    assert "Research use only" in page.warning[0].value


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("letter.txt", b"Dear colleague, F4 it is."),
        ("scan.png", b"\x89PNG\r\n\x1a\n cut off"),
        ("scan.dcm", bytes(128) + b"DICM" + bytes(64)),
        ("empty.png", b""),
        ("<b>F4</b>/../../etc/passwd.png", b"x" * 100),
    ],
)
def test_what_is_no_image_is_refused_without_stage_path_or_trace(page, name, data):
    upload(page, name, data)
    assert not page.exception
    assert len(page.error) == 1
    assert "No stage" in page.error[0].value
    assert not says_a_stage(page)
    assert "Traceback" not in words(page)
    assert str(Path.home()) not in words(page)
    assert "passwd" not in words(page)


def test_a_black_picture_is_refused_with_what_to_do(page):
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:3, :3] = 255
    upload(page, "black.png", png(pixels))
    assert "acquire the view again" in words(page)
    assert not says_a_stage(page)


def test_taking_the_upload_away_takes_the_stage_away(page):
    upload(page, "scan.png", png(speckle(128)))
    assert page.info
    page.file_uploader[0].set_value(None).run()
    assert not says_a_stage(page)


def test_an_example_of_the_bundle_is_staged(page):
    page.radio[0].set_value("Pick an example").run()
    assert not page.info
    page.selectbox[0].set_value("Noise like F2").run()
    assert not page.exception
    assert "Most probable stage: F2" in page.info[0].value


def test_an_altered_bundle_stages_nothing_and_names_no_path(tmp_path, monkeypatch):
    folder = write_test_bundle(tmp_path / "secret_place")
    data = bytearray((folder / "network.onnx").read_bytes())
    data[100] ^= 1
    (folder / "network.onnx").write_bytes(data)
    monkeypatch.setenv("FIBROKD_BUNDLE", str(folder))
    page = AppTest.from_file(str(MAIN), default_timeout=20).run()
    assert not page.exception
    assert "network.onnx of the bundle was altered" in page.error[0].value
    assert "Research use only" in page.warning[0].value
    assert not page.file_uploader
    assert not says_a_stage(page)
    assert "secret_place" not in words(page)


def test_a_bundle_whose_golden_cases_fail_here_is_not_served(tmp_path, monkeypatch):
    from dataclasses import replace

    from fibrokd.serving.bundle import write_bundle
    from tests.serving.bundles import bundle_in_memory

    bundle = bundle_in_memory()
    case = bundle.golden[0]
    wrong = replace(case, probabilities={**case.probabilities, "F0": case.probabilities["F0"] - 0.01})
    write_bundle(tmp_path / "b", replace(bundle, golden=(wrong,)))
    monkeypatch.setenv("FIBROKD_BUNDLE", str(tmp_path / "b"))
    page = AppTest.from_file(str(MAIN), default_timeout=20).run()
    assert "deviates" in page.error[0].value
    assert not page.file_uploader


def test_without_a_bundle_the_page_says_how_to_start(monkeypatch):
    monkeypatch.delenv("FIBROKD_BUNDLE", raising=False)
    monkeypatch.setattr("sys.argv", ["main.py"])
    page = AppTest.from_file(str(MAIN), default_timeout=20).run()
    assert "fibrokd app BUNDLE" in page.error[0].value


def test_an_engine_that_fails_shows_no_stage_and_no_trace(page, monkeypatch):
    from fibrokd.serving.engine import Engine

    def broken(self, batch):
        raise RuntimeError("/srv/secret: out of memory")

    monkeypatch.setattr(Engine, "run", broken)
    upload(page, "scan.png", png(speckle(128)))
    assert not page.exception
    assert "No stage" in page.error[0].value
    assert "secret" not in words(page)
    assert not says_a_stage(page)
