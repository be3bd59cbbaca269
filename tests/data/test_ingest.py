"""Ingest: one file to rows and pixels, in a worker, whatever the file holds."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.ingest import check_frames, jobs_of
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.ingest import IngestJob, Refusal, ingest, thumbnail
from fibrokd.data.limits import ReadLimits
from fibrokd.data.manifest import ROW_COLUMNS, check_manifest
from fibrokd.data.preprocess import PreprocessSpec, preprocess
from fibrokd.data.reading import read
from fibrokd.data.shards import write_shard
from fibrokd.data.sources import DataConfig, SourceFile, find_files
from fibrokd.data.walking import written
from fibrokd.errors import InputError
from fibrokd.files import digest_bytes
from fibrokd.stages import METAVIR
from tests.data.objects import MULTI, jpeg_cine, monochrome, region, to_bytes
from tests.data.sectors import draw_sector, encode

SPEC = PreprocessSpec(size=96)


def job(root: Path, source: SourceFile) -> IngestJob:
    return IngestJob(root=root, source=source, preprocess=SPEC, limits=ReadLimits(), secret=b"secret" * 4)


def test_a_folder_becomes_a_manifest_that_passes_its_check(tmp_path: Path) -> None:
    for stage in range(5):
        (tmp_path / f"F{stage}").mkdir()
        (tmp_path / f"F{stage}" / "a.png").write_bytes(encode(draw_sector(seed=stage)[0]))
    cine = [draw_sector(seed=k)[0] for k in range(10)]
    (tmp_path / "F4" / "cine.dcm").write_bytes(to_bytes(jpeg_cine(cine)))
    results = [ingest(job(tmp_path, source)) for source in find_files(DataConfig(root=tmp_path)).files]
    frames = [frame for result in results for frame in result.frames]
    assert not any(result.refusals for result in results)
    assert len(frames) == 8
    table = pd.DataFrame([frame.row for frame in frames], columns=list(ROW_COLUMNS))
    check_manifest(table, METAVIR)
    assert list(table["frame"]) == [0, 0, 0, 0, 0, 2, 5, 8]
    assert table["patient"].nunique() == 2  # none for the pictures, one stand-in for the cine
    assert not table["patient"].str.contains("CASE").any()
    assert table["cropped"].astype(bool).all()
    assert all(frame.pixels.shape == (96, 96) and frame.thumbnail.shape == (48, 48) for frame in frames)


def test_pixels_are_those_of_reading_and_preprocessing(tmp_path: Path) -> None:
    data = encode(draw_sector()[0])
    (tmp_path / "a.png").write_bytes(data)
    (frame,) = ingest(job(tmp_path, SourceFile("a.png", "F2"))).frames
    (image,) = read(tmp_path / "a.png")
    np.testing.assert_array_equal(frame.pixels, preprocess(image, SPEC).pixels)
    np.testing.assert_array_equal(frame.thumbnail, thumbnail(image, preprocess(image, SPEC)))
    assert frame.row["file_digest"] == digest_bytes(data)


def test_a_thumbnail_is_the_mean_of_what_it_covers() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    image = UltrasoundImage(pixels=np.kron(blocks, np.ones((5, 7), np.uint8)), format="PNG")
    done = preprocess(image, PreprocessSpec(size=96, crop="full"))
    np.testing.assert_array_equal(thumbnail(image, done), blocks)


def test_what_is_burned_in_beside_the_fan_changes_nothing_that_is_kept(tmp_path: Path) -> None:
    picture, mask = draw_sector()
    marked = picture.copy()
    marked[2:12, 2:70] = np.random.default_rng(1).integers(0, 2, (10, 68), dtype=np.uint8) * 255
    marked[226:236, 2:40] = 255
    assert not mask[marked != picture].any()
    (tmp_path / "clean.png").write_bytes(encode(picture))
    (tmp_path / "marked.png").write_bytes(encode(marked))
    clean, named = (ingest(job(tmp_path, SourceFile(f"{n}.png", "F2"))).frames[0] for n in ("clean", "marked"))
    assert clean.row["cropped"] == named.row["cropped"] == 1
    np.testing.assert_array_equal(clean.pixels, named.pixels)
    np.testing.assert_array_equal(clean.thumbnail, named.thumbnail)
    np.testing.assert_array_equal(clean.fingerprint, named.fingerprint)
    assert not np.array_equal(clean.margins, named.margins)  # the controls must see that something is there


def test_evidence_does_not_depend_on_what_the_network_is_shown(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(draw_sector()[0]))
    cut = job(tmp_path, SourceFile("a.png", "F2"))
    whole = replace(cut, preprocess=PreprocessSpec(size=96, crop="full"), without_fan="keep")
    one, other = ingest(cut).frames[0], ingest(whole).frames[0]
    np.testing.assert_array_equal(one.fingerprint, other.fingerprint)
    np.testing.assert_array_equal(one.margins, other.margins)


def test_what_lies_outside_a_declared_tissue_box_is_black_in_the_thumbnail(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 256, (96, 96), dtype=np.uint8)
    dataset = monochrome(noise, SequenceOfUltrasoundRegions=[region((24, 0, 95, 47))])
    (tmp_path / "a.dcm").write_bytes(to_bytes(dataset))
    (frame,) = ingest(job(tmp_path, SourceFile("a.dcm", "F2"))).frames
    expected = np.zeros((48, 48), bool)
    expected[12:, :24] = True
    assert frame.row["cropped"] == 1
    np.testing.assert_array_equal(frame.thumbnail > 0, expected)


def test_a_frame_without_a_fan_is_kept_as_a_whole_or_refused_as_asked(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(encode(noise))
    asked = job(tmp_path, SourceFile("a.png", "F2"))
    (frame,) = ingest(replace(asked, without_fan="keep")).frames
    assert frame.row["cropped"] == 0
    strict = ingest(asked)
    assert strict.frames == ()
    assert [(refusal.frame, refusal.part, refusal.reason) for refusal in strict.refusals] == [(0, 0, "no_fan")]
    (tmp_path / "b.png").write_bytes(encode(draw_sector()[0]))
    assert ingest(replace(asked, source=SourceFile("b.png", "F2"), without_fan="refuse")).frames


@pytest.mark.parametrize("text", [True, False])
def test_the_empty_half_of_a_dual_screen_is_refused_alone(tmp_path: Path, text: bool) -> None:
    screen = np.zeros((260, 640), np.uint8)
    screen[20:, :320] = draw_sector()[0]
    screen[2:8, 5:60:3] = 200 * text
    halves = [region((20, 0, 259, 319)), region((20, 320, 259, 639))]
    (tmp_path / "a.dcm").write_bytes(to_bytes(monochrome(screen, SequenceOfUltrasoundRegions=halves)))
    result = ingest(job(tmp_path, SourceFile("a.dcm", "F2")))
    assert [frame.row["part"] for frame in result.frames] == [0]
    detail = "every pixel of the picture is 0"
    assert result.refusals == (Refusal("a.dcm", 0, "blank", detail, 1),)


def test_a_black_tissue_region_is_no_picture_whatever_is_written_beside_it(tmp_path: Path) -> None:
    screen = np.zeros((240, 320), np.uint8)
    screen[2:8, 5:60:3] = 255
    screen[30, 10:310:20] = 255  # ticks of a ruler within the region
    (tmp_path / "a.dcm").write_bytes(
        to_bytes(monochrome(screen, SequenceOfUltrasoundRegions=[region((20, 10, 230, 310))]))
    )
    result = ingest(job(tmp_path, SourceFile("a.dcm", "F2")))
    assert result.frames == ()
    assert [(refusal.frame, refusal.part, refusal.reason) for refusal in result.refusals] == [(None, None, "blank")]


def test_a_uniform_frame_does_not_take_its_clip_with_it(tmp_path: Path) -> None:
    frames = [draw_sector(seed=k)[0] for k in range(30)]
    for frame in frames[8:23]:
        frame[:] = 200
    dataset = monochrome(frames[0], SOPClassUID=MULTI, NumberOfFrames=30)
    dataset.PixelData = np.stack(frames).tobytes()
    (tmp_path / "a.dcm").write_bytes(to_bytes(dataset))
    result = ingest(job(tmp_path, SourceFile("a.dcm", "F2")))
    assert [frame.row["frame"] for frame in result.frames] == [6, 23, 25]
    assert result.refusals == ()


def test_the_benchmark_times_frames_and_no_refusals(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    (tmp_path / "F0").mkdir()
    (tmp_path / "F0" / "a.png").write_bytes(encode(noise))
    files = find_files(DataConfig(root=tmp_path)).files
    for crop in ("fan", "full"):
        write_shard(jobs_of(tmp_path, files, crop), tmp_path / "whole.npz")
        check_frames(tmp_path / "whole.npz", 1)
    write_shard([replace(one, without_fan="refuse") for one in jobs_of(tmp_path, files, "full")], tmp_path / "none.npz")
    with pytest.raises(InputError, match="a frame of each of 1 files"):
        check_frames(tmp_path / "none.npz", 1)


def test_a_file_is_found_under_a_name_that_cannot_be_written_down(tmp_path: Path) -> None:
    name = os.fsdecode(b"Lebe\xfc\n.png")
    (tmp_path / name).write_bytes(encode(draw_sector()[0]))
    (frame,) = ingest(job(tmp_path, SourceFile(written(name), "F2"))).frames
    assert frame.row["path"] == "Lebe%FC%0A.png"


def test_no_refusal_quotes_the_name_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "DOE^JANE.png"
    contents = [b"", b"text" * 99, encode(draw_sector()[0])[:300], encode(np.full((64, 64), 7, np.uint8))]
    details = [ingest(job(tmp_path, SourceFile(name, "F2"))).refusals[0].detail]
    for content in contents:
        (tmp_path / name).write_bytes(content)
        details.append(ingest(job(tmp_path, SourceFile(name, "F2"))).refusals[0].detail)
    assert len(set(details)) == 5
    assert "DOE" not in "".join(details)


def test_running_out_of_memory_is_a_reason_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(encode(draw_sector()[0]))

    def exhausts(*_: object) -> None:
        raise MemoryError

    for step in ("preprocess", "decode"):
        with monkeypatch.context() as patched:
            patched.setattr(f"fibrokd.data.ingest.{step}", exhausts)
            (refusal,) = ingest(job(tmp_path, SourceFile("a.png", "F2"))).refusals
        assert refusal.reason == "too_much_memory"


def test_a_bad_file_becomes_a_refusal_and_never_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"hello, this is no picture at all" * 9)
    expected = {"text.png": "not_an_image", "absent.png": "unreadable"}
    for name, reason in expected.items():
        result = ingest(job(tmp_path, SourceFile(name, "F1")))
        assert result.frames == ()
        assert [(r.path, r.frame, r.reason) for r in result.refusals] == [(name, None, reason)]
    unlabelled = ingest(job(tmp_path, SourceFile("text.png", None)))
    assert unlabelled.refusals == (Refusal("text.png", None, "no_label", "the collection names no stage for it"),)


def test_jobs_and_results_travel_between_processes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode(draw_sector()[0]))
    sent = pickle.loads(pickle.dumps(job(tmp_path, SourceFile("a.png", "F2"))))
    back = pickle.loads(pickle.dumps(ingest(sent)))
    assert back.frames[0].row["stage"] == "F2"
