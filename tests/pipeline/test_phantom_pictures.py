"""Only pictures that the phantom step recorded pass for generated ones."""

import json
import shutil
from pathlib import Path

import pytest

from fibrokd.config import parse_config
from fibrokd.files import digest_file
from fibrokd.pipeline import phantom
from fibrokd.pipeline.phantom_pictures import are_of_phantom_step


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    config = parse_config({"patients": 5, "size": 64, "workers": 1}, phantom.PhantomConfig)
    phantom.run(config, out)
    return out


@pytest.fixture
def copy(cohort: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cohort, tmp_path / "copy"))


def digests(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): digest_file(path) for path in sorted(root.rglob("*.png"))}


def test_a_cohort_and_parts_of_it_are_generated_wherever_they_lie(copy: Path) -> None:
    found = digests(copy)
    assert len(found) >= 5
    assert are_of_phantom_step(copy, found)
    assert are_of_phantom_step(copy, dict(list(found.items())[:2]))


def test_one_strange_or_altered_picture_makes_all_of_them_real(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = digests(copy)
    assert not are_of_phantom_step(copy, found | {"F0/DOE_JANE.png": "0" * 64})
    assert not are_of_phantom_step(copy, found | {next(iter(found)): "0" * 64})
    told = capsys.readouterr().err
    assert f"1 of {len(found) + 1} files" in told
    assert "DOE" not in told


def test_a_record_alone_proves_nothing(copy: Path, tmp_path: Path) -> None:
    found, (real, listed) = digests(copy), (tmp_path / "real", copy / "images.sha256")
    real.mkdir()
    assert not are_of_phantom_step(real, found)
    (real / "record.json").write_text(json.dumps(
        {"step": "phantom", "config": {}, "inputs": {}, "outputs": {}, "finished": True, "facts": {}}
    ))  # fmt: skip
    assert not are_of_phantom_step(real, found)
    listed.write_text(listed.read_text() + "0" * 64 + "  F0/DOE_JANE.png\n")  # the list is not the recorded one
    assert not are_of_phantom_step(copy, found)
