"""The manifest: building one row per decoded frame, and checking the whole table at once.

Owns what a valid manifest is. Must not read images or decide groups and splits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd

from fibrokd.artifacts import digest_bytes
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.prepared import MANIFEST_COLUMNS
from fibrokd.data.reading import extension_fits, pixel_digest
from fibrokd.data.sources import SourceFile
from fibrokd.errors import TableError
from fibrokd.stages import StageScale

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX16 = re.compile(r"[0-9a-f]{16}")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "DICOM")


def image_id(path: str, frame: int) -> str:
    """Return the opaque, unique name of a frame: 16 hex digits of sha256("relative/path#frame").

    Args:
        path: Relative to the data root, POSIX separators.
        frame: Frame index within the file.
    """
    return hashlib.sha256(f"{path}#{frame}".encode()).hexdigest()[:16]


def opaque_key(kind: str, key: str) -> str:
    """Return a stand-in for an identifying key: 16 hex digits of sha256, the same for the same key everywhere.

    Not keyed: somebody who knows an identifier can recognise it. It only keeps raw identifiers out of tables.

    Args:
        kind: ``patient`` or ``study``; the same text gives different stand-ins for different kinds.
        key: The raw key.
    """
    return hashlib.sha256(f"{kind}\x00{key}".encode()).hexdigest()[:16]


def build_row(source: SourceFile, image: UltrasoundImage, file_digest: str, fan_confidence: float) -> dict[str, object]:
    """Return the manifest row of one frame, keyed by :data:`MANIFEST_COLUMNS` in order.

    Patient and study come from the labels as given; otherwise from the file, and then only as stand-ins.

    Args:
        source: What the collection says about the file.
        image: The decoded frame.
        file_digest: sha256 of the file's bytes.
        fan_confidence: 0 … 1.
    """
    height, width = image.pixels.shape
    patient = source.patient or (opaque_key("patient", image.patient) if image.patient else "")
    study = source.study or (opaque_key("study", image.study) if image.study else "")
    values: tuple[object, ...] = (
        image_id(source.path, image.frame),
        source.path,
        image.frame,
        source.stage or "",
        patient,
        study,
        source.site,
        source.scanner or (image.device or ""),
        file_digest,
        pixel_digest(image),
        image.format,
        int(extension_fits(source.path, image.format)),
        height,
        width,
        round(fan_confidence, 4),
    )
    return dict(zip(MANIFEST_COLUMNS, values, strict=True))


def check_manifest(table: pd.DataFrame, scale: StageScale) -> None:
    """Check a manifest, as built or as read back from CSV; further columns are allowed.

    Args:
        table: One row per frame.
        scale: Stage scale the stages must be on.

    Raises:
        TableError: Lists every kind of problem with the rows it concerns.
    """
    missing = [name for name in MANIFEST_COLUMNS if name not in table.columns]
    if missing:
        raise TableError("manifest.csv", [f"column {name!r} is missing" for name in missing], "Add these columns.")
    if table.empty:
        raise TableError("manifest.csv", ["it has no rows"], "Check that the data root holds readable images.")
    text = table[list(MANIFEST_COLUMNS)].astype(str)
    problems: list[str] = []
    for column, wanted, fits in _rules(scale):
        wrong = text[column][~text[column].map(fits)]
        if len(wrong):
            problems.append(f"{column} should be {wanted}, found {_some(wrong)}")
    problems += _misnamed(text) + _duplicates(text)
    if problems:
        raise TableError("manifest.csv", problems, "Correct these rows, or run `fibrokd prepare` again.")


def manifest_digest(table: pd.DataFrame) -> str:
    """Return the sha256 of what the manifest says, whatever the order of its rows or columns.

    Covers :data:`MANIFEST_COLUMNS`; further columns do not count.

    Args:
        table: A manifest, as built or as read back from CSV.
    """
    text = table[list(MANIFEST_COLUMNS)].astype(str).sort_values(["path", "frame"], kind="stable")
    lines = ("\x1f".join(row) for row in text.itertuples(index=False, name=None))
    return digest_bytes("\n".join(["\x1f".join(MANIFEST_COLUMNS), *lines]).encode())


Rule = tuple[str, str, Callable[[str], bool]]


def _rules(scale: StageScale) -> tuple[Rule, ...]:
    return (
        ("image_id", "16 hex digits", lambda v: bool(_HEX16.fullmatch(v))),
        ("path", "a relative POSIX path", _is_relative),
        ("frame", "a whole number from 0", str.isdigit),
        ("stage", f"one of {', '.join(scale.names)}", lambda v: v in scale.names),
        ("file_digest", "64 hex digits", lambda v: bool(_HEX64.fullmatch(v))),
        ("pixel_digest", "64 hex digits", lambda v: bool(_HEX64.fullmatch(v))),
        ("format", f"one of {', '.join(_FORMATS)}", lambda v: v in _FORMATS),
        ("extension_ok", "0 or 1", lambda v: v in {"0", "1"}),
        ("height", "a whole number from 1", _is_positive),
        ("width", "a whole number from 1", _is_positive),
        ("fan_confidence", "within 0 … 1", _is_share),
    )


def _is_relative(value: str) -> bool:
    path = PurePosixPath(value)
    return bool(value) and "\\" not in value and not path.is_absolute() and ".." not in path.parts


def _is_positive(value: str) -> bool:
    return value.isdigit() and int(value) > 0


def _is_share(value: str) -> bool:
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False


def _misnamed(text: pd.DataFrame) -> list[str]:
    countable = text[text["frame"].str.isdigit()]
    own = [image_id(path, int(frame)) for path, frame in zip(countable["path"], countable["frame"], strict=True)]
    wrong = countable["image_id"][countable["image_id"] != own]
    return [f"image_id should be that of its path and frame, found {_some(wrong)}"] if len(wrong) else []


def _duplicates(text: pd.DataFrame) -> list[str]:
    problems = []
    for columns, name in ((["image_id"], "image_id"), (["path", "frame"], "path and frame")):
        repeated = text[text.duplicated(columns, keep=False)]
        if len(repeated):
            problems.append(f"{name} should be unique, found repeated {_some(repeated.path)}")
    return problems


def _some(values: pd.Series[str], shown: int = 3) -> str:
    head = ", ".join(f"{value!r} (row {row})" for row, value in values.head(shown).items())
    return head + (f" and {len(values) - shown} more" if len(values) > shown else "")
