"""Which images of another collection networks have seen before: the same picture, nearly the same, or the same patient.

Owns the comparison of two prepared folders of one preprocessing. Decides nothing.

Shape letters: N images, L numbers of a fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Int8

from fibrokd.data.fan.finder import Fan
from fibrokd.data.fingerprint import fingerprint
from fibrokd.data.prepared import Prepared
from fibrokd.integrity.near_duplicates import NearConfig, near_links
from fibrokd.progress import track


@dataclass(frozen=True)
class Shared:
    """An image of the other collection that was seen before.

    Args:
        image_id: The image.
        reason: Key of :data:`fibrokd.evaluation.external.REASONS`.
        seen: The image that was seen; empty for a relative.
    """

    image_id: str
    reason: str
    seen: str


def shared_images(
    own: Prepared, rows: Int[np.ndarray, " N"], other: Prepared, near: NearConfig | None = None
) -> list[Shared]:
    """Return the images of another collection that were seen before, each once, by the strongest reason.

    Patients are compared by their keys where neither collection is generated: those of real patients are equal only
    under the same secret, and those of phantoms count from 0 in every cohort.

    Args:
        own: The collection that networks were trained on.
        rows: Its images that were learned from, or on which something was fixed.
        other: The other collection.
        near: When pictures are nearly the same.
    """
    known = own.table.iloc[rows]
    found: dict[str, Shared] = {}
    for column in ("pixel_digest", "file_digest"):
        _match(found, dict(zip(known[column], known["image_id"], strict=True)), other, column, "content")
    if not (own.stamp["synthetic"] or other.stamp["synthetic"]):
        named = known[known["patient"] != ""]
        _match(found, dict(zip(named["patient"], named["image_id"], strict=True)), other, "patient", "patient")
    for seen, image_id in _alike(own, rows, other, near or NearConfig()):
        found.setdefault(image_id, Shared(image_id, "near", seen))
    clusters = dict(zip(other.table["image_id"], other.table["cluster"], strict=True))
    tied = {clusters[image_id] for image_id in found}
    for image_id, cluster in clusters.items():
        if cluster in tied:
            found.setdefault(image_id, Shared(image_id, "relative", ""))
    return [found[image_id] for image_id in other.table["image_id"] if image_id in found]


def _match(found: dict[str, Shared], known: dict[str, str], other: Prepared, column: str, reason: str) -> None:
    for image_id, value in zip(other.table["image_id"], other.table[column], strict=True):
        if value in known:
            found.setdefault(image_id, Shared(image_id, reason, known[value]))


def _alike(own: Prepared, rows: Int[np.ndarray, " N"], other: Prepared, config: NearConfig) -> list[tuple[str, str]]:
    """Pairs of an own image and one of the other collection that look nearly the same."""
    if not config.enabled:
        return []
    prints = np.concatenate([_fingerprints(own, rows), _fingerprints(other, np.arange(len(other)))])
    names: Sequence[str] = [*own.table["image_id"].iloc[rows], *other.table["image_id"]]
    across = (link for link in near_links(prints, config) if link.a < len(rows) <= link.b)
    return [(names[link.a], names[link.b]) for link in across]


def _fingerprints(prepared: Prepared, rows: Int[np.ndarray, " N"]) -> Int8[np.ndarray, "N L"]:
    # Frames were cut to the fan and brought to one size already: the whole picture is compared.
    whole = Fan(prepared.preprocess.size, prepared.preprocess.size)
    tracked = track(rows.tolist(), "fingerprints", len(rows), "images")
    return np.stack([fingerprint(np.asarray(prepared.pixels[row]), whole) for row in tracked])
