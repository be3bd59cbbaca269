"""Walking: everything below a folder is found or told, and every name can be written down and found again."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.data.walking import Entry, locate, walk, written

NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 47} & set(name))


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@given(NAMES)
def test_a_written_name_is_printable_and_leads_back_to_the_file(raw: bytes) -> None:
    name = os.fsdecode(raw)
    shown = written(name)
    assert os.fsencode(locate(Path("root"), shown)) == os.fsencode(Path("root") / name)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert len(shown.splitlines()) == 1
    assert "\\" not in shown


@given(NAMES, NAMES)
def test_no_two_names_are_written_alike(one: bytes, other: bytes) -> None:
    assert (written(os.fsdecode(one)) == written(os.fsdecode(other))) == (one == other)


@pytest.mark.parametrize("name", ["a12.png", "50%.png", "F3/Größe 7,5 \"x\" 'y'.png", "100%zz.png"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert written(name) == name


def test_pipes_sockets_and_circular_links_are_told_and_not_opened(tmp_path: Path, monkeypatch) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)  # a socket's own path must be short
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind("socket.png")
        assert walk(tmp_path) == [
            Entry("a.png"),
            Entry("broken.png", "not_a_file"),
            Entry("loop.png", "not_a_file"),
            Entry("pipe.png", "not_a_file"),
            Entry("socket.png", "not_a_file"),
        ]


def test_a_folder_that_may_not_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.png", "closed/b.png")
    real = os.scandir

    def forbids(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", forbids)
    assert walk(tmp_path) == [Entry("a.png"), Entry("closed/", "no_entry")]


def test_folders_deeper_than_the_system_allows_are_told_and_break_nothing(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):  # deeper than recursion goes, and than a path may be long
        os.mkdir("ddd", dir_fd=here)
        deeper = os.open("ddd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    touch(tmp_path, "ddd/ddd/a.png")
    try:
        file, deepest = walk(tmp_path)
    finally:
        _remove_chain(tmp_path)  # pytest's own cleaning recurses
    assert file == Entry("ddd/ddd/a.png")
    assert deepest.problem == "no_entry"
    assert 1000 < deepest.name.count("ddd/") < 1100


def test_a_real_folder_names_its_files_before_a_link_does(tmp_path: Path) -> None:
    touch(tmp_path, "F1/a.png")
    (tmp_path / "F0").mkdir()
    (tmp_path / "F0" / "link").symlink_to(tmp_path / "F1")
    assert walk(tmp_path) == [Entry("F0/link/", "linked_again"), Entry("F1/a.png")]


def test_links_to_folders_are_entered_once_in_the_order_of_their_names(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    touch(tmp_path / "store", "a.png")
    for name in ("z", "m", "b"):
        (root / name).symlink_to(tmp_path / "store")
    assert walk(root, outside_links=True) == [
        Entry("b/a.png"),
        Entry("m/", "linked_again"),
        Entry("z/", "linked_again"),
    ]


def _remove_chain(root: Path) -> None:
    """Take a chain too deep for shutil apart, from its top."""
    (root / "ddd" / "ddd" / "a.png").unlink()
    while (root / "ddd").exists():
        inner = root / "ddd" / "ddd"
        if inner.exists():
            inner.rename(root / "next")
        (root / "ddd").rmdir()
        if (root / "next").exists():
            (root / "next").rename(root / "ddd")
