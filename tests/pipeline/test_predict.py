import json

import pytest

from fibrokd.errors import BundleError, InputError
from fibrokd.pipeline import predict, verify
from tests.serving.bundles import png, speckle, write_test_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_test_bundle(tmp_path_factory.mktemp("predict") / "bundle")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "deeper").mkdir(parents=True)
    (folder / "b.png").write_bytes(png(speckle(228)))
    (folder / "deeper/a.png").write_bytes(png(speckle(25)))
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden").write_text("left out")
    return folder


def test_every_file_of_a_folder_gets_one_json_line_with_the_agreed_keys(bundle, images, capsys):
    assert predict.run(bundle, [images], as_json=True) == 0
    rows = {row["path"].rpartition("images/")[2]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(rows) == ["b.png", "deeper/a.png", "notes.txt"]
    assert {"path", "outcome", "stage", "probabilities", "reasons"} <= set(rows["b.png"])
    assert (rows["b.png"]["outcome"], rows["b.png"]["stage"], rows["b.png"]["reasons"]) == ("stage", "F4", [])
    assert list(rows["b.png"]["probabilities"]) == ["F0", "F1", "F2", "F3", "F4"]
    assert sum(rows["b.png"]["probabilities"].values()) == pytest.approx(1)
    refused = rows["notes.txt"]
    assert (refused["outcome"], refused["stage"], refused["probabilities"]) == ("re-acquire", None, {})
    assert "not an image" in refused["reasons"][0]


def test_the_table_says_the_same_and_that_it_is_research_only(bundle, images, capsys):
    assert predict.run(bundle, [images / "b.png", images / "notes.txt"], as_json=False) == 0
    text = capsys.readouterr().out
    assert "F4" in text
    assert "re-acquire" in text
    assert "Research use only" in text


def test_the_table_can_name_its_images_otherwise_so_that_no_log_holds_names_of_files(bundle, images, capsys):
    shown = images / "deeper" / "a.png"
    assert predict.run(bundle, [shown], as_json=False, titles={shown: "test image 0123"}) == 0
    text = capsys.readouterr().out
    assert "test image 0123" in text
    assert "a.png" not in text
    assert "deeper" not in text


def test_a_path_that_does_not_exist_is_an_error_not_an_answer(bundle, images, tmp_path, capsys):
    with pytest.raises(InputError, match=r"nowhere\.png"):
        predict.run(bundle, [images / "b.png", tmp_path / "nowhere.png"], as_json=True)
    assert capsys.readouterr().out == ""
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no file"):
        predict.run(bundle, [tmp_path / "empty"], as_json=True)


def test_a_folder_that_is_no_bundle_is_an_error(images):
    with pytest.raises(BundleError):
        predict.run(images, [images], as_json=True)


def test_verify_reports_the_worst_deviation_and_passes(bundle, capsys):
    assert verify.run(bundle) == 0
    assert "passed; worst" in capsys.readouterr().out
    assert verify.run(bundle, as_json=True) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["passed"] is True
    assert len(row["cases"]) == 3


def test_verify_fails_with_exit_code_1_where_a_golden_case_deviates(tmp_path, capsys):
    from dataclasses import replace

    from fibrokd.serving.bundle import write_bundle
    from tests.serving.bundles import bundle_in_memory

    bundle = bundle_in_memory()
    wrong = replace(bundle.golden[0], outcome="refer")
    write_bundle(tmp_path / "b", replace(bundle, golden=(wrong,)))
    assert verify.run(tmp_path / "b") == 1
    assert "FAILED" in capsys.readouterr().out
