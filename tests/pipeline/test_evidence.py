"""Command ``evidence``: reads finished runs only, writes beside them, and leads back to them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fibrokd.artifacts import read_record
from fibrokd.cli import cli
from fibrokd.errors import ArtifactError
from fibrokd.files import read_json, write_json
from fibrokd.pipeline import evidence
from tests.evaluation.made_up_run import write_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


def _texts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "record.json"}


def test_the_command_writes_a_finished_folder_with_digests_of_what_it_read(run_folder: Path) -> None:
    result = CliRunner().invoke(cli, ["evidence", str(run_folder), str(run_folder / "evidence")])
    assert result.exit_code == 0, result.output
    record = read_record(run_folder / "evidence")
    assert record.finished
    assert set(record.outputs) == set(_texts(run_folder / "evidence"))
    assert record.inputs["assess"] == read_record(run_folder / "assess").digest
    assert set(record.inputs) == {"prepared", "assess", "book", "bundle", "teacher", "student_kd"}


def test_equal_runs_give_equal_bytes_wherever_they_lie(run_folder: Path, tmp_path: Path) -> None:
    elsewhere = write_run(tmp_path / "quite" / "another")
    evidence.run(run_folder, run_folder / "evidence")
    evidence.run(elsewhere, elsewhere / "evidence")
    assert _texts(run_folder / "evidence") == _texts(elsewhere / "evidence")
    assert read_record(run_folder / "evidence").digest == read_record(elsewhere / "evidence").digest


def test_a_finished_folder_is_left_alone_and_another_is_never_overwritten(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    evidence.run(run_folder, out)
    before = (out / "record.json").stat().st_mtime_ns
    evidence.run(run_folder, out)
    assert (out / "record.json").stat().st_mtime_ns == before
    with pytest.raises(ArtifactError, match="made by another run"):
        evidence.run(write_run(tmp_path / "second", verdict="caution"), out)


def test_links_lead_from_a_folder_beside_the_run_to_the_run(run_folder: Path, tmp_path: Path) -> None:
    evidence.run(run_folder, tmp_path / "papers" / "evidence")
    page = (tmp_path / "papers" / "evidence" / "claim_2024.html").read_text()
    assert 'href="../../run/assess/report.html#metrics"' in page
    assert str(tmp_path) not in page


def test_a_way_through_the_root_is_refused_since_it_would_name_folders_of_the_machine(run_folder: Path) -> None:
    with pytest.raises(ArtifactError, match="near the run"):
        evidence.run(run_folder, Path("/nowhere-near/evidence"))


@pytest.mark.parametrize("part", ["prepared", "assess"])
def test_a_run_without_a_part_that_is_needed_is_refused(run_folder: Path, part: str) -> None:
    shutil.rmtree(run_folder / part)
    with pytest.raises(ArtifactError, match=part) as error:
        evidence.run(run_folder, run_folder / "evidence")
    assert error.value.todo
    assert not (run_folder / "evidence").exists()


@pytest.mark.parametrize("part", ["prepared", "assess", "bundle", "student_kd"])
def test_an_unfinished_part_is_refused(run_folder: Path, part: str) -> None:
    record = read_json(run_folder / part / "record.json")
    write_json(run_folder / part / "record.json", record | {"finished": False})
    with pytest.raises(ArtifactError, match="unfinished"):
        evidence.run(run_folder, run_folder / "evidence")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="finished run"):
        evidence.run(tmp_path / "nowhere", tmp_path / "out")


def test_an_altered_figure_is_refused(run_folder: Path) -> None:
    metrics = read_json(run_folder / "assess/metrics.json")
    metrics["networks"]["student_kd"]["test"]["accuracy"]["value"] = 0.999
    write_json(run_folder / "assess/metrics.json", metrics)
    with pytest.raises(ArtifactError, match="altered"):
        evidence.run(run_folder, run_folder / "evidence")


def test_parts_of_different_runs_are_refused(run_folder: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", verdict="caution")
    shutil.rmtree(run_folder / "prepared")
    shutil.copytree(other / "prepared", run_folder / "prepared")
    with pytest.raises(ArtifactError, match="read another"):
        evidence.run(run_folder, run_folder / "evidence")


def test_a_run_without_book_and_bundle_is_described_all_the_same(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", book=False, bundle=False)
    evidence.run(folder, folder / "evidence")
    assert "released no bundle" in (folder / "evidence" / "model_card.md").read_text()


@pytest.mark.slow
def test_no_torch_is_needed(run_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fibrokd.pipeline import evidence;"
        f"evidence.run(Path({str(run_folder)!r}), Path({str(run_folder / 'evidence')!r}));"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
