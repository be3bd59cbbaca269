"""The manifest: rows as the contract says, every kind of problem at once, a digest of what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fibrokd.data.images import UltrasoundImage
from fibrokd.data.manifest import ROW_COLUMNS, build_row, check_manifest, image_id, manifest_digest, number_copies
from fibrokd.data.prepared import IDENTITY_COLUMNS, MANIFEST_COLUMNS, read_table
from fibrokd.data.preprocess import Preprocessed
from fibrokd.data.sources import SourceFile
from fibrokd.errors import TableError
from fibrokd.stages import METAVIR
from tests.factories import write_prepared


def image(seed: int = 0, **facts: object) -> UltrasoundImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50), dtype=np.uint8)
    return UltrasoundImage(pixels=pixels, format="DICOM", **facts)


def done(confidence: float = 0.97, cropped: bool = True) -> Preprocessed:
    return Preprocessed(np.zeros((32, 32), np.uint8), confidence, (0, 0, 40, 50), cropped)


def table(count: int = 6) -> pd.DataFrame:
    sources = [SourceFile(f"F{k % 5}/p{k}.dcm", f"F{k % 5}", patient=f"P{k}") for k in range(count)]
    rows = [build_row(source, image(k), f"{k:02d}" * 32, done(), None) for k, source in enumerate(sources)]
    return pd.DataFrame(rows)


def test_a_row_holds_the_columns_of_the_contract_in_order() -> None:
    source = SourceFile("F3/a/x.dcm", "F3", "P7", "S1", "north", "sonova")
    row = build_row(source, image(frame=4), "cd" * 32, done(0.98765), None)
    assert tuple(row) == ROW_COLUMNS
    assert row["image_id"] == image_id("cd" * 32, 4)
    expected = {"stage": "F3", "patient": "P7", "study": "S1", "site": "north", "scanner": "sonova", "frame": 4}
    expected |= {"format": "DICOM", "extension_ok": 1, "height": 40, "width": 50, "fan_confidence": 0.9877}
    expected |= {"cropped": 1, "issuer": ""}
    assert {key: row[key] for key in expected} == expected
    assert build_row(source, image(), "cd" * 32, done(0.3, cropped=False), None)["cropped"] == 0


def test_pictures_that_lie_side_by_side_in_a_frame_have_names_of_their_own() -> None:
    source = SourceFile("F3/a/x.dcm", "F3", "P7")
    rows = [build_row(source, image(part, frame=4, part=part), "cd" * 32, done(), None) for part in (0, 1, 2)]
    assert [row["image_id"] for row in rows] == [image_id("cd" * 32, 4, part) for part in (0, 1, 2)]
    assert len({row["image_id"] for row in rows}) == 3
    assert [row["part"] for row in rows] == [0, 1, 2]
    check_manifest(pd.DataFrame(rows), METAVIR)


def test_the_decoder_is_written_down_and_does_not_change_the_digest() -> None:
    source = SourceFile("F3/a/x.dcm", "F3", "P7")
    one, other = (
        pd.DataFrame([build_row(source, image(decoder=f"pydicom/pillow {version}"), "cd" * 32, done(), None)])
        for version in ("12.1", "13.0")
    )
    assert list(one["decoder"]) == ["pydicom/pillow 12.1"]
    assert manifest_digest(one) == manifest_digest(other)
    assert manifest_digest(one) != manifest_digest(one.assign(part=1))


def test_identifiers_of_file_and_table_are_never_written_as_they_are() -> None:
    from_file = image(patient="HOSPITAL|0042", study="1.2.3", device="Maker X")
    row = build_row(SourceFile("F3/x.dcm", "F3"), from_file, "cd" * 32, done(), b"secret" * 4)
    named = SourceFile("F3/x.dcm", "F3", patient="42", study=" 1.2.3 ")
    same = build_row(named, image(), "cd" * 32, done(), b"secret" * 4)
    for stated in (row, same):
        assert not any(raw in str(value) for value in stated.values() for raw in ("0042", "1.2.3", "HOSPITAL"))
    assert (row["patient"], row["study"]) == (same["patient"], same["study"])
    assert row["issuer"] != same["issuer"] == ""
    other = build_row(named, image(), "cd" * 32, done(), b"Secret" * 4)
    assert other["patient"] != same["patient"]


def test_free_text_about_the_scanner_is_never_written_as_it_is_but_for_generated_data() -> None:
    from_file = image(device="DOE^JANE|1970")
    told = SourceFile("F3/x.dcm", "F3", site="DOE^JANE", scanner="room 3")
    hidden = build_row(SourceFile("F3/x.dcm", "F3"), from_file, "cd" * 32, done(), b"secret" * 4)
    assert re.fullmatch("device-[0-9a-f]{4}", str(hidden["scanner"]))
    stated = build_row(told, from_file, "cd" * 32, done(), b"secret" * 4)
    assert stated["scanner"] == "room 3"
    assert "DOE" not in str(stated["site"])
    assert build_row(SourceFile("F3/x.dcm", "F3"), from_file, "cd" * 32, done(), None)["scanner"] == "DOE^JANE 1970"
    other = build_row(SourceFile("F3/x.dcm", "F3"), from_file, "cd" * 32, done(), b"Secret" * 4)
    assert manifest_digest(pd.DataFrame([hidden])) == manifest_digest(pd.DataFrame([other]))


def test_a_good_manifest_passes_before_and_after_csv(tmp_path: Path) -> None:
    built = table()
    check_manifest(built, METAVIR)
    built.to_csv(tmp_path / "m.csv", index=False)
    check_manifest(read_table(tmp_path / "m.csv"), METAVIR)
    assert manifest_digest(read_table(tmp_path / "m.csv")) == manifest_digest(built)


def test_the_manifest_of_the_test_factory_passes(tmp_path: Path) -> None:
    made = read_table(write_prepared(tmp_path / "prepared", patients=5) / "manifest.csv")
    check_manifest(made, METAVIR)
    assert made["image_id"].is_unique
    with pytest.raises(TableError, match="image_id"):
        check_manifest(made.drop(columns="image_id"), METAVIR)


def test_copies_of_a_file_get_names_of_their_own_in_the_order_of_rows() -> None:
    sources = [SourceFile(f"F0/{name}.png", "F0") for name in "abc"]
    rows = [build_row(s, image(), ("cd" if n == 1 else "ab") * 32, done(), None) for n, s in enumerate(sources)]
    names = number_copies(pd.DataFrame(rows))
    assert list(names) == [image_id("ab" * 32, 0), image_id("cd" * 32, 0), image_id("ab" * 32, 0, copy=1)]


def test_the_name_of_a_picture_does_not_follow_from_its_path() -> None:
    one, other = (build_row(SourceFile(path, "F0"), image(), "ab" * 32, done(), None) for path in ("a.png", "b.png"))
    assert one["image_id"] == other["image_id"]


def spoil(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype(object)
        frame.loc[2, column] = value
        return frame

    return change


SPOILT = {
    "image_id": ["xyz", ""],
    "frame": ["-1", "1.5", ""],
    "stage": ["F9", ""],
    "file_digest": ["ab", "AB" * 32],
    "pixel_digest": [""],
    "format": ["GIF"],
    "extension_ok": ["yes"],
    "height": ["0"],
    "width": ["wide"],
    "fan_confidence": ["1.5", "nan", ""],
    "cropped": ["yes", ""],
    "part": ["-1", "a"],
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
    assert len(caught.value.problems) == 3
    for word in ("stage", "width", "image_id should be unique"):
        assert word in str(caught.value)


def test_missing_columns_and_an_empty_table_are_refused() -> None:
    with pytest.raises(TableError, match="'stage' is missing"):
        check_manifest(table().drop(columns=["stage", "format"]), METAVIR)
    with pytest.raises(TableError, match="no rows"):
        check_manifest(table().iloc[:0], METAVIR)


def test_the_digest_sees_content_and_nothing_else() -> None:
    base = table()
    same = base.iloc[::-1].assign(extra="x")[["extra", *reversed(MANIFEST_COLUMNS)]]
    assert not set(IDENTITY_COLUMNS) & set(MANIFEST_COLUMNS)  # they differ with the secret
    assert manifest_digest(same) == manifest_digest(base)
    assert manifest_digest(spoil("stage", "F4")(base)) != manifest_digest(base)
    assert manifest_digest(base.iloc[:-1]) != manifest_digest(base)
