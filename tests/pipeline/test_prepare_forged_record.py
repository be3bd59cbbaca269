"""A record.json beside real pictures makes nobody's pictures of them: names stay hidden, whole frames stay out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fibrokd.artifacts import RECORD
from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared, read_table
from fibrokd.files import digest_file
from fibrokd.phantom.writing import DIGESTS
from fibrokd.pipeline import phantom
from fibrokd.pipeline.prepare import PrepareConfig, run
from fibrokd.stages import METAVIR
from tests.data.sectors import draw_sector, encode

PATIENTS, FRAMES, SIZE = 25, 1, 64
NAME = "DOE_JANE"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A true phantom cohort, five patients of every stage."""
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    asked = {"patients": PATIENTS, "frames": FRAMES, "size": SIZE, "workers": 1}
    phantom.run(parse_config(asked, phantom.PhantomConfig), out)
    return out


def real(root: Path) -> list[Path]:
    """Write sectors of 25 patients into stage and patient folders, and one frame without a fan."""
    files = []
    for patient in range(PATIENTS):
        file = root / METAVIR.names[patient % 5] / f"{NAME}{patient}" / f"scan{patient}.png"
        file.parent.mkdir(parents=True)
        file.write_bytes(encode(draw_sector(seed=patient)[0]))
        files.append(file)
    page = root / "F0" / f"{NAME}0" / "page.png"
    page.write_bytes(encode(draw_sector(seed=99)[0][::-1]))  # upside down: no fan
    return [*files, page]


def prepared(root: Path, out: Path) -> Prepared:
    asked = {
        "data": {"root": str(root)}, "preprocess": {"size": 32}, "controls": {"enabled": False},
        "identity_key": str(out.parent / "identity.key"), "workers": 1, "isolation": None,
    }  # fmt: skip
    run(parse_config(asked, PrepareConfig), out)
    return Prepared.open(out)


def as_real(root: Path, out: Path) -> None:
    """Prepare, and see that the pictures were treated as those of persons."""
    found = prepared(root, out)
    assert found.stamp["synthetic"] is False
    told = json.loads((out / "integrity.json").read_text())
    assert told["synthetic"] is False
    assert told["card"] is None
    assert (out.parent / "identity.key").is_file()
    patients = read_table(out / "identities.csv")["patient"]
    assert patients.nunique() == PATIENTS
    assert not patients.str.contains(NAME).any()
    refused = read_table(out / "quarantine.csv")
    assert dict(zip(refused["path"], refused["reason"], strict=True))[f"F0/{NAME}0/page.png"] == "no_fan"


def record(outputs: dict[str, str], step: str, finished: bool) -> str:
    made = {"step": step, "config": {}, "inputs": {}, "outputs": outputs, "finished": finished, "facts": {}}
    return json.dumps(made)


def test_without_a_record_pictures_are_those_of_persons(tmp_path: Path) -> None:
    real(tmp_path / "images")
    as_real(tmp_path / "images", tmp_path / "out")


def test_a_true_cohort_is_recognised_so_that_the_other_tests_can_fail(cohort: Path, tmp_path: Path) -> None:
    found = prepared(cohort, tmp_path / "out")
    assert found.stamp["synthetic"] is True
    assert not (tmp_path / "identity.key").exists()
    assert "Generated" in json.loads((tmp_path / "out" / "integrity.json").read_text())["card"]["provenance"]


@pytest.mark.parametrize("forgery", ["no list", "empty list", "list of other pictures", "unfinished", "another step"])
def test_a_made_up_record_beside_real_pictures_changes_nothing(forgery: str, tmp_path: Path) -> None:
    root, listed = tmp_path / "images", tmp_path / "images" / DIGESTS
    files = real(root)
    lines = [f"{digest_file(file)}  {file.relative_to(root).as_posix()}\n" for file in files]
    if forgery == "list of other pictures":
        lines = [f"{'0' * 64}{line[64:]}" for line in lines]
    if forgery != "no list":
        listed.write_text("" if forgery == "empty list" else "".join(lines))
    outputs = {DIGESTS: digest_file(listed) if listed.exists() else "0" * 64}
    step = "prepare" if forgery == "another step" else "phantom"
    (root / RECORD).write_text(record(outputs, step, finished=forgery != "unfinished"))
    as_real(root, tmp_path / "out")


def test_record_and_list_of_a_true_cohort_do_not_vouch_for_other_pictures(cohort: Path, tmp_path: Path) -> None:
    real(tmp_path / "images")
    for name in (RECORD, DIGESTS):
        shutil.copy(cohort / name, tmp_path / "images" / name)
    as_real(tmp_path / "images", tmp_path / "out")


def test_a_list_that_was_written_anew_is_not_the_one_that_was_recorded(cohort: Path, tmp_path: Path) -> None:
    root = tmp_path / "images"
    files = real(root)
    shutil.copy(cohort / RECORD, root / RECORD)
    lines = [f"{digest_file(file)}  {file.relative_to(root).as_posix()}\n" for file in files]
    (root / DIGESTS).write_text((cohort / DIGESTS).read_text() + "".join(lines))
    as_real(root, tmp_path / "out")


def test_one_real_picture_among_generated_ones_makes_all_of_them_those_of_persons(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(cohort, tmp_path / "mixed"))
    (root / "F2" / f"{NAME}_scan.png").write_bytes(encode(draw_sector(seed=1)[0]))
    found = prepared(root, tmp_path / "out")
    assert found.stamp["synthetic"] is False
    told = capsys.readouterr().err
    assert "1 of 26 files" in told
    assert NAME not in told
