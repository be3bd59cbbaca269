"""Walks a folder tree whatever lies in it, and gives every file a name that can be written down anywhere.

Real folders come before linked ones, each real folder counts once, and whatever cannot be entered is told, so that no
file is lost silently. Also finds which file is meant by a path that somebody else wrote down. Must not open files or
know what their names mean.
"""

from __future__ import annotations

import heapq
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# A file system's names are bytes: any of them but "/" and 0 may occur, and Python shows undecodable ones as surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029\ud800-\udfff]|%(?=[0-9A-Fa-f]{2})")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")


@dataclass(frozen=True, order=True)
class Entry:
    """One thing found.

    Args:
        name: Its path relative to the root as it is written down (:func:`written`); of folders with a slash at the end.
        problem: Why it is not to be opened; empty for a regular file. ``hidden`` (its name starts with a dot),
            ``not_a_file`` (a pipe, a socket, a broken or circular link), ``outside_root`` (a link that leads out),
            ``no_entry`` (a folder that the system does not let us list) or ``linked_again`` (a link to a folder that
            is listed elsewhere).
    """

    name: str
    problem: str = ""


def written(name: str) -> str:
    r"""Return a name in printable UTF-8: control characters, backslashes and undecodable bytes become ``%0A``.

    No two names become one: a per cent sign that could be taken for such a code becomes ``%25``. Names of letters,
    digits and ordinary signs stay as they are.

    Example:
        >>> written("a\nb.png"), written("50%.png"), written("Lebe\udcfc.png")
        ('a%0Ab.png', '50%.png', 'Lebe%FC.png')
    """
    return _UNPRINTABLE.sub(_code, name)


def plain(name: str) -> str:
    """Return the path as the file system has it, relative to the root, of what :func:`walk` called ``name``."""
    return os.fsdecode(_ESCAPED.sub(lambda code: bytes([int(code.group(1), 16)]), os.fsencode(name)))


def locate(root: Path, name: str) -> Path:
    """Return where the file lies that :func:`walk` called ``name``."""
    return root / plain(name)


def as_posix(path: str) -> str:
    """Return a path from a table: Windows separators and a leading dot make no other file; "" stays empty."""
    return PurePosixPath(path.replace("\\", "/")).as_posix() if path else ""


class StatedPaths:
    """Paths that a table states, to be found again by the names of files.

    Tables are written on other systems: separators differ, and letters with accents come composed or in pieces.

    Args:
        stated: Relative paths as the table has them.
    """

    def __init__(self, stated: Iterable[str]) -> None:
        self._exact: dict[str, str] = {}
        self._composed: dict[str, str | None] = {}
        for path in stated:
            if path:
                self._exact.setdefault(as_posix(path), path)
        for spelling, path in self._exact.items():
            composed = unicodedata.normalize("NFC", spelling)
            self._composed[composed] = None if composed in self._composed else path

    def find(self, name: str) -> str:
        """Return the stated path that means the file which :func:`walk` called ``name``; "" where none does.

        A path that is spelled exactly so counts before one that differs in the composition of its letters, and two of
        the latter mean nobody.
        """
        spellings = (plain(name), name)
        exact = next((self._exact[way] for way in spellings if way in self._exact), None)
        if exact is not None:
            return exact
        composed = (self._composed.get(unicodedata.normalize("NFC", way)) for way in spellings)
        return next((path for path in composed if path), "")


def walk(root: Path, outside_links: bool = False) -> list[Entry]:
    """List everything below ``root``, sorted by name: the same answer on every machine.

    Args:
        root: Folder to walk.
        outside_links: Follow links that lead out of ``root`` too.

    Returns:
        Files, and folders that were not entered: hidden, forbidden or listed already.
    """
    home = None if outside_links else os.path.realpath(root)
    seen: set[tuple[int, int]] = set()
    found: list[Entry] = []
    folders, links = [""], list[str]()
    while folders or links:
        # Links to folders come last: what they lead to is better named by its real folder.
        folder = folders.pop() if folders else heapq.heappop(links)
        try:
            facts = (root / folder).stat()
            items = list(os.scandir(root / folder))
        except OSError:  # forbidden, or a path longer than the system allows
            found.append(Entry(written(folder), "no_entry"))
            continue
        if (facts.st_dev, facts.st_ino) in seen:
            found.append(Entry(written(folder), "linked_again"))
            continue
        seen.add((facts.st_dev, facts.st_ino))
        for item in items:
            name, problem = _looked_at(item, folder, home)
            if problem == "folder":
                folders.append(name)
            elif problem == "link":
                heapq.heappush(links, name)
            else:
                found.append(Entry(written(name), problem))
    return sorted(found)


def _looked_at(item: os.DirEntry[str], folder: str, home: str | None) -> tuple[str, str]:
    """Return the item's path and its problem; ``folder`` and ``link`` say that it is a folder to be entered."""
    name = folder + item.name
    try:
        is_folder, is_file, is_link = item.is_dir(), item.is_file(), item.is_symlink()
    except OSError:  # a link that leads to itself, or through a forbidden folder
        return name, "not_a_file"
    if is_folder:
        name += "/"
    if item.name.startswith("."):
        return name, "hidden"
    if not is_folder and not is_file:
        return name, "not_a_file"
    if is_link and home is not None and not _is_below(os.path.realpath(item.path), home):
        return name, "outside_root"
    if is_folder:
        return name, "link" if is_link else "folder"
    return name, ""


def _is_below(path: str, home: str) -> bool:
    return path == home or path.startswith(home.rstrip("/") + "/")


def _code(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(found.group()))
