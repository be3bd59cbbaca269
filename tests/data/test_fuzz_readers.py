"""Fuzzing, the short seeded version: damaged files of every kind end as frames or as a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz_material import damaged, whole_files
from benchmarks.fuzz_readers import HANG_SECONDS, account
from fibrokd.data.reading import REASONS


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    return whole_files()


def test_every_sound_file_is_read(whole: dict[str, bytes], tmp_path: Path) -> None:
    found = account(whole, tmp_path)
    assert (found.frames, dict(found.refusals)) == (len(whole), {})
    assert {"png", "jpeg", "tiff", "bmp", "dicom_explicit", "dicom_deflated", "dicom_rle", "dicom_cine"} <= set(whole)


def test_no_damaged_file_crashes_hangs_or_gets_lost(whole: dict[str, bytes], tmp_path: Path) -> None:
    files = damaged(whole, 150, seed=7)
    found = account(files, tmp_path)
    assert found.accounted == len(files)
    assert found.deadly == ()
    assert set(found.refusals) <= set(REASONS)
    assert len(found.refusals) >= 3
    assert found.frames > 30
    assert found.slowest_seconds < HANG_SECONDS


def test_the_same_seed_damages_in_the_same_way_however_many_files_are_made(whole: dict[str, bytes]) -> None:
    many, few = damaged(whole, 60, seed=1), damaged(whole, 40, seed=1)
    assert few == {name: many[name] for name in few}
    assert few != damaged(whole, 40, seed=2)
