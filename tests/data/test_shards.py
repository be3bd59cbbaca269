"""Shards: what was decoded once is kept, in order, and read back piece by piece."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fibrokd.data import fingerprint, margins, shards
from fibrokd.data.ingest import IngestJob, IngestResult, Refusal, ingest
from fibrokd.data.intake import take_in
from fibrokd.data.isolation import WorkerLimits
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
    return [
        IngestJob(root, file, spec, ReadLimits(), without_fan="keep")
        for file in find_files(DataConfig(root=root)).files
    ]


def test_frames_come_back_in_file_order_with_their_own_pixels(jobs, tmp_path):
    intake = take_in(shards.ingest_shards(jobs, tmp_path / "cache"))
    paths = list(intake.table["path"])
    assert sorted(paths) == [f"F1/{n}.png" for n in (0, 2, 3, 8, 9)]
    assert [refusal.path for refusal in intake.refusals] == [f"F1/{n}.png" for n in (1, 4, 5, 6, 7)]
    intake.write_pixels(tmp_path / "pixels.npy", 32)
    stored = np.load(tmp_path / "pixels.npy")
    for row, path in enumerate(paths):
        (frame,) = ingest(jobs[int(path[3])]).frames
        assert (stored[row] == frame.pixels).all()
        assert (intake.thumbnails(np.array([row]))[0] == frame.thumbnail).all()
        assert (intake.fingerprints(np.array([row]))[0] == frame.fingerprint).all()
        assert (intake.margins(np.array([row]))[0] == frame.margins).all()
    assert intake.fingerprints(np.array([1, 3])).shape == (2, fingerprint.LENGTH)
    assert intake.margins(np.arange(0)).shape == (0, margins.COUNT)


def test_rows_set_aside_leave_table_and_pixels_and_are_listed(jobs, tmp_path):
    intake = take_in(shards.ingest_shards(jobs, tmp_path / "cache"))
    left = intake.without(np.array([False, True, False, True, False]), "why", "because")
    paths = list(intake.table["path"])
    assert list(left.table["path"]) == paths[::2]
    assert left.refusals[-2:] == tuple(Refusal(path, 0, "why", "because", 0) for path in paths[1::2])
    left.write_pixels(tmp_path / "pixels.npy", 32)
    assert (np.load(tmp_path / "pixels.npy")[2] == ingest(jobs[int(paths[4][3])]).frames[0].pixels).all()


def test_a_finished_shard_is_not_made_again(jobs, tmp_path):
    first = shards.ingest_shards(jobs, tmp_path / "cache")
    before = {shard.path: shard.path.stat().st_mtime_ns for shard in first}
    (tmp_path / "cache" / "000001.npz").unlink()
    again = shards.ingest_shards(jobs, tmp_path / "cache")
    assert [shard.rows for shard in again] == [shard.rows for shard in first]
    changed = [path.name for path, time in before.items() if path.stat().st_mtime_ns != time]
    assert changed == ["000001.npz"]


def test_nothing_readable_is_refused_with_an_example(jobs, tmp_path):
    with pytest.raises(InputError, match=r"all 4 were refused \(not_an_image: 4\), for example because"):
        take_in(shards.ingest_shards(jobs[4:8], tmp_path / "cache"))


def test_patients_named_by_header_and_by_table_are_compared_over_the_whole_collection(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(tmp_path / "x.png")
    stated = ["SITE|0012", "12", "A|7", "B|7", "A|7"]
    files = [SourceFile("x.png", "F1", patient) for patient in stated]
    spec = PreprocessSpec(size=32, crop="full")
    jobs = [IngestJob(tmp_path, file, spec, ReadLimits(), secret=b"secret" * 4, without_fan="keep") for file in files]
    intake = take_in(shards.ingest_shards(jobs, tmp_path / "cache"))
    one, two, a, b, again = intake.table["patient"].to_numpy()[np.argsort(intake.frames)]
    assert one == two
    assert a == again != b
    assert "issuer" not in take_in(shards.ingest_shards(jobs, tmp_path / "cache")).table


def test_rows_do_not_follow_the_order_of_paths(jobs, tmp_path):
    intake = take_in(shards.ingest_shards(jobs, tmp_path / "cache"))
    assert list(intake.table["image_id"]) == sorted(intake.table["image_id"])
    assert intake.frames.tolist() != sorted(intake.frames)
    rows = np.array([4, 0, 2])
    picked = [intake.thumbnails(np.array([row]))[0] for row in rows]
    assert (intake.thumbnails(rows) == np.stack(picked)).all()


def test_empty_pictures_of_different_files_are_not_one_content(jobs, tmp_path):
    for number, grey in ((0, 0), (2, 0), (3, 7), (8, 7)):
        picture = np.full((40, 40), grey, dtype=np.uint8)
        picture[0, 0] += 1  # not blank to the reader; nothing is left of it in a fingerprint
        Image.fromarray(picture).save(jobs[0].root / f"F1/{number}.png", compress_level=number)
    table = take_in(shards.ingest_shards(jobs, tmp_path / "cache")).table
    frames = [frame for job in jobs for frame in ingest(job).frames]
    assert len({frame.row["pixel_digest"] for frame in frames}) == 3
    assert len(frames) == len(table) == table["pixel_digest"].nunique() == 5


@pytest.mark.parametrize("damage", [b"", b"PK", None, "middle"])
def test_a_damaged_shard_is_made_again(jobs, tmp_path, damage):
    first = shards.ingest_shards(jobs, tmp_path / "cache")
    kept = contents(first)
    path = first[0].path
    whole = path.read_bytes()
    if damage == "middle":
        path.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    else:
        path.write_bytes(whole[:-2000] if damage is None else damage)
    assert contents(shards.ingest_shards(jobs, tmp_path / "cache")) == kept


# --------------------------------------------------------------------------- workers
def hostile(job: IngestJob) -> IngestResult:
    """Read a file like :func:`ingest`, and do to this process what some of them say."""
    content = (job.root / job.source.path).read_bytes()
    if content == b"abort":
        os.abort()
    if content == b"hang":
        time.sleep(60)
    return ingest(job)


@pytest.fixture
def killers(jobs):
    for number, content in ((1, b"abort"), (5, b"hang")):
        (jobs[0].root / f"F1/{number}.png").write_bytes(content)
    return jobs


def contents(made):
    return [
        (shard.rows, shard.refusals, shard.notes, *(shard.array(name).tobytes() for name in ("pixels", "margins")))
        for shard in made
    ]


def test_files_that_kill_their_worker_are_refused_and_the_rest_of_their_shard_is_not_lost(killers, tmp_path):
    made = shards.ingest_shards(killers, tmp_path / "cache", 1, WorkerLimits(seconds_per_file=0.5), hostile)
    reasons = {refusal.path: refusal.reason for shard in made for refusal in shard.refusals}
    assert reasons == {
        "F1/1.png": "crashed",
        "F1/4.png": "not_an_image",
        "F1/5.png": "too_slow",
        "F1/6.png": "not_an_image",
        "F1/7.png": "not_an_image",
    }
    assert [row["path"] for shard in made for row in shard.rows] == [f"F1/{n}.png" for n in (0, 2, 3, 8, 9)]


@pytest.mark.slow  # three processes
def test_shards_are_the_same_in_this_process_and_with_one_or_two_workers(jobs, tmp_path):
    here = contents(shards.ingest_shards(jobs, tmp_path / "here"))
    assert here == contents(shards.ingest_shards(jobs, tmp_path / "one", 1, WorkerLimits()))
    assert here == contents(shards.ingest_shards(jobs, tmp_path / "two", 2))


def test_a_picture_that_needs_more_memory_than_its_worker_may_take_is_refused(jobs, tmp_path):
    large = np.zeros((7000, 7000), np.uint8)  # two copies of it are needed
    large[::50] = 99
    Image.fromarray(large).save(jobs[0].root / "F1/3.png")
    (shard, *_) = shards.ingest_shards(jobs[:4], tmp_path / "cache", 1, WorkerLimits(memory_mb=64))
    reasons = {refusal.path: refusal.reason for refusal in shard.refusals}
    assert reasons == {"F1/1.png": "not_an_image", "F1/3.png": "too_much_memory"}
    assert [row["path"] for row in shard.rows] == ["F1/0.png", "F1/2.png"]


_MEASURE = """
import resource, sys
from pathlib import Path
from fibrokd.data.ingest import IngestJob
from fibrokd.data.intake import take_in
from fibrokd.data.isolation import WorkerLimits
from fibrokd.data.limits import ReadLimits
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.shards import ingest_shards
from fibrokd.data.sources import DataConfig, find_files

