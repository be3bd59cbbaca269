"""A prepared folder split anew: the same images, other splits. Decodes nothing.

The new folder is one of ``prepare`` for every later step. What the verdict said of the old split is left out, and what
can be said of the new one is added: how many test images belong with images that are learned from. Names of files and
keys of patients stay in the old folder alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrokd.artifacts import Record, begin
from fibrokd.data.prepared import SPLITS, Prepared
from fibrokd.errors import SplitError
from fibrokd.files import atomic_path, read_json, write_json, write_text
from fibrokd.integrity.reasons import Reason, percent

_OF_THE_SPLIT = ("splits", "folds", "worst_deviation", "leak", "honest_split")
"""What integrity.json says of one split."""

_REASONS_OF_THE_SPLIT = frozenset(
    ["twins_in_split", "relatives_in_split", "relatives_between_splits", "published_protocol", "content_only"]
)
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

    A split under which test images have relatives among those learned from is ``unfit``; training on it is accepted,
    for that is what it was asked for.

    Args:
        prepared: The images.
        splits: New split of every image; empty for images that are left out.
        out: Folder to write.
        why: What decides the splits, as JSON data: part of the folder's identity.
        grouping: What images were kept together by, where that is another than before.
        groups: Group of every image under it.

    Raises:
        SplitError: See :func:`check_splits`.
        ArtifactError: ``out`` holds something else.
    """
    check_splits(prepared, splits)
    step = begin(out, "prepare", {"split_anew": dict(why)}, {"prepared": prepared.record.digest})
    if step.finished:
        return step.record
    own = {"splits.csv", "groups.csv", "dataset.json", "integrity.json"}
    for name in set(prepared.record.outputs) - own - {"integrity.html"}:
        _link(prepared.folder / name, out / name)
    table = prepared.table
    _write_csv(out / "splits.csv", table[["image_id"]].assign(split=list(splits), fold=list(table["fold"])))
    kept = table[["image_id", "group", "cluster"]]
    _write_csv(out / "groups.csv", kept if groups is None else kept.assign(group=list(groups)))
    integrity = of_any_split(read_json(prepared.folder / "integrity.json"))
    related = related_share(prepared, splits)
    if related:
        integrity["reasons"] = [vars(_leaky(related)), *integrity.get("reasons", [])]
    integrity["verdict"] = _worst(integrity.get("reasons", []))
    write_json(out / "integrity.json", integrity)
    write_json(out / "dataset.json", _dataset(prepared, integrity, grouping, related))
    return step.finish(sorted({*prepared.record.outputs, *own} - {"integrity.html"}), split_of=prepared.folder.name)


def of_any_split(integrity: Mapping[str, Any]) -> dict[str, Any]:
    """Return what integrity.json says whatever the split."""
    found = {name: value for name, value in integrity.items() if name not in _OF_THE_SPLIT}
    if found.get("controls"):
        found["controls"] = {name: value for name, value in found["controls"].items() if name != _OWN_LOOKUP}
    if found.get("reasons"):
        found["reasons"] = [reason for reason in found["reasons"] if reason["code"] not in _REASONS_OF_THE_SPLIT]
    return found


def related_share(prepared: Prepared, splits: Sequence[str]) -> float:
    """Return the share of test images that belong, by any evidence, with an image of train or val."""
    split, clusters = np.array(splits, dtype=object), prepared.table["cluster"].to_numpy()
    learned = set(clusters[np.isin(split, ["train", "val"])].tolist())
    tested = clusters[split == "test"].tolist()
    return sum(cluster in learned for cluster in tested) / len(tested)


def _leaky(related: float) -> Reason:
    return Reason(
        "relatives_in_split",
        "unfit",
        round(related, 4),
        f"{percent(related)} of the test images belong together with images that were learned from. This split was "
        "made to measure what that adds.",
        "Believe the split under which all evidence keeps images together.",
    )


def _worst(reasons: Sequence[Mapping[str, Any]]) -> str:
    severities = {reason["severity"] for reason in reasons}
    return next((name for name in ("unfit", "caution") if name in severities), "fit")


def _dataset(prepared: Prepared, integrity: Mapping[str, Any], grouping: str | None, related: float) -> dict[str, Any]:
    dataset: dict[str, Any] = read_json(prepared.folder / "dataset.json")
    stamp = dataset["stamp"]
    stamp["verdict"] = integrity["verdict"]
    stamp["reasons"] = [reason["text"] for reason in integrity.get("reasons", [])]
    stamp["accepted_unfit"] = bool(stamp["accepted_unfit"] or related)
    if grouping is not None:
        stamp["grouping"] = grouping
    return dataset


def check_splits(prepared: Prepared, splits: Sequence[str]) -> None:
    """Refuse splits that cannot be trained or tested on.

    Raises:
        SplitError: A split is unknown, train lacks images of a stage that others have, or test has none.
    """
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
