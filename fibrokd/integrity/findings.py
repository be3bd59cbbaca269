"""Findings: everything the integrity check found out about one collection, as plain numbers.

Owns the order in which the pieces are put together and the keys of integrity.json. It judges nothing
(:mod:`fibrokd.integrity.verdict` does) and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fibrokd.integrity.collection import Collection, PictureEvidence
from fibrokd.integrity.control_data import content_codes
from fibrokd.integrity.control_scores import ControlScores, score_controls
from fibrokd.integrity.controls import ControlsConfig
from fibrokd.integrity.duplicates import CopyFacts, copy_facts
from fibrokd.integrity.examples import Example, choose_examples
from fibrokd.integrity.groups import Groups, group_images
from fibrokd.integrity.honest_split import honest_split
from fibrokd.integrity.identity import trusted_keys
from fibrokd.integrity.leak import Leak, leak_of, rows_of
from fibrokd.integrity.levels import STRICTEST_FIRST
from fibrokd.integrity.names import label_order, name_kinship
from fibrokd.integrity.near_facts import NearFacts, near_facts
from fibrokd.integrity.split_lookup import Thumbnails, split_lookup
from fibrokd.integrity.splitting import Splits
from fibrokd.stages import StageScale

__all__ = ["Collection", "Findings", "PictureEvidence", "survey"]


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
        name_order: Whether the stage follows the file names; empty without controls, and where files share names.
        known_patients: Share of images with a believable patient key.
        sampled: Images the controls were run on, where that is fewer than all.
        split_lookup: The look-up of thumbnails on this very split; empty without controls.
        kinship: Whether pictures that belong together have neighbouring names; empty where that cannot be told.
        scanner: Association of stage and scanner, and how well scanners are recognised; empty where unknown.
        near: Counts over near-duplicates; ``None`` where they were not looked for.
        examples: Pictures that show what was found.
        coarse_levels: Split levels that were not run because they make too few groups → how many.
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
    kinship: dict[str, int | float] = field(default_factory=dict)
    scanner: dict[str, Any] = field(default_factory=dict)
    near: NearFacts | None = None
    examples: tuple[Example, ...] = ()
    coarse_levels: dict[str, int] = field(default_factory=dict)

    @property
    def groups_per_stage(self) -> dict[str, int]:
        """Independent groups (all evidence) holding each stage that occurs."""
        pairs = pd.DataFrame({"stage": self.collection.table["stage"], "group": self.evidence_groups.names})
        found = pairs.drop_duplicates()["stage"].value_counts()
        return {name: int(found[name]) for name in self.collection.scale.names if name in found}

    @property
    def chance_spread(self) -> float:
        """Standard deviation of the balanced accuracy of guessing, where groups (all evidence) are found as a whole.

        All pictures of a group stand or fall together in the worst case, so a stage counts as many groups as are
        effectively there: (Σ n)² / Σ n² of their sizes n.
        """
        pairs = pd.DataFrame({"stage": self.collection.table["stage"], "group": self.evidence_groups.names})
        sizes = pairs.value_counts().rename("images").reset_index()
        stages = sizes["images"].groupby(sizes["stage"])
        groups = stages.sum() ** 2 / stages.agg(lambda images: (images**2).sum())
        chance = 1 / len(groups)
        return float((chance * (1 - chance) / groups).sum() ** 0.5 / len(groups))

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
            "refused_pictures": dict(sorted(self.collection.refused_pictures.items())),
            "unmatched_rows": self.collection.unmatched_rows,
            "crop": self.collection.crop,
            "uncropped": self.collection.uncropped,
            "wrong_extension": self.collection.wrong_extension,
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
            "near": self.near.as_json() if self.near else None,
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
            "levels_too_coarse": self.coarse_levels,
            "name_kinship": self.kinship,
            "scanner": self.scanner,
            "honest_split": honest_split(self.known_patients, self.scanner.get("scanners", 1)),
            "examples": [example.as_json(table) for example in self.examples],
            "card": self.collection.card.as_json() if self.collection.card else None,
            "synthetic": self.collection.synthetic,
        }


def survey(
    collection: Collection,
    thumbnails: Thumbnails,
    groups: Groups,
    splits: Splits,
    config: ControlsConfig,
    pictures: PictureEvidence | None = None,
) -> Findings:
    """Find out everything about a collection whose groups and splits are made.

    Args:
        collection: What was taken in.
        thumbnails: Fetches thumbnails by row.
        groups: Groups that decided the split; under grouping ``all`` made with the near-duplicate links.
        splits: Splits and folds.
        config: Effort of the controls.
        pictures: What was learned from pixels.
    """
    pictures = pictures or PictureEvidence()
    table, stages, rules = collection.table, collection.stages, collection.rules
    evidence = groups if collection.grouping == "all" else group_images(table, "all", rules, pictures.near)
    patients, _ = trusted_keys(list(table["patient"]), list(table["study"]))
    near = None
    if pictures.threshold is not None:
        others = group_images(table, "all", rules) if pictures.near else evidence
        near = near_facts(table, patients, pictures.near, others.names, pictures.threshold)
    found = ControlScores()
    order: dict[str, int | float] = {}
    own: dict[str, Any] = {}
    if config.enabled:
        order = label_order(table, stages, evidence.codes)
        found = score_controls(collection, thumbnails, evidence.codes, config, pictures)
        held = (rows_of(splits.splits, "train"), rows_of(splits.splits, "test"))
        own = split_lookup(held, thumbnails, stages, content_codes(table), evidence.codes, config)
    return Findings(
        collection=collection,
        copies=copy_facts(table),
        groups=groups,
        evidence_groups=evidence,
        splits=splits,
        leak=leak_of(table, evidence.names, splits),
        controls=found.scores,
        name_order=order,
        known_patients=sum(map(bool, patients)) / len(table),
        sampled=found.sampled,
        split_lookup=own,
        kinship=name_kinship(table, evidence.codes),
        scanner=found.scanner,
        near=near,
        examples=choose_examples(table, patients, pictures.near),
        coarse_levels=found.coarse,
    )


def _inflation(levels: Mapping[str, Any]) -> dict[str, float]:
    """Accuracy at every level minus accuracy at the strictest one, in points (hundredths)."""
    strictest = next((name for name in STRICTEST_FIRST if name in levels), None)
    if strictest is None:
        return {}
    least = levels[strictest]["accuracy"]["value"]
    gained = {name: round(100 * (score["accuracy"]["value"] - least), 1) for name, score in levels.items()}
    return {name: points + 0.0 for name, points in gained.items()}  # no minus before a zero


def _counts(parts: Any, scale: StageScale) -> dict[str, dict[str, int]]:
    return {
        name: {stage: int(n) for stage, n in zip(scale.names, row, strict=True)}
        for name, row in zip(parts.names, parts.counts, strict=True)
    }
