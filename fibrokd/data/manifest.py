"""The manifest: building one row per decoded frame, and checking the whole table at once.

Owns what a valid manifest is. Must not read images or decide groups and splits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import pandas as pd

from fibrokd.data.devices import device_name, place_label
from fibrokd.data.identities import split_issuer, stand_in
from fibrokd.data.images import UltrasoundImage
from fibrokd.data.prepared import IDENTITY_COLUMNS, MANIFEST_COLUMNS
from fibrokd.data.preprocess import Preprocessed
from fibrokd.data.reading import extension_fits, pixel_digest
from fibrokd.data.sources import SourceFile
from fibrokd.errors import TableError
from fibrokd.files import digest_bytes
from fibrokd.stages import StageScale

_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX16 = re.compile(r"[0-9a-f]{16}")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "DICOM")


def image_id(file_digest: str, frame: int, part: int = 0, copy: int = 0) -> str:
    """Return the opaque, unique name of a picture: 16 hex digits of sha256("digest#frame.part.copy").

    Made of content, not of the path: whoever guesses the name of a folder must not be able to prove the guess.

    Args:
        file_digest: sha256 of the file's bytes.
        frame: Frame index within the file.
        part: Picture within the frame.
        copy: How many files with the same bytes come before this one in the order of paths.
    """
    return hashlib.sha256(f"{file_digest}#{frame}.{part}.{copy}".encode()).hexdigest()[:16]


def number_copies(table: pd.DataFrame) -> pd.Series[str]:
    """Return image ids that are unique although files may be copies of each other.

    Args:
        table: Rows of all files in the order of their paths, ids still those of first copies; reads image_id,
            file_digest, frame and part.
    """
    places = [table[name] for name in ("file_digest", "frame", "part")]
    copies = table.groupby(places, sort=False).cumcount()
    rows = zip(table["image_id"], *places, copies, strict=True)
    names = [image_id(d, int(frame), int(part), copy) if copy else first for first, d, frame, part, copy in rows]
    return pd.Series(names, index=table.index, dtype=str)


ROW_COLUMNS = (*MANIFEST_COLUMNS, *IDENTITY_COLUMNS, "issuer")
"""What is known of a frame when it has been read; ``issuer`` is needed until patients of all files are compared."""


def build_row(
    source: SourceFile, image: UltrasoundImage, file_digest: str, done: Preprocessed, secret: bytes | None
) -> dict[str, object]:
    """Return the row of one frame, keyed by :data:`ROW_COLUMNS` in order.

    Patient and study are what the collection says, else what the file says; both are hidden in the same way. So is the
    scanner, as far as it is free text; a label table's site and scanner pass while they are short and plain.

    Args:
        source: What the collection says about the file.
        image: The decoded frame.
        file_digest: sha256 of the file's bytes.
        done: What the network sees of it.
        secret: Key of the stand-ins; ``None`` for generated data, whose identifiers stay readable.
    """
    height, width = image.pixels.shape
    issuer, patient = split_issuer(source.patient or image.patient or "")
    values: tuple[object, ...] = (
        image_id(file_digest, image.frame, image.part),
        image.frame,
        source.stage or "",
        *_place(source, image.device or "", secret),
        file_digest,
        pixel_digest(image),
        image.format,
        int(extension_fits(source.path, image.format)),
        height,
        width,
        round(done.fan_confidence, 4),
        int(done.cropped),
        image.part,
        image.mode,
        image.jpeg_tables,
        image.decoder,
        source.path,
        stand_in("patient", patient, secret),
        stand_in("study", source.study or image.study or "", secret),
        stand_in("issuer", issuer, secret),
    )
    return dict(zip(ROW_COLUMNS, values, strict=True))


def _place(source: SourceFile, device: str, secret: bytes | None) -> tuple[str, str]:
    """Site and scanner as they may be written down; those of generated data stay as they are."""
    if secret is None:
        return source.site, source.scanner or device.replace("|", " ")
    return place_label("site", source.site), place_label("scanner", source.scanner) or device_name(device)


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
    problems += _duplicates(text)
    if problems:
        raise TableError("manifest.csv", problems, "Correct these rows, or run `fibrokd prepare` again.")


def manifest_digest(table: pd.DataFrame) -> str:
    """Return the sha256 of what the manifest says, whatever the order of its rows or columns.

    Covers :data:`MANIFEST_COLUMNS` but for ``decoder``: a version is no content, and pixels have a digest of their
    own. Further columns do not count.

    Args:
        table: A manifest, as built or as read back from CSV.
    """
    columns = [name for name in MANIFEST_COLUMNS if name != "decoder"]
    text = table[columns].astype(str).sort_values("image_id", kind="stable")
    lines = ("\x1f".join(row) for row in text.itertuples(index=False, name=None))
    return digest_bytes("\n".join(["\x1f".join(columns), *lines]).encode())


Rule = tuple[str, str, Callable[[str], bool]]


def _rules(scale: StageScale) -> tuple[Rule, ...]:
    return (
        ("image_id", "16 hex digits", lambda v: bool(_HEX16.fullmatch(v))),
        ("frame", "a whole number from 0", str.isdigit),
        ("stage", f"one of {', '.join(scale.names)}", lambda v: v in scale.names),
        ("file_digest", "64 hex digits", lambda v: bool(_HEX64.fullmatch(v))),
        ("pixel_digest", "64 hex digits", lambda v: bool(_HEX64.fullmatch(v))),
        ("format", f"one of {', '.join(_FORMATS)}", lambda v: v in _FORMATS),
        ("extension_ok", "0 or 1", lambda v: v in {"0", "1"}),
        ("height", "a whole number from 1", _is_positive),
        ("width", "a whole number from 1", _is_positive),
        ("fan_confidence", "within 0 … 1", _is_share),
        ("cropped", "0 or 1", lambda v: v in {"0", "1"}),
        ("part", "empty or a whole number from 0", lambda v: not v or v.isdigit()),
    )


def _is_positive(value: str) -> bool:
    return value.isdigit() and int(value) > 0


def _is_share(value: str) -> bool:
    try:
        return 0 <= float(value) <= 1
    except ValueError:
        return False


def _duplicates(text: pd.DataFrame) -> list[str]:
    repeated = text["image_id"][text["image_id"].duplicated(keep=False)]
    return [f"image_id should be unique, found repeated {_some(repeated)}"] if len(repeated) else []


def _some(values: pd.Series[str], shown: int = 3) -> str:
    head = ", ".join(f"{value!r} (row {row})" for row, value in values.head(shown).items())
    return head + (f" and {len(values) - shown} more" if len(values) > shown else "")
