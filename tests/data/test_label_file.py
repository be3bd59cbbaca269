"""Lines of a label table: every way in which table programs write them, and no word of what they say."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibrokd.data.label_file import SEPARATORS, Line, read_lines
from fibrokd.errors import LabelError

KNOWN = {"path", "stage", "patient"}


def written(folder: Path, data: bytes | str) -> Path:
    path = folder / "labels.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_separator_line_end_and_byte_order_mark_is_read(
    tmp_path: Path, separator: str, end: str, encoding: str
) -> None:
    text = end.join(separator.join(row) for row in (("path", "stage"), ("Größe.png", "F1"), ("b c.png", "F2")))
    assert read_lines(written(tmp_path, text.encode(encoding)), KNOWN) == [
        Line(1, ("path", "stage")),
        Line(2, ("Größe.png", "F1")),
        Line(3, ("b c.png", "F2")),
    ]


def test_the_separator_is_the_one_that_shows_known_columns(tmp_path: Path) -> None:
    text = '"path";stage;"seen, by, whom, and, when"\na,b.png;F1;x\n'
    assert read_lines(written(tmp_path, text), KNOWN)[1].values == ("a,b.png", "F1", "x")
    text = 'path,stage,"a;b;c;d;e"\na;b.png,F1,x\n'
    assert read_lines(written(tmp_path, text), KNOWN)[1].values == ("a;b.png", "F1", "x")


def test_lines_without_a_value_are_passed_over_and_numbers_stay_those_of_the_file(tmp_path: Path) -> None:
    text = '\npath,stage\n,\n"a\nb.png",F1\n\n , \nc.png,F2\n,,\n'
    assert [line.number for line in read_lines(written(tmp_path, text), KNOWN)] == [2, 4, 8]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("path;stage\nDOE.png;F1\nGröße.png;F2\n".encode("cp1252"), "line 3 is not UTF-8"),
        ("path\tstage\nDOE.png\tF1\n".encode("utf-16"), "found a UTF-16 text"),
        ("path\tstage\nDOE.png\tF1\n".encode("utf-16-le"), "bytes that are no text"),
        (b"PK\x03\x04DOE", "a workbook or an archive"),
        (b"\xd0\xcf\x11\xe0DOE", "an old workbook"),
    ],
)
def test_another_encoding_is_refused_with_the_way_to_save_it(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(LabelError) as caught:
        read_lines(written(tmp_path, data), KNOWN)
    assert said in caught.value.problem
    assert "CSV UTF-8" in caught.value.todo
    assert "DOE" not in str(caught.value)


def test_what_cannot_be_read_is_told_apart_from_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no such file"):
        read_lines(tmp_path / "absent.csv", KNOWN)
    with pytest.raises(LabelError, match="could not read it"):
        read_lines(tmp_path, KNOWN)
    with pytest.raises(LabelError, match="found an empty file"):
        read_lines(written(tmp_path, " \n,\n"), KNOWN)
    with pytest.raises(LabelError, match="row that begins in line 2") as caught:
        read_lines(written(tmp_path, 'path,stage\n"DOE.png,F1\nROE.png,F2\n'), KNOWN)
    assert "OE" not in str(caught.value)


@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), min_size=2, max_size=4)),
    st.sampled_from(SEPARATORS),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_table_program_quotes_is_read_back(tmp_path: Path, rows: list[list[str]], separator: str) -> None:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=separator).writerows([["path", "stage"], *rows])
    lines = read_lines(written(tmp_path, stream.getvalue()), KNOWN)
    assert [list(line.values) for line in lines[1:]] == [row for row in rows if any(v.strip() for v in row)]
