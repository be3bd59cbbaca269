"""Links from a document to the artefacts of its run, and to the documents beside it."""

from __future__ import annotations

from urllib.parse import quote


def link(target: str, run: str) -> str:
    """Return the address of a target as a document writes it.

    Args:
        target: ``part/file`` or ``part/file#anchor`` of the run folder, or a document beside this one.
        run: The way from the documents to the run folder, POSIX, ending in ``/``.
    """
    path, sharp, anchor = target.partition("#")
    return quote((run if "/" in path else "") + path) + sharp + quote(anchor)
