"""The ``phantom`` step: records, resuming, shipped configurations."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import pydicom
import pytest

from fibrokd.artifacts import read_record, require
from fibrokd.config import load_config
from fibrokd.errors import ArtifactError
from fibrokd.phantom.plan import plan_cohort
from fibrokd.pipeline import phantom
from fibrokd.pipeline.phantom import PhantomConfig, run

CONFIGS = Path(__file__).parents[2] / "configs" / "phantom"
TINY = PhantomConfig(patients=5, frames=2, size=64, workers=1)


def test_a_run_is_recorded_with_its_truth_and_image_digests(tmp_path):
    out = tmp_path / "cohort"
    record = run(TINY, out)
    assert record == require(out, "phantom")
    assert set(record.outputs) == {"truth.csv", "images.sha256"}
    assert "workers" not in record.config
    assert record.facts["files"] == 10
    assert sorted(path.name for path in out.iterdir()) == [
        "F0", "F1", "F2", "F3", "F4", "images.sha256", "record.json", "truth.csv",
    ]  # fmt: skip


def test_a_finished_run_is_left_alone_and_another_configuration_refused(tmp_path):
    first = run(TINY, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert run(TINY.model_copy(update={"workers": 2}), tmp_path).digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps
    with pytest.raises(ArtifactError, match="seed"):
        run(TINY.model_copy(update={"seed": 1}), tmp_path)


def test_an_image_altered_after_the_run_is_noticed(tmp_path):
    run(TINY, tmp_path)
    next(tmp_path.glob("F3/*.png")).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        run(TINY, tmp_path)


def test_a_killed_run_keeps_its_images_and_ends_with_the_same_digest(tmp_path, monkeypatch):
    whole = run(TINY, tmp_path / "whole")

    def killed(config, root):
        from fibrokd.phantom import writing

        for plan in plan_cohort(config)[:3]:
            writing.write_clip(writing.Job(root, config, plan))
        next(root.glob("F*/*.png")).unlink()
        folder = next(root.glob("F*"))
        (folder / ".P0000_C0_000.png.half.png").write_bytes(b"half")
        raise KeyboardInterrupt

    out = tmp_path / "resumed"
    with monkeypatch.context() as patch:
        patch.setattr(phantom, "write_cohort", killed)
        with pytest.raises(KeyboardInterrupt):
            run(TINY, out)
    assert not read_record(out).finished
    kept = {path: path.stat().st_mtime_ns for path in out.glob("F*/P*.png")}
    assert len(kept) == 5
    resumed = run(TINY, out)
    assert resumed.digest == whole.digest
    assert resumed.facts["kept"] == 5
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not list(out.glob("F*/.*"))


@pytest.mark.slow
def test_a_run_that_is_killed_outright_ends_with_the_same_digest(tmp_path):
    whole = run(TINY, tmp_path / "whole")
    out = tmp_path / "killed"
    program = (
        "from pathlib import Path; from fibrokd.pipeline.phantom import PhantomConfig, run;"
        f"run(PhantomConfig.model_validate_json({TINY.model_dump_json()!r}), Path({str(out)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        deadline = time.monotonic() + 120
        while len(list(out.glob("F*/P*.png"))) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert len(list(out.glob("F*/P*.png"))) >= 3
    assert run(TINY, out).digest == whole.digest


@pytest.mark.parametrize("form", ["dicom", "dicom_cine"])
def test_dicom_cohorts_are_read_by_path_from_the_truth(tmp_path, form):
    run(PhantomConfig(patients=3, frames=2, size=64, workers=1, format=form), tmp_path)
    with (tmp_path / "truth.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == (6 if form == "dicom" else 3)
    for row in rows:
        dataset = pydicom.dcmread(tmp_path / row["path"])
        assert dataset.PatientID == row["patient"]
        assert row["stage"] not in row["path"]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_run(path, tmp_path):
    overrides = ["patients=2", "clips=1", "frames=1", "size=64", "workers=1"]
    config = load_config(path, PhantomConfig)
    assert len(plan_cohort(config)) == config.patients * config.clips
    assert run(load_config(path, PhantomConfig, overrides), tmp_path / "out").finished
