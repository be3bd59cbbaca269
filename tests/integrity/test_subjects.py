"""A table from outside says whose picture a file is, by path or by published digest."""

import hashlib

import pytest

from fibrokd.data.sources import SourceFile
from fibrokd.data.walking import written
from fibrokd.errors import LabelError
from fibrokd.integrity.subjects import SubjectsConfig, with_subjects

FILES = (SourceFile("F0/a.png", "F0", patient="folder"), SourceFile("F1/b.png", "F1", patient="folder"))


@pytest.fixture
def root(tmp_path):
    for file in FILES:
        (tmp_path / file.path).parent.mkdir()
        (tmp_path / file.path).write_bytes(file.path.encode())
    return tmp_path


def write(root, text):
    (root / "subjects.csv").write_text(text)
    return root / "subjects.csv"


def test_subjects_are_found_by_relative_path(root):
    table = write(root, "path,subject\nF0/a.png,k\nF9/z.png,m\n")
    files, matched = with_subjects(FILES, root, SubjectsConfig(table=table))
    assert [file.patient for file in files] == ["k", "folder"]
    assert matched == 1


def test_subjects_are_found_by_published_md5_under_any_name(root):
    digest = hashlib.md5(b"F1/b.png").hexdigest()
    table = write(root, f"path,published_md5,subject\nelsewhere.png,{digest},ct3\n")
    files, matched = with_subjects(FILES, root, SubjectsConfig(table=table, match="md5"))
    assert [file.patient for file in files] == ["folder", "ct3"]
    assert matched == 1


def test_without_a_table_nothing_changes(root):
    assert with_subjects(FILES, root, None) == (FILES, 0)


@pytest.mark.parametrize(
    ("text", "match", "message"),
    [
        ("path,subject\nq.png,k\n", "path", "found none of 2"),
        ("path,person\nq.png,k\n", "path", "no subject"),
        ("path,subject\nF0/a.png,k\n", "md5", "no published_md5"),
        (None, "path", "could not read one"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(root, text, match, message):
    table = write(root, text) if text else root / "nothing.csv"
    with pytest.raises(LabelError, match=message):
        with_subjects(FILES, root, SubjectsConfig(table=table, match=match))


def test_a_table_of_another_system_finds_its_files(tmp_path):
    (tmp_path / "F0").mkdir()
    name = "F0/Mu\u0308ller 50%20.png"
    (tmp_path / name).write_bytes(b"x")
    table = write(tmp_path, "path,subject\n.\\F0\\M\u00fcller 50%20.png,k\n")
    files, matched = with_subjects([SourceFile(written(name), "F0")], tmp_path, SubjectsConfig(table=table))
    assert (files[0].patient, matched) == ("k", 1)
