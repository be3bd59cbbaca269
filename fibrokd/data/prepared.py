"""Reads a ``prepared/`` folder: the only way in which later steps see data.

Files of the folder (written by the ``prepare`` step):

==================  =============================================================================================
manifest.csv        one row per frame, see :data:`MANIFEST_COLUMNS`; row k belongs to ``pixels.npy[k]``
identities.csv      image_id, path, patient, study: where the frame lies, and keyed stand-ins, which differ with the
                    secret; under no digest, and to be left out when the folder is passed on
pixels.npy          preprocessed frames, ``uint8`` [N, S, S]; everything outside the accepted fan is 0
groups.csv          image_id, group (never cut by a split), cluster (tied by any evidence; what intervals resample),
                    evidence (which kinds of evidence tie the image to its group)
levels.csv          image_id and its group under each single kind of evidence, see :data:`LEVEL_COLUMNS`
facts.csv           image_id and one column per fact that ``data.facts`` asked for; only where it did
splits.csv          image_id, split (train | val | calibration | test), fold (0 … k-1)
quarantine.csv      path, frame, part, reason, detail of every file (frame and part are empty then) and every picture
                    of a file that could not be used; as identities.csv
unmatched.csv       kind (file | row | companion), name, reason, detail of what has no stage, no file or no picture; as
                    identities.csv
dataset.json        stage scale, PreprocessSpec, integrity stamp
integrity.json      evidence, controls, verdict; ``integrity.html`` is the same for people
==================  =============================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int, UInt8

from fibrokd.artifacts import Record, require
from fibrokd.config import parse_config
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.errors import ArtifactError
from fibrokd.files import read_json
from fibrokd.stages import StageScale

SPLITS = ("train", "val", "calibration", "test")

MANIFEST_COLUMNS = (
    "image_id",  # opaque and unique: see ``manifest.image_id``
    "frame",  # frame index within the file
    "stage",  # stage name of the scale
    "site",  # empty where unknown
    "scanner",  # empty where unknown
    "file_digest",  # sha256 of the file's bytes
    "pixel_digest",  # sha256 of the decoded grey levels and their shape: survives re-wrapping in another container
    "format",  # true format of the content
    "extension_ok",  # 1 where the file name's extension fits the content
    "height",  # decoded rows
    "width",  # decoded columns
    "fan_confidence",  # 0 … 1
    "cropped",  # 1 where only the fan, or a declared tissue box that tissue fills, was kept; else 0
    "part",  # picture within the frame: 0, or the number of a tissue region where several lie side by side
    "mode",  # how samples were stored: L, RGB, P …, or the DICOM photometric interpretation
    "jpeg_tables",  # which JPEG encoder at which quality: 8 hex of a digest; empty for other formats
    "decoder",  # what decoded the pixels, with its version; under no manifest digest: the pixels are
)
"""Columns every manifest holds, in this order; further columns may follow."""

IDENTITY_COLUMNS = (
    "path",  # relative to the data root, POSIX separators: names of folders and files often are names of persons
    "patient",  # patient key, empty where unknown
    "study",  # study key, empty where unknown
)
"""Columns of identities.csv beside ``image_id``: what leads back to files and persons. Keys of patients and studies
differ with the secret, so no digest may depend on them."""

LEVELS_FILE = "levels.csv"
FACTS_FILE = "facts.csv"

LEVEL_COLUMNS = ("stem", "content", "subject")
"""Columns of levels.csv beside ``image_id``: the smallest image_id among the images of one file name, of one content,
of one patient. ``subject`` is missing where too few patients are known. All evidence together is ``cluster``."""


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV with every value as text; an empty field is the empty string, never NaN."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@dataclass(frozen=True)
class Prepared:
    """A finished ``prepared/`` folder, opened by :meth:`open`.

    Args:
        folder: The folder.
        record: Its verified record.
        table: Manifest joined with groups and splits; row k belongs to ``pixels[k]``. Columns:
            :data:`MANIFEST_COLUMNS` and :data:`IDENTITY_COLUMNS` plus ``group``, ``cluster``, ``split``, ``fold``.
        scale: Stage scale.
        preprocess: What was done to every frame.
        stamp: Integrity stamp: ``verdict``, ``grouping``, ``reasons``, ``accepted_unfit``, ``synthetic``.
    """

    folder: Path
    record: Record
    table: pd.DataFrame
    scale: StageScale
    preprocess: PreprocessSpec
    stamp: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Open a folder after checking every digest.

        Raises:
            ArtifactError: The folder is not a finished ``prepare`` run, or its tables do not fit together.
        """
        record = require(folder, "prepare")
        manifest = _with_identities(read_table(folder / "manifest.csv"), folder / "identities.csv")
        groups = read_table(folder / "groups.csv")[["image_id", "group", "cluster"]]
        splits = read_table(folder / "splits.csv")[["image_id", "split", "fold"]]
        table = manifest.merge(groups, on="image_id", how="left", validate="1:1")
        table = table.merge(splits, on="image_id", how="left", validate="1:1")
        if table[["group", "split"]].isna().any(axis=None):
            raise ArtifactError(
                f"groups.csv or splits.csv of {folder} lacks images of manifest.csv.", "Run `fibrokd prepare` again."
            )
        data = read_json(folder / "dataset.json")
        scale = StageScale(tuple(data["stages"]["names"]), tuple(data["stages"]["cutoffs"]))
        spec = parse_config(data["preprocess"], PreprocessSpec, source=f"{folder / 'dataset.json'}")
        return cls(folder, record, table, scale, spec, data["stamp"])

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def pixels(self) -> UInt8[np.ndarray, "N S S"]:
        """Preprocessed frames, memory-mapped read-only."""
        array: np.ndarray = np.load(self.folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        if len(array) != len(self.table):
            raise ArtifactError(
                f"pixels.npy holds {len(array)} frames, manifest.csv {len(self.table)} rows.",
                "Run `fibrokd prepare` again.",
            )
        return array

    @cached_property
    def stages(self) -> Int[np.ndarray, " N"]:
        """Stage index of every row; −1 where the row belongs to no split because it was left out."""
        rows = zip(self.table["stage"], self.table["split"], strict=True)
        return np.array([self.scale.parse(name) if split else -1 for name, split in rows], dtype=np.int64)

    @cached_property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Group of every row had the split been made ``random``, by ``stem``, ``content``, ``all`` or ``subject``.

        Levels that do not exist in the collection are left out; empty where the folder was prepared before
        levels were written down.

        Raises:
            ArtifactError: levels.csv lacks images of manifest.csv.
        """
        if LEVELS_FILE not in self.record.outputs:
            return {}
        written = read_table(self.folder / LEVELS_FILE)
        joined = self.table[["image_id", "cluster"]].merge(written, on="image_id", how="left", validate="1:1")
        found = [name for name in LEVEL_COLUMNS if name in joined]
        if joined[found].isna().any(axis=None):
            raise ArtifactError(
                f"{LEVELS_FILE} of {self.folder} lacks images of manifest.csv.", "Run `fibrokd prepare` again."
            )
        columns = {"random": "image_id", **{name: name for name in found}, "all": "cluster"}
        order = ("random", "stem", "content", "all", "subject")
        return {name: tuple(joined[columns[name]]) for name in order if name in columns}

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One row per row of the table, one column per further fact, all text; without columns where there are none.

        Raises:
            ArtifactError: facts.csv lacks images of manifest.csv.
        """
        if FACTS_FILE not in self.record.outputs:
            return self.table[[]].copy()
        written = read_table(self.folder / FACTS_FILE)
        joined = self.table[["image_id"]].merge(written, on="image_id", how="left", validate="1:1")
        if joined.isna().any(axis=None):
            raise ArtifactError(
                f"{FACTS_FILE} of {self.folder} lacks images of manifest.csv.", "Run `fibrokd prepare` again."
            )
        return joined.drop(columns="image_id")

    def rows(self, split: str) -> Int[np.ndarray, " M"]:
        """Row numbers of one split, ascending.

        Raises:
            ArtifactError: The split is unknown or empty.
        """
        rows = np.flatnonzero((self.table["split"] == split).to_numpy())
        if len(rows) == 0:
            present = ", ".join(sorted(set(self.table["split"])))
            raise ArtifactError(
                f"Expected images in split {split!r} of {self.folder}, found only {present}.",
                "Check the `splits` shares of the prepare configuration.",
            )
        return rows


def _with_identities(manifest: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Join paths and keys; a folder that was passed on without them has none."""
    if not path.exists():
        return manifest.assign(**dict.fromkeys(IDENTITY_COLUMNS, ""))
    identities = read_table(path)[["image_id", *IDENTITY_COLUMNS]]
    table = manifest.merge(identities, on="image_id", how="left", validate="1:1")
    if table[list(IDENTITY_COLUMNS)].isna().any(axis=None):
        raise ArtifactError(
            f"{path} lacks images of manifest.csv.", "Run `fibrokd prepare` again, or remove identities.csv."
        )
    return table
