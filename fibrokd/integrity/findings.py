"""Findings: everything the integrity check found out about one collection, as plain numbers.

Owns the order in which the pieces are put together and the keys of integrity.json. It judges nothing
(:mod:`fibrokd.integrity.verdict` does) and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int

from fibrokd.integrity.controls import ControlData, ControlsConfig, draw_groups, label_order, run_controls
from fibrokd.integrity.duplicates import CopyFacts, copy_facts
from fibrokd.integrity.groups import Grouping, Groups, group_images
from fibrokd.integrity.identity import StemRules, trusted_keys
from fibrokd.integrity.levels import STRICTEST_FIRST, build_levels
from fibrokd.integrity.split_lookup import Thumbnails, split_lookup
from fibrokd.integrity.splitting import Parts, Splits
from fibrokd.stages import StageScale


@dataclass(frozen=True)
class Collection:
    """What was taken in.

    Args:
        table: Manifest rows.
        scale: Stage scale.
        files: Files found, used or not.
        refused: Files that could not be used, per reason.
        unmatched_rows: Rows of a label table without a file.
        grouping: Evidence that decided the groups of the split.
        rules: Stem rules.
        synthetic: The pictures were generated.
        crop: Whether fans were to be cut out.
    """

    table: pd.DataFrame
    scale: StageScale
    files: int
    refused: Mapping[str, int]
    unmatched_rows: int
    grouping: Grouping
    rules: StemRules
    synthetic: bool
    crop: Literal["fan", "full"] = "fan"

    @property
    def uncropped(self) -> int:
        """Images of which the whole frame was kept."""
        return int((self.table["cropped"].astype(str) == "0").sum())

    @property
    def stages(self) -> Int[np.ndarray, " N"]:
        """Stage index of every row."""
        return np.array([self.scale.parse(name) for name in self.table["stage"]], dtype=np.int64)


@dataclass(frozen=True)
class Leak:
    """What crosses between the splits actually made.

    Args:
        twins: Share of test images whose exact content is also among the training images.
        relatives: Share of test images that some evidence ties to a training image.
        others: Every other pair of splits, ``val→train``: share of the first split's images that some evidence
            (identical content included) ties to the second.
    """

    twins: float
    relatives: float
    others: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """Everything found; see the fields of integrity.json.

    Args:
        collection: What was taken in.
        copies: Exact copies.
        groups: Groups that decided the split.
        evidence_groups: Groups under all evidence.
        splits: Splits and folds.
        leak: What crosses from test to train.
        controls: Control → level → scores.
        name_order: Whether the stage follows the file names; empty without controls.
        known_patients: Share of images with a believable patient key.
        sampled: Images the controls were run on, where that is fewer than all.
        split_lookup: The look-up of thumbnails on this very split; empty without controls.
    """

    collection: Collection
    copies: CopyFacts
    groups: Groups
    evidence_groups: Groups
    splits: Splits
    leak: Leak
    controls: dict[str, dict[str, Any]]
    name_order: dict[str, int | float]
    known_patients: float
    sampled: int | None
    split_lookup: dict[str, Any]

    @property
    def groups_per_stage(self) -> dict[str, int]:
        """Independent groups (all evidence) holding each stage that occurs."""
        pairs = pd.DataFrame({"stage": self.collection.table["stage"], "group": self.evidence_groups.names})
        found = pairs.drop_duplicates()["stage"].value_counts()
        return {name: int(found[name]) for name in self.collection.scale.names if name in found}

    def as_json(self) -> dict[str, Any]:
        """Return the body of integrity.json, without the verdict."""
        table, scale = self.collection.table, self.collection.scale
        sizes = pd.Series(self.groups.names).value_counts()
        stages = table["stage"].value_counts()
        return {
            "files": self.collection.files,
            "images": len(table),
            "quarantined": sum(self.collection.refused.values()),
            "quarantine_reasons": dict(sorted(self.collection.refused.items())),
            "unmatched_rows": self.collection.unmatched_rows,
            "crop": self.collection.crop,
            "uncropped": self.collection.uncropped,
            "wrong_extension": int((table["extension_ok"].astype(str) == "0").sum()),
            "distinct_images": self.copies.distinct,
            "most_copies": self.copies.most,
            "pictures_across_stages": self.copies.across_stages,
            "grouping": self.collection.grouping,
            "groups": {
                "count": self.groups.count,
                "clusters": self.evidence_groups.count,
                "largest": int(sizes.max()),
                "mixed_stage": [
                    {"group": m.group, "stages": m.stages, "evidence": m.evidence} for m in self.groups.mixed
                ],
                "distrusted_keys": {kind: len(keys) for kind, keys in self.evidence_groups.distrusted.items()},
                "per_stage": self.groups_per_stage,
            },
            "known_patients": round(self.known_patients, 4),
            "stages": {name: int(stages.get(name, 0)) for name in scale.names},
            "splits": _counts(self.splits.splits, scale),
            "folds": _counts(self.splits.folds, scale),
            "worst_deviation": {
                "splits": round(self.splits.splits.worst_deviation, 4),
                "folds": round(self.splits.folds.worst_deviation, 4),
            },
            "leak": {"twins": self.leak.twins, "relatives": self.leak.relatives, "others": self.leak.others},
            "controls": {
                **self.controls,
                **({"thumbnail_1nn_split": self.split_lookup} if self.split_lookup else {}),
                **({"label_order": self.name_order} if self.name_order else {}),
            },
            "inflation_points": {name: _inflation(levels) for name, levels in self.controls.items()},
            "controls_sampled": self.sampled,
            "synthetic": self.collection.synthetic,
        }


def survey(
    collection: Collection, thumbnails: Thumbnails, groups: Groups, splits: Splits, config: ControlsConfig
) -> Findings:
    """Find out everything about a collection whose groups and splits are made.

    Args:
        collection: What was taken in.
        thumbnails: Fetches thumbnails by row.
        groups: Groups that decided the split.
        splits: Splits and folds.
        config: Effort of the controls.
    """
    table, stages = collection.table, collection.stages
    evidence = groups if collection.grouping == "all" else group_images(table, "all", collection.rules)
    patients, _ = trusted_keys(list(table["patient"]), list(table["study"]))
    controls: dict[str, dict[str, Any]] = {}
    order: dict[str, int | float] = {}
    own: dict[str, Any] = {}
    sampled = None
    if config.enabled:
        order = label_order(table, stages, evidence.codes)
        rows = draw_groups(evidence.codes, config.max_images)
        sampled = len(rows) if len(rows) < len(table) else None
        part = table.iloc[rows].reset_index(drop=True)
        levels = build_levels(part, stages[rows], collection.rules, config.seeds, config.folds, config.replicates)
        controls = run_controls(ControlData(part, thumbnails(rows), stages[rows]), levels)
        contents = np.unique(table["pixel_digest"].to_numpy(dtype=np.str_), return_inverse=True)[1].astype(np.int64)
        held = (_rows(splits.splits, "train"), _rows(splits.splits, "test"))
        own = split_lookup(held, thumbnails, stages, contents, evidence.codes, config.replicates)
    return Findings(
        collection, copy_facts(table), groups, evidence, splits, leak_of(table, evidence.names, splits), controls,
        order, sum(map(bool, patients)) / len(table), sampled, own,
    )  # fmt: skip


def leak_of(table: pd.DataFrame, groups: Sequence[str], splits: Splits) -> Leak:
    """Return what crosses from each split to every earlier one.

    Args:
        table: Manifest rows; reads ``pixel_digest``.
        groups: Group of every row under all evidence.
        splits: Splits.
    """
    rows = {name: _rows(splits.splits, name) for name in splits.splits.names}

    def crossing(keys: Sequence[str], later: str, earlier: str) -> float:
        if not len(rows.get(later, ())) or not len(rows.get(earlier, ())):
            return 0.0
        values = np.array(keys, dtype=np.str_)
        return round(float(np.isin(values[rows[later]], values[rows[earlier]]).mean()), 4)

    pairs = [(later, earlier) for earlier, later in combinations(splits.splits.names, 2)]
    return Leak(
        twins=crossing(list(table["pixel_digest"]), "test", "train"),
        relatives=crossing(groups, "test", "train"),
        others={f"{a}→{b}": crossing(groups, a, b) for a, b in pairs if (a, b) != ("test", "train")},
    )


def _rows(parts: Parts, name: str) -> Int[np.ndarray, " M"]:
    """Rows of one part, ascending; none where it does not exist."""
    return np.flatnonzero(np.array(parts.names)[parts.part] == name)


def _inflation(levels: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy at every level minus accuracy at the strictest one, in points (hundredths)."""
    strictest = next((name for name in STRICTEST_FIRST if name in levels), None)
    if strictest is None:
        return {}
    least = levels[strictest]["accuracy"]["value"]
    return {name: round(100 * (score["accuracy"]["value"] - least), 1) for name, score in levels.items()}


def _counts(parts: Any, scale: StageScale) -> dict[str, dict[str, int]]:
    return {
        name: {stage: int(n) for stage, n in zip(scale.names, row, strict=True)}
        for name, row in zip(parts.names, parts.counts, strict=True)
    }
