"""The manifest: rows as the contract says, every kind of problem at once, a digest of what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fibrokd.data.images import UltrasoundImage
from fibrokd.data.manifest import build_row, check_manifest, image_id, manifest_digest, opaque_key
from fibrokd.data.prepared import MANIFEST_COLUMNS, read_table
from fibrokd.data.sources import SourceFile
from fibrokd.errors import TableError
from fibrokd.stages import METAVIR
from tests.factories import write_prepared


def image(seed: int = 0, **facts: object) -> UltrasoundImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)
    return UltrasoundImage(pixels=pixels, format="DICOM", **facts)


def table(count: int = 6) -> pd.DataFrame:
    sources = [SourceFile(f"F{k % 5}/p{k}.dcm", f"F{k % 5}", patient=f"P{k}") for k in range(count)]
    rows = [build_row(source, image(k), "ab" * 32, 0.97) for k, source in enumerate(sources)]
    return pd.DataFrame(rows)


def test_a_row_holds_the_columns_of_the_contract_in_order() -> None:
    row = build_row(SourceFile("F3/a/x.dcm", "F3", "P7", "S1", "north", "sonova"), image(frame=4), "cd" * 32, 0.98765)
    assert tuple(row) == MANIFEST_COLUMNS
    assert row["image_id"] == image_id("F3/a/x.dcm", 4)
    expected = {"stage": "F3", "patient": "P7", "study": "S1", "site": "north", "scanner": "sonova", "frame": 4}
    expected |= {"format": "DICOM", "extension_ok": 1, "height": 40, "width": 50, "fan_confidence": 0.9877}
    assert {key: row[key] for key in expected} == expected


def test_identifiers_from_the_file_are_never_written_as_they_are() -> None:
    row = build_row(
        SourceFile("F3/x.dcm", "F3"), image(patient="HOSPITAL|0042", study="1.2.3", device="Maker X"), "cd" * 32, 1.0
    )
    assert row["patient"] == opaque_key("patient", "HOSPITAL|0042")
    assert row["study"] == opaque_key("study", "1.2.3")
    assert row["scanner"] == "Maker X"
    assert not any("0042" in str(value) or "1.2.3" in str(value) for value in row.values())
    assert opaque_key("patient", "7") != opaque_key("study", "7")


def test_a_good_manifest_passes_before_and_after_csv(tmp_path: Path) -> None:
    built = table()
    check_manifest(built, METAVIR)
    built.to_csv(tmp_path / "m.csv", index=False)
    check_manifest(read_table(tmp_path / "m.csv"), METAVIR)
    assert manifest_digest(read_table(tmp_path / "m.csv")) == manifest_digest(built)


def test_the_manifest_of_the_test_factory_passes(tmp_path: Path) -> None:
    check_manifest(read_table(write_prepared(tmp_path / "prepared", patients=5) / "manifest.csv"), METAVIR)


def spoil(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype(object)
        frame.loc[2, column] = value
        return frame

    return change


SPOILT = {
    "image_id": ["xyz", "0" * 16],
    "path": ["/etc/passwd", "../x.png", "a\\b.png", ""],
    "frame": ["-1", "1.5", ""],
    "stage": ["F9", ""],
    "file_digest": ["ab", "AB" * 32],
    "pixel_digest": [""],
    "format": ["GIF"],
    "extension_ok": ["yes"],
    "height": ["0"],
    "width": ["wide"],
    "fan_confidence": ["1.5", "nan", ""],
}


@pytest.mark.parametrize(("column", "value"), [(c, v) for c, values in SPOILT.items() for v in values])
def test_each_kind_of_wrong_value_is_found_and_placed(column: str, value: str) -> None:
    with pytest.raises(TableError) as caught:
        check_manifest(spoil(column, value)(table()), METAVIR)
    assert any(problem.startswith(column) and "row 2" in problem for problem in caught.value.problems)


def test_all_problems_are_listed_at_once() -> None:
    bad = spoil("stage", "F9")(spoil("width", "0")(table()))
    bad = pd.concat([bad, bad.iloc[[0]]], ignore_index=True)
    with pytest.raises(TableError) as caught:
        check_manifest(bad, METAVIR)
    assert len(caught.value.problems) == 4
    for word in ("stage", "width", "image_id should be unique", "path and frame should be unique"):
        assert word in str(caught.value)


def test_missing_columns_and_an_empty_table_are_refused() -> None:
    with pytest.raises(TableError, match="'stage' is missing"):
        check_manifest(table().drop(columns=["stage", "path"]), METAVIR)
    with pytest.raises(TableError, match="no rows"):
        check_manifest(table().iloc[:0], METAVIR)


def test_the_digest_sees_content_and_nothing_else() -> None:
    base = table()
    same = base.iloc[::-1].assign(extra="x")[["extra", *reversed(MANIFEST_COLUMNS)]]
    assert manifest_digest(same) == manifest_digest(base)
    assert manifest_digest(spoil("stage", "F4")(base)) != manifest_digest(base)
    assert manifest_digest(base.iloc[:-1]) != manifest_digest(base)
