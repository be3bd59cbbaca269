"""All that was taken in: one table over the frames of all shards, and their pixels and numbers piece by piece.

Owns the order of the rows, which must tell nothing of paths, and keys of patients that only the whole collection
decides. Never holds more than one shard's pixels. Must not read images.

Shape letters: N frames of the collection, M some of them, S side of the network input, L and C numbers of a
fingerprint and of the margins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int, Int8, UInt8

from fibrokd.data.identities import reconcile
from fibrokd.data.ingest import Refusal
from fibrokd.data.manifest import ROW_COLUMNS, number_copies
from fibrokd.data.shards import KINDS, Shard, shapes
from fibrokd.errors import InputError
from fibrokd.files import atomic_path

_ALL_WITHOUT_FAN = (
    "Bring frames that show the whole fan; or if they were cut out before, and nothing is burned in, set "
    "without_fan: keep."
)


@dataclass(frozen=True)
class Intake:
    """All frames of a collection as they lie in shards, less those set aside; made by :func:`take_in`.

    Args:
        table: Manifest with patient and study keys, every value as text; one row per frame.
        frames: Position of every row among all frames of the shards.
        shards: Where the frames lie.
        refusals: Every file and frame that is not in the table.
    """

    table: pd.DataFrame
    frames: Int[np.ndarray, " N"]
    shards: tuple[Shard, ...]
    refusals: tuple[Refusal, ...]

    def without(self, aside: Bool[np.ndarray, " N"], reason: str, detail: str) -> Intake:
        """Set rows aside: they leave the table and are refused for a reason."""
        left = self.table[aside]
        places = zip(left["path"], left["frame"], left["part"], strict=True)
        refused = tuple(
            Refusal(path, int(frame), reason, detail, int(part) if part else None) for path, frame, part in places
        )
        table = self.table[~aside].reset_index(drop=True)
        return Intake(table, self.frames[~aside], self.shards, self.refusals + refused)

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What was decided or repaired: (image_id, note), in the order of image_id."""
        names = dict(zip(self.frames.tolist(), self.table["image_id"], strict=True))
        told, start = [], 0
        for shard in self.shards:
            told += [(names[start + row], note) for row, note in shard.notes if start + row in names]
            start += len(shard.rows)
        return sorted(told, key=lambda note: note[0])

    def thumbnails(self, rows: Int[np.ndarray, " M"]) -> UInt8[np.ndarray, "M 48 48"]:
        """Read the thumbnails of some rows."""
        return self._gathered("thumbnails", rows)

    def fingerprints(self, rows: Int[np.ndarray, " M"]) -> Int8[np.ndarray, "M L"]:
        """Read the fingerprints of some rows."""
        return self._gathered("fingerprints", rows)

    def margins(self, rows: Int[np.ndarray, " M"]) -> Float32[np.ndarray, "M C"]:
        """Read the margin numbers of some rows."""
        return self._gathered("margins", rows)

    def write_pixels(self, path: Path, side: int) -> None:
        """Write the preprocessed frames of all rows as one array ``uint8`` [N, S, S], shard by shard."""
        with atomic_path(path) as temporary:
            shape = (len(self.frames), side, side)
            stored = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            for shard, rows, inside in self._held(self.frames):
                stored[rows] = shard.array("pixels")[inside]
            stored.flush()

    def _gathered(self, name: str, rows: Int[np.ndarray, " M"]) -> np.ndarray:
        gathered = np.empty((len(rows), *shapes(0)[name]), dtype=KINDS[name])
        for shard, places, inside in self._held(self.frames[rows]):
            gathered[places] = shard.array(name)[inside]
        return gathered

    def _held(
        self, frames: Int[np.ndarray, " M"]
    ) -> Iterator[tuple[Shard, Int[np.ndarray, " _"], Int[np.ndarray, " _"]]]:
        """Yield every shard that holds some of the frames, which of them, and their positions in it."""
        starts = np.cumsum([0, *(len(shard.rows) for shard in self.shards)])
        order = np.argsort(frames, kind="stable")
        bounds = np.searchsorted(frames, starts, sorter=order)
        for shard, start, first, last in zip(self.shards, starts, bounds, bounds[1:], strict=False):
            if last > first:
                yield shard, order[first:last], frames[order[first:last]] - start


def take_in(shards: Sequence[Shard], refused_before: Sequence[Refusal] = ()) -> Intake:
    """Put shards together: rows in the order of image_id, for that of paths would be that of surnames in folders.

    Args:
        shards: In the order of the files.
        refused_before: Files refused before they were opened.

    Raises:
        InputError: Not one frame is usable.
    """
    rows = [row for shard in shards for row in shard.rows]
    refusals = (*(refusal for shard in shards for refusal in shard.refusals), *refused_before)
    if not rows:
        reasons = Counter(refusal.reason for refusal in refusals)
        told = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
        raise InputError(
            f"Expected images that can be used, found none: all {len(refusals)} were refused ({told}), for example "
            f"because {refusals[0].detail}.",
            _ALL_WITHOUT_FAN if set(reasons) == {"no_fan"} else "Check data.root and the kind of files in it.",
        )
    table = pd.DataFrame(rows, columns=list(ROW_COLUMNS)).astype(str)
    table["image_id"] = number_copies(table)
    table["patient"] = reconcile(list(table["patient"]), list(table.pop("issuer")))
    order = np.argsort(table["image_id"].to_numpy(dtype=np.str_), kind="stable")
    return Intake(table.iloc[order].reset_index(drop=True), order, tuple(shards), refusals)
