"""Small manifests for the integrity tests, without files."""

import hashlib

import pandas as pd

from fibrokd.data.prepared import IDENTITY_COLUMNS, MANIFEST_COLUMNS


def image_id(path, frame=0):
    return hashlib.sha256(f"{path}#{frame}".encode()).hexdigest()[:16]


def manifest(rows):
    """Build manifest rows from dicts; whatever is left out gets a harmless value, unique content included."""
    full = []
    for number, row in enumerate(rows):
        path = row.get("path", f"{row.get('stage', 'F0')}/x{number}.png")
        frame = row.get("frame", 0)
        digest = hashlib.sha256(f"content {number}".encode()).hexdigest()
        full.append(
            {
                "image_id": image_id(path, frame), "path": path, "frame": str(frame), "stage": "F0", "patient": "",
                "study": "", "site": "", "scanner": "", "file_digest": digest, "pixel_digest": digest,
                "format": "PNG", "extension_ok": "1", "height": "64", "width": "64", "fan_confidence": "1.0",
                "cropped": "1", **row,
            }
        )  # fmt: skip
    return pd.DataFrame(full, columns=[*MANIFEST_COLUMNS, *IDENTITY_COLUMNS])


def content(number):
    """Return the pixel digest of picture ``number``."""
    return hashlib.sha256(f"picture {number}".encode()).hexdigest()
