"""Which files are no pictures by their names: tables, notes, indices, and what operating systems leave behind.

They carry no stage and are not looked into, wherever they lie. Files whose names do not say what they are (``IM0001``)
and archives, which may hold pictures, are none of them.
"""

from __future__ import annotations

from pathlib import PurePosixPath

_ENDINGS = {
    ".csv", ".tsv", ".json", ".jsonl", ".xml", ".txt", ".md", ".rtf", ".yaml", ".yml", ".html", ".htm", ".pdf",
    ".doc", ".docx", ".xls", ".xlsx", ".ods", ".log", ".py", ".sha256", ".ini", ".inf", ".db", ".lnk", ".url",
}  # fmt: skip
_NAMES = {"dicomdir"}  # the index of a DICOM medium: a DICOM file without patient and without pixels


def is_companion(path: str) -> bool:
    """Say whether a file is no picture by its name.

    Args:
        path: Relative path; only its last part counts. Folders, with a slash at the end, are none.

    Example:
        >>> [is_companion(name) for name in ("F2/notes.txt", "DICOMDIR", "Thumbs.db", "IM0001", "a.zip")]
        [True, True, True, False, False]
    """
    name = PurePosixPath(path.casefold())
    return not path.endswith("/") and (name.suffix in _ENDINGS or name.name in _NAMES)
