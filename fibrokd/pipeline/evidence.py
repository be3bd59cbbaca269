"""Command ``evidence``: model card, data card and reporting checklists from a finished run. Wiring only.

Needs no torch. Reads the folders of a run, checks that nothing in them was altered and that they belong together, and
writes documents whose links lead back to them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fibrokd.artifacts import RECORD, Record, begin, read_record, require
from fibrokd.errors import ArtifactError
from fibrokd.evaluation.evidence.artefacts import read_artefacts
from fibrokd.evaluation.evidence.documents import FORMAT, documents
from fibrokd.files import write_text
from fibrokd.progress import say

STEPS = {"prepared": "prepare", "assess": "assess", "book": "write-book", "bundle": "release", "phantom": "phantom"}
"""Folder of a run → the step that wrote it; networks are known by their records."""

NEEDED = ("prepared", "assess")


def run(folder: Path, out: Path) -> Record:
    """Write the documents about a run.

    Args:
        folder: The OUT of ``fibrokd run``.
        out: Folder to write, new; inside the run folder, links stay right wherever that is moved.

    Raises:
        ArtifactError: A part of the run is missing, unfinished, altered or of another run, or ``out`` holds something
            else.
    """
    parts = dict(_parts(folder))
    _check_chain(parts, folder)
    artefacts = read_artefacts(folder)
    way = _way(out, folder)
    step = begin(out, "evidence", {"format": FORMAT, "links": way}, {name: part.digest for name, part in parts.items()})
    if step.finished:
        say(f"evidence: {out} is finished")
        return step.record
    texts = documents(artefacts, way)
    for name, text in texts.items():
        write_text(out / name, text)
    say(f"evidence: {len(texts)} files in {out}; begin with index.html")
    return step.finish(texts)


def _parts(folder: Path) -> Iterator[tuple[str, Record]]:
    """Every part of the run, finished and unaltered."""
    if not folder.is_dir():
        raise ArtifactError(
            f"Expected the folder of a finished run at {folder}, found none.", "Give the OUT of `fibrokd run`."
        )
    for name, step in STEPS.items():
        if name in NEEDED or (folder / name / RECORD).exists():
            yield name, require(folder / name, step)
    for record in sorted(folder.glob(f"*/{RECORD}")):
        found = read_record(record.parent)
        if found.step in ("teach", "distill"):
            yield record.parent.name, require(record.parent, found.step)


def _check_chain(parts: dict[str, Record], folder: Path) -> None:
    """Refuse folders that were put together: every part must have read the others as they are."""
    digests = {part.digest for part in parts.values()}
    known = {*parts, "student"}
    for name, part in parts.items():
        for source, digest in part.inputs.items():
            if source in known and digest not in digests:
                raise ArtifactError(
                    f"Expected {folder / name} to have read the '{source}' beside it, found that it read another.",
                    "Give the folder of one run as `fibrokd run` wrote it, without parts of others.",
                )


def _way(out: Path, folder: Path) -> str:
    """The way from the documents to the run; never through the root, which would name the folders of this machine."""
    there, here = folder.resolve(), out.resolve()
    shared = Path(os.path.commonpath([there, here]))
    if shared == Path(shared.anchor):
        raise ArtifactError(
            f"Expected OUT near the run {folder}, so that links between them stay right, found {out}.",
            "Choose an OUT inside the run folder or beside it.",
        )
    return Path(os.path.relpath(there, here)).as_posix() + "/"
