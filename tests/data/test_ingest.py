"""Ingest: one file to rows and pixels, in a worker, whatever the file holds."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd

from fibrokd.data.ingest import IngestJob, Refusal, ingest, thumbnail
from fibrokd.data.limits import ReadLimits
from fibrokd.data.manifest import ROW_COLUMNS, check_manifest
from fibrokd.data.preprocess import PreprocessSpec, preprocess
from fibrokd.data.reading import read
from fibrokd.data.sources import DataConfig, SourceFile, find_files
from fibrokd.files import digest_bytes
from fibrokd.stages import METAVIR
from tests.data.objects import jpeg_cine, to_bytes
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
    np.testing.assert_array_equal(frame.thumbnail, thumbnail(image))
    assert frame.row["file_digest"] == digest_bytes(data)


def test_a_thumbnail_is_the_mean_of_what_it_covers() -> None:
    from fibrokd.data.images import UltrasoundImage

    blocks = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    image = UltrasoundImage(pixels=np.kron(blocks, np.ones((5, 7), np.uint8)), format="PNG")
    np.testing.assert_array_equal(thumbnail(image), blocks)


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