if __name__ == "__main__":
    root, files = Path(sys.argv[1]), int(sys.argv[2])
    found = find_files(DataConfig(root=root)).files
    many = (found * files)[:files]
    jobs = [IngestJob(root, file, PreprocessSpec(size=128), ReadLimits(), without_fan="keep") for file in many]
    made = ingest_shards(jobs, Path(sys.argv[3]), 1, WorkerLimits())
    assert sum(len(shard.rows) for shard in made) == files
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow  # thousands of files
def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    root = tmp_path / "images" / "F1"
    root.mkdir(parents=True)
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (300, 400), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    script = tmp_path / "measure.py"
    script.write_text(_MEASURE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    peaks = []
    for files in (200, 2000):
        arguments = [sys.executable, str(script), str(root.parent), str(files), str(tmp_path / f"cache{files}")]
        answer = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
        peaks.append([int(peak) / 1024 for peak in answer.stdout.split()])
    (parent, worker), (parent_of_many, worker_of_many) = peaks
    assert worker_of_many - worker < 10  # MB; the pictures alone of 1,800 more files are 216
    assert parent_of_many - parent < 20  # rows of the manifest: under 10 KB per file


def impatient(job: IngestJob) -> IngestResult:
    """Take a second over one of the files."""
    if job.source.path == "F1/8.png":
        time.sleep(1)
    return ingest(job)


def test_a_file_that_was_too_slow_is_tried_again_by_a_run_with_higher_limits(jobs, tmp_path):
    made = shards.ingest_shards(jobs[8:], tmp_path / "cache", 1, WorkerLimits(seconds_per_file=0.4), impatient)
    assert [refusal.reason for shard in made for refusal in shard.refusals] == ["too_slow"]
    again = shards.ingest_shards(jobs[8:], tmp_path / "cache", 1, WorkerLimits(seconds_per_file=20), impatient)
    assert [refusal.reason for shard in again for refusal in shard.refusals] == []
