import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibrokd.errors import BundleError
from fibrokd.files import digest_json
from fibrokd.serving.bundle import Bundle, write_bundle
from tests.serving.bundles import bundle_in_memory, write_test_bundle


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_test_bundle(tmp_path_factory.mktemp("released") / "bundle")


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "bundle"))


def edit_card(folder: Path, reseal: bool, **changes: object) -> None:
    path = folder / "bundle.json"
    data = {**json.loads(path.read_text()), **changes}
    if reseal:
        data.pop("digest")
        data["digest"] = digest_json(data)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def test_what_was_written_is_what_is_read(tmp_path):
    bundle = bundle_in_memory()
    names = write_bundle(tmp_path / "b", bundle)
    opened = Bundle.open(tmp_path / "b")
    assert opened.network == bundle.network
    assert opened.golden == bundle.golden
    assert opened.card.preprocess == bundle.card.preprocess
    assert opened.scale == bundle.scale
    assert sorted(opened.card.files) == sorted(set(names) - {"bundle.json"})


def test_writing_twice_gives_the_same_bytes(released, tmp_path):
    again = write_test_bundle(tmp_path / "again")
    for path in released.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(released)).read_bytes()


def test_a_card_says_nothing_of_this_machine(released, tmp_path):
    text = (released / "bundle.json").read_text()
    assert "/tmp" not in text
    assert str(Path.home()) not in text


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused(released, tmp_path_factory, data):
    folder = Path(shutil.copytree(released, tmp_path_factory.mktemp("cut") / "bundle"))
    path = data.draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.is_file())))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(BundleError):
        Bundle.open(folder)


def test_a_card_cut_by_its_last_byte_is_refused(copy):
    path = copy / "bundle.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="altered"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["network.onnx", "golden/expected.json", "golden/case_F2.png"])
def test_one_changed_byte_is_refused_by_name(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=name):
        Bundle.open(copy)


def test_a_missing_file_is_refused_by_name(copy):
    (copy / "golden/case_F0.png").unlink()
    with pytest.raises(BundleError, match=r"lacks golden/case_F0\.png"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["weights.pkl", "golden/extra.png", ".hidden"])
def test_an_extra_file_is_refused(copy, name):
    (copy / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="does not list"):
        Bundle.open(copy)


def test_the_record_of_the_release_step_is_no_extra_file(copy):
    (copy / "record.json").write_text("{}")
    assert "record.json" not in Bundle.open(copy).card.files


def test_a_link_in_place_of_a_file_is_refused(copy, tmp_path):
    moved = tmp_path / "elsewhere.onnx"
    shutil.move(copy / "network.onnx", moved)
    (copy / "network.onnx").symlink_to(moved)
    with pytest.raises(BundleError, match="link"):
        Bundle.open(copy)


def test_a_newer_format_is_refused_with_what_to_do(copy):
    edit_card(copy, reseal=True, format=2)
    with pytest.raises(BundleError, match="newer fibrokd"):
        Bundle.open(copy)


def test_a_stamp_whitewashed_by_hand_is_refused(copy):
    edit_card(copy, reseal=False, stamp={"verdict": "fit", "synthetic": False})
    with pytest.raises(BundleError, match="altered"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/hostname", "golden/../network.onnx", "a\\b"])
def test_a_listed_name_never_leaves_the_bundle(copy, name):
    files = json.loads((copy / "bundle.json").read_text())["files"]
    edit_card(copy, reseal=True, files={**files, name: "0" * 64})
    with pytest.raises(BundleError, match="may not hold"):
        Bundle.open(copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": {"names": ["F0"], "cutoffs": []}}, "no scale"),
        ({"surprise": 1}, "surprise"),
        ({"format": "1"}, "format number"),
        ({"tolerance": 0.5}, "tolerance"),
    ],
)
def test_a_card_that_breaks_the_format_is_refused(copy, changes, said):
    edit_card(copy, reseal=True, **changes)
    with pytest.raises(BundleError, match=said):
        Bundle.open(copy)


def test_a_folder_that_is_no_bundle_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(BundleError, match="fibrokd release"):
        Bundle.open(tmp_path)


def test_an_interrupted_write_is_no_bundle_and_can_be_repeated(tmp_path):
    bundle = bundle_in_memory()
    folder = tmp_path / "b"
    write_bundle(folder, bundle)
    (folder / "bundle.json").unlink()
    (folder / ".network.onnx.abc.onnx").write_bytes(b"half")
    with pytest.raises(BundleError):
        Bundle.open(folder)
    write_bundle(folder, bundle)
    assert Bundle.open(folder).golden == bundle.golden


def test_nothing_is_written_among_files_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(BundleError, match=r"thesis\.tex"):
        write_bundle(tmp_path, bundle_in_memory())
    assert (tmp_path / "thesis.tex").read_text() == "precious"
