"""Why no row is about any file: counts and lengths, and never what a key says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.data.labels import LabelRow, LabelTable
from fibrokd.data.mismatch import explain_mismatch

SHALLOW = (
    "2 of 2 paths in the label table (the table's paths have 0 folder(s), the files' 1–2) equal a file's in the last"
)
SHORT = (
    "2 of 2 values of PatientID in the label table (the table's have 1–2 characters, the files' 6) equal a file's but "
    "for leading zeros"
)


def table(key: str, *stated: str) -> LabelTable:
    return LabelTable("labels.csv", key, {value: LabelRow(line, {}) for line, value in enumerate(stated, 2)})


@pytest.mark.parametrize(
    ("stated", "found", "seen", "todo"),
    [
        ((), ["a.png"], "has no rows below its header", "one row per file"),
        (("a.png",), [], "there are no files", "data.root"),
        (("/x/a.png", "C:/x/b.png", "c.png"), ["a.png"], "2 of 3 paths in the label table begin at a root", "relative"),
        (("A/B.PNG", "no.png"), ["a/b.png"], "1 of 2 paths", "upper and lower case"),
        (("a/b",), ["a/b.png"], "but for what follows the last dot", "extensions"),
        (("a.png", "b.png"), ["x/a.png", "y/z/b.png"], SHALLOW, "relative to data.root"),
        (("images/a.png",), ["a.png"], "equal a file's in the last part", "folder they start from"),
        (("s/q.png",), ["a.png"], "none of 1 paths", "relative to data.root"),
    ],
)
def test_paths_are_explained(stated: tuple[str, ...], found: list[str], seen: str, todo: str) -> None:
    mismatch = explain_mismatch(table("path", *stated), found)
    assert seen in mismatch.seen
    assert todo in mismatch.todo


@pytest.mark.parametrize(
    ("stated", "found", "seen", "todo"),
    [
        (("0", "17"), ["000000", "000017", ""], SHORT, "'text'"),
        (("17.0",), ["0017"], "spaces, leading zeros or '.0'", "'text'"),
        (("case 7", "x"), ["CASE  7"], "1 of 2 values", "as the files have them"),
        (("1.23457E+11",), ["123456789012"], "a table program shortened", "'text'"),
        (("A1",), ["", ""], "none of 2 files carries a PatientID", "column 'path'"),
        (("A1",), ["B22", ""], "none of 1 values of PatientID in the label table is one of the 1", "headers"),
    ],
)
def test_identifiers_are_explained(stated: tuple[str, ...], found: list[str], seen: str, todo: str) -> None:
    mismatch = explain_mismatch(table("PatientID", *stated), found)
    assert seen in mismatch.seen
    assert todo in mismatch.todo


NAMES = st.text(st.sampled_from("QJXZ"), min_size=4, max_size=8)


@given(st.sampled_from(["path", "PatientID", "StudyUID"]), st.sets(NAMES, min_size=1), st.sets(NAMES, min_size=1))
def test_nothing_that_a_key_says_is_shown(key: str, stated: set[str], found: set[str]) -> None:
    mismatch = explain_mismatch(table(key, *sorted(stated)), sorted(found - stated))
    assert not [value for value in stated | found if value in mismatch.seen + mismatch.todo]
