"""Command ``compare``: reads finished assessments only, needs no torch, and writes a folder like any step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fibrokd.artifacts import read_record
from fibrokd.cli import cli
from fibrokd.errors import ArtifactError, ConfigError, InputError
from fibrokd.files import read_json
from fibrokd.pipeline import compare
from fibrokd.pipeline.compare import CompareConfig, sampling
from tests.evaluation.made_up_assessed import answers, write_assessed

QUICK = CompareConfig(resamples=100)


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [write_assessed(tmp_path / f"seed_{k}", answers(k, patients=20), seed=k) for k in (0, 1)]


def _bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "record.json"}


def test_the_command_writes_a_finished_folder_with_digests_of_what_it_read(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["compare", *map(str, runs), "--out", str(out), "--networks", "student_kd", "--resamples", "100"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    record = read_record(out)
    assert record.finished
    assert set(record.outputs) == set(_bytes(out)) == {"compare.csv", "compare.html", "compare.json"}
    assert record.inputs["seed_0"] == read_record(runs[0]).digest
    assert record.config["resamples"] == 100
    document = read_json(out / "compare.json")
    assert list(document["networks"]) == ["seed_0/student_kd", "seed_1/student_kd"]
    assert document["runs"]["seed_1"]["digest"] == read_record(runs[1]).digest
    assert document["bootstrap"]["resamples"] == 100
    html = (out / "compare.html").read_text(encoding="utf-8")
    assert "2 runs, 2 networks, compared on 40 simulated test images in 20 clusters" in html


def test_equal_runs_give_equal_bytes_wherever_they_lie(runs: list[Path], tmp_path: Path) -> None:
    others = [write_assessed(tmp_path / "far" / f"seed_{k}", answers(k, patients=20), seed=k) for k in (0, 1)]
    compare.run(runs, tmp_path / "out", QUICK)
    compare.run(others, tmp_path / "far" / "out", QUICK)
    assert _bytes(tmp_path / "out") == _bytes(tmp_path / "far" / "out")
    assert read_record(tmp_path / "out").digest == read_record(tmp_path / "far" / "out").digest


def test_a_finished_folder_is_left_alone_and_another_is_never_overwritten(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare.run(runs, out, QUICK)
    before = (out / "record.json").stat().st_mtime_ns
    compare.run(runs, out, QUICK)
    assert (out / "record.json").stat().st_mtime_ns == before
    with pytest.raises(ArtifactError, match="made by another run"):
        compare.run(runs[::-1], out, QUICK)
    with pytest.raises(ArtifactError, match="seed: 0 → 1"):
        compare.run(runs, out, QUICK.model_copy(update={"seed": 1}))


def test_what_cannot_be_compared_leaves_no_folder(runs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="two or more"):
        compare.run(runs[:1], out, QUICK)
    other = write_assessed(tmp_path / "other", answers(2, patients=20), seed=2, epochs=9)
    with pytest.raises(InputError, match="nothing but the seed"):
        compare.run([runs[0], other], out, QUICK.model_copy(update={"same_but_seed": True}))
    assert not out.exists()
    result = CliRunner().invoke(cli, ["compare", *map(str, runs), "--out", str(out), "--resamples", "5"])
    assert isinstance(result.exception, ConfigError)


def test_more_networks_take_more_resamples_so_that_a_difference_can_be_seen() -> None:
    assert sampling(CompareConfig(), 2, ()).resamples == 1000
    many = sampling(CompareConfig(seed=3), 8, ())
    assert (many.resamples, many.seed) == (11_200, 3)
    assert 28 * 2 / (many.resamples + 1) < 0.05 < 28 * 2 / 1001
    assert sampling(CompareConfig(), 50, ()).resamples == 100_000
    assert sampling(QUICK, 8, ()).resamples == 100


def test_the_strictest_of_the_runs_decides_how_intervals_are_made(tmp_path: Path) -> None:
    strict = {"bootstrap": {"level": 0.99, "min_clusters": 30}}
    folders = [
        write_assessed(tmp_path / "a", answers(0, patients=20)),
        write_assessed(tmp_path / "b", answers(1, patients=20), config=strict),
    ]
    compare.run(folders, tmp_path / "out", QUICK)
    document = read_json(tmp_path / "out" / "compare.json")
    assert document["level"] == 0.99
    assert "at least 30 needed" in document["networks"]["a/teacher"]["test"]["accuracy"]["note"]


def test_images_that_networks_learned_from_are_not_compared_on(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found those of the train split"):
        compare.run(runs, tmp_path / "out", QUICK.model_copy(update={"split": "train"}))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_no_torch_is_needed(runs: list[Path], tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fibrokd.pipeline import compare;"
        f"compare.run([Path({str(runs[0])!r}), Path({str(runs[1])!r})], Path({str(tmp_path / 'out')!r}),"
        " compare.CompareConfig(resamples=100)); print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "False"
