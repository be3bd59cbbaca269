"""Label tables: columns in any case, rows that say one thing, and messages that name lines and ways out."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibrokd.data.labels import LabelTable, read_labels
from fibrokd.errors import LabelError, TableError
from fibrokd.stages import METAVIR


def read(folder: Path, text: str) -> LabelTable:
    (folder / "labels.csv").write_text(text)
    return read_labels(folder / "labels.csv", METAVIR)


@pytest.mark.parametrize("header", ["patientid,Stage,SITE", "PATIENTID;stage;Site", " PatientID \t stage\tsite"])
def test_columns_are_known_in_any_case_and_with_any_separator(tmp_path: Path, header: str) -> None:
    separator = next(sign for sign in ",;\t" if sign in header)
    table = read(tmp_path, f"{header}\n{separator.join(('P1', 'F2', 'north'))}\n")
    assert table.key == "PatientID"
    assert table.rows["P1"].values == {"PatientID": "P1", "stage": "F2", "site": "north"}


def test_further_columns_are_kept_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,stage,VIEW,other\na.png,F1,left,x\n")
    table = read_labels(tmp_path / "labels.csv", METAVIR, ["view"])
    assert table.rows["a.png"].values == {"path": "a.png", "stage": "F1", "view": "left"}
    with pytest.raises(LabelError, match=r"found no age, fat among its 4 column") as caught:
        read_labels(tmp_path / "labels.csv", METAVIR, ["age", "view", "fat"])
    assert "other" not in str(caught.value)
    (tmp_path / "labels.csv").write_text("path,stage,view,View\na.png,F1,left,x\n")
    with pytest.raises(LabelError, match="found view several times"):
        read_labels(tmp_path / "labels.csv", METAVIR, ["view"])


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="found path several times"):
        read(tmp_path, "path,Path,stage\na,b,F1\n")


def test_columns_that_are_missing_are_counted_and_only_known_ones_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"found 3 column\(s\), of which known: stage\.") as caught:
        read(tmp_path, "DOE_JANE,stage,ROE\na,F1,b\n")
    assert "OE" not in str(caught.value)


def test_empty_rows_are_no_rows_and_lines_are_those_of_the_file(tmp_path: Path) -> None:
    table = read(tmp_path, "path,stage\n,\na.png,F1\n\nb.png,F2\n,\n , \n")
    assert {key: row.line for key, row in table.rows.items()} == {"a.png": 3, "b.png": 5}
    assert read(tmp_path, "path,stage\n,\n").rows == {}


def test_facts_may_be_missing_at_the_end_of_a_row_and_columns_nobody_knows_are_not_kept(tmp_path: Path) -> None:
    table = read(tmp_path, "path,stage,name,patient\na.png,F1,DOE\nb.png,F2,ROE,P2\n")
    assert [dict(row.values) for row in table.rows.values()] == [
        {"path": "a.png", "stage": "F1", "patient": ""},
        {"path": "b.png", "stage": "F2", "patient": "P2"},
    ]


def test_repeated_rows_say_whether_their_stages_differ(tmp_path: Path) -> None:
    with pytest.raises(TableError) as caught:
        read(tmp_path, "path,stage\na,F1\na,1\na,F2\na,F9\n")
    assert caught.value.problems == (
        "line 3: same path as line 2, with the same stage",
        "line 4: same path as line 2, but another stage",
        "line 5: stage 'F9' is not one of F0, F1, F2, F3, F4",
        "line 5: same path as line 2",
    )
    assert "keep one row of each key" in caught.value.todo


@pytest.mark.parametrize(("stage", "said"), [("", "an empty stage"), ("n/a", "the stage"), ("F2-F3", "the stage")])
def test_a_row_without_a_usable_stage_is_named_with_the_way_out(tmp_path: Path, stage: str, said: str) -> None:
    with pytest.raises(TableError) as caught:
        read(tmp_path, f"path,stage\na,F1\nb,{stage}\n")
    assert caught.value.problems == (f"line 3: {said} is not one of F0, F1, F2, F3, F4",)
    assert "left out" in caught.value.todo
    assert "unmatched.csv" in caught.value.todo
    assert "keep one row" not in caught.value.todo


def test_an_empty_path_beside_another_key_says_that_path_counts_first(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="line 2: path is empty") as caught:
        read(tmp_path, "PatientID,path,stage\nP1,,F1\nP2,b.png,F2\n")
    assert "go by PatientID: it counts before it" in caught.value.todo
    with pytest.raises(TableError) as caught:
        read(tmp_path, "path,stage\n,F1\n")
    assert "counts before" not in caught.value.todo


def test_values_beyond_the_columns_are_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"line 2: 1 value\(s\) more than there are columns") as caught:
        read(tmp_path, "path,stage\na,F1,DOE\nb,F2,\n")
    assert "DOE" not in str(caught.value)
