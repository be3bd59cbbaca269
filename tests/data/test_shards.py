"""Shards: what was decoded once is kept, in order, and read back piece by piece."""

import numpy as np
import pytest
from PIL import Image

from fibrokd.data import shards
from fibrokd.data.ingest import IngestJob, Refusal, ingest
from fibrokd.data.limits import ReadLimits
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.sources import DataConfig, SourceFile, find_files
from fibrokd.errors import InputError


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FILES_PER_SHARD", 4)
    root = tmp_path / "images"
    (root / "F1").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(10):
        path = root / "F1" / f"{number}.png"
        if number in (1, 4, 5, 6, 7):
            path.write_bytes(b"broken")
        else:
            Image.fromarray(random.integers(0, 256, (40, 40), dtype=np.uint8)).save(path)
    spec = PreprocessSpec(size=32, crop="full")
    return [IngestJob(root, file, spec, ReadLimits()) for file in find_files(DataConfig(root=root)).files]


def test_frames_come_back_in_file_order_with_their_own_pixels(jobs, tmp_path):
    intake = shards.take_in(shards.ingest_shards(jobs, tmp_path / "cache"))
    assert list(intake.table["path"]) == [f"F1/{n}.png" for n in (0, 2, 3, 8, 9)]
    assert [refusal.path for refusal in intake.refusals] == [f"F1/{n}.png" for n in (1, 4, 5, 6, 7)]
    intake.write_pixels(tmp_path / "pixels.npy", 32)
    stored = np.load(tmp_path / "pixels.npy")
    for row, number in enumerate((0, 2, 3, 8, 9)):
        (frame,) = ingest(jobs[number]).frames
        assert (stored[row] == frame.pixels).all()
        assert (intake.thumbnails(np.array([row]))[0] == frame.thumbnail).all()


def test_rows_set_aside_leave_table_and_pixels_and_are_listed(jobs, tmp_path):
    intake = shards.take_in(shards.ingest_shards(jobs, tmp_path / "cache"))
    left = intake.without(np.array([False, True, False, True, False]), "why", "because")
    assert list(left.table["path"]) == ["F1/0.png", "F1/3.png", "F1/9.png"]
    assert left.refusals[-2:] == (Refusal("F1/2.png", 0, "why", "because"), Refusal("F1/8.png", 0, "why", "because"))
    left.write_pixels(tmp_path / "pixels.npy", 32)
    assert (np.load(tmp_path / "pixels.npy")[2] == ingest(jobs[9]).frames[0].pixels).all()


def test_a_finished_shard_is_not_made_again(jobs, tmp_path):
    first = shards.ingest_shards(jobs, tmp_path / "cache")
    before = {shard.path: shard.path.stat().st_mtime_ns for shard in first}
    (tmp_path / "cache" / "000001.npz").unlink()
    again = shards.ingest_shards(jobs, tmp_path / "cache")
    assert [shard.rows for shard in again] == [shard.rows for shard in first]
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == ["000001.npz"]


def test_nothing_readable_is_refused_with_an_example(jobs, tmp_path):
    with pytest.raises(InputError, match="all 4 files were refused, for example because"):
        shards.take_in(shards.ingest_shards(jobs[4:8], tmp_path / "cache"))


def test_patients_named_by_header_and_by_table_are_compared_over_the_whole_collection(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(tmp_path / "x.png")
    stated = ["SITE|0012", "12", "A|7", "B|7", "A|7"]
    files = [SourceFile("x.png", "F1", patient) for patient in stated]
    spec = PreprocessSpec(size=32, crop="full")
    jobs = [IngestJob(tmp_path, file, spec, ReadLimits(), secret=b"secret" * 4) for file in files]
    one, two, a, b, again = shards.take_in(shards.ingest_shards(jobs, tmp_path / "cache")).table["patient"]
    assert one == two
    assert a == again != b
    assert "issuer" not in shards.take_in(shards.ingest_shards(jobs, tmp_path / "cache")).table
