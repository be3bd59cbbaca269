"""Companions: what is no picture by its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.data.companions import is_companion


@pytest.mark.parametrize(
    "name",
    ["DICOMDIR", "disc/dicomdir", "Thumbs.db", "desktop.INI", "F2/notes.txt", "a.PDF", "b.xml", "c.json", "d.csv"],
)
def test_tables_notes_indices_and_litter_are_companions(name: str) -> None:
    assert is_companion(name)


@pytest.mark.parametrize(
    "name",
    ["IM0001", "a.png", "a.dcm", "a.JPG", "DICOMDIR/IM1", "notes.txt/IM1", "F1.json/", "export.zip", "txt", "1.2.3"],
)
def test_what_may_hold_a_picture_is_none(name: str) -> None:
    assert not is_companion(name)


@given(st.text(min_size=1), st.sampled_from([".png", ".dcm", ".tif", ""]))
def test_case_and_folders_make_no_difference(folder: str, ending: str) -> None:
    name = f"{folder.replace('/', '_')}/im{ending}"
    assert is_companion(name) == is_companion(f"im{ending.upper()}") == is_companion(f"IM{ending}")
