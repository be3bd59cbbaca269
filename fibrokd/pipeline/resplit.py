"""A prepared folder split anew: the same images, other splits. Decodes nothing and judges nothing.

The new folder is one of ``prepare`` for every later step. What its verdict said of the old split is left out of
integrity.json: twins across it, the lookup on it, its sizes.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fibrokd.artifacts import Record, begin
from fibrokd.data.prepared import SPLITS, Prepared
from fibrokd.errors import SplitError
from fibrokd.files import atomic_path, read_json, write_json, write_text

_OF_THE_SPLIT = ("splits", "folds", "worst_deviation", "leak", "honest_split")
"""What integrity.json says of one split."""

_OWN_LOOKUP = "thumbnail_1nn_split"


def write_resplit(
    prepared: Prepared,
    splits: Sequence[str],
    out: Path,
    why: Mapping[str, Any],
    grouping: str | None = None,
    groups: Sequence[str] | None = None,
) -> Record:
    """Write the images of a prepared folder under other splits; a finished folder is left alone.

    Args:
        prepared: The images.
        splits: New split of every image; empty for images that are left out.
        out: Folder to write.
        why: What decides the splits, as JSON data: part of the folder's identity.
        grouping: What images were kept together by, where that is another than before.
        groups: Group of every image under it.

    Raises:
        SplitError: A split is unknown, or train or test lacks images of a stage that others have.
        ArtifactError: ``out`` holds something else.
    """
    _check(prepared, splits)
    step = begin(out, "prepare", {"split_anew": dict(why)}, {"prepared": prepared.record.digest})
    if step.finished:
        return step.record
    own = {"splits.csv", "groups.csv", "dataset.json", "integrity.json"}
    names = [name for name in (*prepared.record.outputs, "identities.csv") if (prepared.folder / name).exists()]
    for name in set(names) - own:
        _link(prepared.folder / name, out / name)
    table = prepared.table
    _write_csv(out / "splits.csv", table[["image_id"]].assign(split=list(splits), fold=list(table["fold"])))
    kept = table[["image_id", "group", "cluster"]]
    _write_csv(out / "groups.csv", kept if groups is None else kept.assign(group=list(groups)))
    dataset = read_json(prepared.folder / "dataset.json")
    if grouping is not None:
        dataset["stamp"]["grouping"] = grouping
    write_json(out / "dataset.json", dataset)
    write_json(out / "integrity.json", of_any_split(read_json(prepared.folder / "integrity.json")))
    return step.finish(sorted({*prepared.record.outputs, *own} - {"integrity.html"}), split_of=prepared.folder.name)


def of_any_split(integrity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what integrity.json says whatever the split."""
    found = {name: value for name, value in integrity.items() if name not in _OF_THE_SPLIT}
    if found.get("controls"):
        found["controls"] = {name: value for name, value in found["controls"].items() if name != _OWN_LOOKUP}
    return found


def _check(prepared: Prepared, splits: Sequence[str]) -> None:
    unknown = sorted(set(splits) - {*SPLITS, ""})
    if unknown:
        raise SplitError(f"Expected splits {', '.join(SPLITS)}, found {', '.join(unknown)}.", "Use their names.")
    stages = pd.Series(list(prepared.table["stage"]))
    wanted = set(stages[[bool(split) for split in splits]])
    for split in ("train", "test"):
        missing = sorted(wanted - set(stages[[name == split for name in splits]]))
        if split == "train" and missing:
            raise SplitError(
                f"Expected every stage in train, found no image of {', '.join(missing)} there.",
                "Use fewer folds, leave out a part that holds a whole stage, or bring more patients.",
            )
        if len(missing) == len(wanted):
            raise SplitError("Expected images in test, found none.", "Leave this part out.")


def _link(source: Path, target: Path) -> None:
    """The same file under another name where the disk can do that: pixels may be large."""
    with atomic_path(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
