"""Split levels: the same collection cross-validated under ever stricter ideas of what belongs together.

Owns the levels, their folds and the score of a control on them. A level whose grouping does not exist in the
collection, or that has fewer than two groups of some stage, is left out, and so are names and contents that nearly all
pictures share.

Shape letters: N images, G clusters, K stages, B bootstrap replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn.model_selection import StratifiedGroupKFold

from fibrokd.data.prepared import LEVEL_COLUMNS
from fibrokd.evaluation.intervals import MIN_CLUSTERS
from fibrokd.integrity.groups import Grouping, group_images
from fibrokd.integrity.identity import StemRules, trusted_keys
from fibrokd.integrity.links import Link

LEVELS: dict[str, Grouping] = {
    "random": "none", "stem": "stem", "content": "content", "all": "all", "subject": "subject",
}  # fmt: skip
"""Level → grouping, from the loosest to the strictest."""

STRICTEST_FIRST = ("all", "subject", "content", "stem", "random")
"""Levels by how much they keep together; all evidence includes the subject."""

FEWEST_GROUPS = 10
"""With fewer groups by name or by content a level is not run: names that a scanner deals out anew for every patient
tie strangers, and what a control then loses or gains says nothing about copies."""

_SUBJECT_SHARE = 0.9  # below it, too many images without a patient would count as patients of their own


@dataclass(frozen=True)
class Level:
    """One split level of one collection.

    Args:
        name: Key of :data:`LEVELS`.
        codes: Group number of every image.
        clusters: Number of its group under all evidence: whatever was kept together, intervals resample these.
        stages: Stage index of every image.
        folds: Fold number of every image, one array per seed.
        replicates: Bootstrap replicates of the intervals.
    """

    name: str
    codes: Int[np.ndarray, " N"]
    clusters: Int[np.ndarray, " N"]
    stages: Int[np.ndarray, " N"]
    folds: tuple[Int[np.ndarray, " N"], ...]
    replicates: int

    @property
    def groups(self) -> int:
        """Number of groups."""
        return int(self.codes.max()) + 1

    def rounds(self) -> list[tuple[Bool[np.ndarray, " N"], int]]:
        """Return (mask of the test images, seed number) of every round of cross-validation."""
        return [(fold == k, seed) for seed, fold in enumerate(self.folds) for k in range(int(fold.max()) + 1)]

    @cached_property
    def _weights(self) -> Float[np.ndarray, "B G"]:
        # One set of resampled clusters serves every control, so that their intervals are comparable.
        return draw_weights(int(self.clusters.max()) + 1, self.replicates)

    def score(self, correct: Float[np.ndarray, " N"]) -> dict[str, dict[str, Any]]:
        """Return accuracy and balanced accuracy with intervals, see :func:`cluster_scores`.

        Args:
            correct: Share of the seeds under which each image was answered rightly, 0 … 1.
        """
        return cluster_scores(correct, self.stages, self.clusters, self._weights)


def draw_weights(clusters: int, replicates: int) -> Float[np.ndarray, "B G"]:
    """Return how often each cluster occurs in each bootstrap replicate."""
    return np.random.default_rng(0).multinomial(clusters, np.full(clusters, 1 / clusters), size=replicates) * 1.0


def cluster_scores(
    correct: Float[np.ndarray, " N"],
    stages: Int[np.ndarray, " N"],
    clusters: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, "B G"],
) -> dict[str, dict[str, Any]]:
    """Return accuracy and balanced accuracy with 95 % percentile intervals from resampling whole clusters.

    Below :data:`fibrokd.evaluation.intervals.MIN_CLUSTERS` clusters ``low`` and ``high`` are ``None``, and ``note``
    says why, as with the networks' own figures.

    Args:
        correct: Share of the answers to each image that were right, 0 … 1.
        stages: Stage index of every image.
        clusters: Cluster number of every image, 0 … G-1.
        weights: See :func:`draw_weights`.

    References:
        Field & Welsh, J R Stat Soc B 2007;69:369 (cluster bootstrap).
    """
    shape = (weights.shape[1], int(stages.max()) + 1)
    hits, totals = np.zeros(shape), np.zeros(shape)
    np.add.at(hits, (clusters, stages), correct)
    np.add.at(totals, (clusters, stages), 1)
    drawn_hits, drawn_totals = weights @ hits, weights @ totals
    accuracies = drawn_hits.sum(axis=1) / np.maximum(drawn_totals.sum(axis=1), 1)
    count = len(np.unique(clusters))
    recall = _recall(hits.sum(axis=0), totals.sum(axis=0))
    return {
        "accuracy": interval_of(hits.sum() / totals.sum(), accuracies, count),
        "balanced_accuracy": interval_of(recall, _recall(drawn_hits, drawn_totals), count),
    }


def build_levels(
    table: pd.DataFrame,
    stages: Int[np.ndarray, " N"],
    rules: StemRules,
    seeds: Sequence[int] = (0, 1, 2),
    folds: int = 5,
    replicates: int = 1000,
    extra: Sequence[Link] = (),
) -> list[Level]:
    """Return the levels that exist in a collection.

    Folds come from scikit-learn's StratifiedGroupKFold, the splitter most published work uses, so that the figures
    compare with other people's.

    Args:
        table: Manifest rows.
        stages: Stage index of every row.
        rules: Stem rules.
        seeds: One shuffled cross-validation each.
        folds: Folds; fewer where a stage has fewer groups.
        replicates: Bootstrap replicates.
        extra: Near-duplicate links between rows.
    """
    levels = []
    patients, _ = trusted_keys(list(table["patient"]), list(table["study"]))
    clusters = group_images(table, "all", rules, extra).codes
    coarse = coarse_levels(table, rules)
    for name, grouping in LEVELS.items():
        if name in coarse:
            continue
        if name == "subject" and sum(map(bool, patients)) < _SUBJECT_SHARE * len(table):
            continue
        codes = group_images(table, grouping, rules, extra).codes
        held = np.unique(np.stack([codes, stages]), axis=1)[1]
        count = min(folds, int(np.unique(held, return_counts=True)[1].min()))
        if count >= 2:
            drawn = tuple(_folds(codes, stages, count, seed) for seed in seeds)
            levels.append(Level(name, codes, clusters, stages, drawn, replicates))
    return levels


def coarse_levels(table: pd.DataFrame, rules: StemRules) -> dict[str, int]:
    """Return the levels by name or content that make too few groups to be run, with how many they make.

    Args:
        table: Manifest rows.
        rules: Stem rules.
    """
    counts = {name: group_images(table, LEVELS[name], rules).count for name in ("stem", "content")}
    return {name: count for name, count in counts.items() if count < FEWEST_GROUPS}


def level_table(table: pd.DataFrame, rules: StemRules) -> pd.DataFrame:
    """Return levels.csv: the group of every image under each single kind of evidence that exists in a collection.

    Groups are named by their smallest image_id, so that the file holds no name of a file or a person. Neither random
    splits nor all evidence stand in it: the first groups nothing, the second is ``cluster`` in groups.csv.

    Args:
        table: Manifest rows.
        rules: Stem rules.

    Returns:
        ``image_id`` and those of :data:`fibrokd.data.prepared.LEVEL_COLUMNS` that exist.
    """
    patients, _ = trusted_keys(list(table["patient"]), list(table["study"]))
    known = sum(map(bool, patients)) >= _SUBJECT_SHARE * len(table)
    found = [name for name in LEVEL_COLUMNS if name != "subject" or known]
    groups = {name: list(group_images(table, LEVELS[name], rules).names) for name in found}
    return pd.DataFrame({"image_id": list(table["image_id"]), **groups})


def _folds(codes: Int[np.ndarray, " N"], stages: Int[np.ndarray, " N"], count: int, seed: int) -> Int[np.ndarray, " N"]:
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    fold = np.zeros(len(codes), dtype=np.int64)
    for k, (_, test) in enumerate(splitter.split(np.zeros((len(codes), 1)), stages, codes)):
        fold[test] = k
    return fold


def _recall(hits: Float[np.ndarray, "*B K"], totals: Float[np.ndarray, "*B K"]) -> Any:
    """Mean recall over the stages that occur."""
    occurs = totals > 0
    recall = np.where(occurs, hits / np.maximum(totals, 1e-9), 0.0)
    return recall.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)


def interval_of(value: Any, drawn: Float[np.ndarray, " B"], clusters: int) -> dict[str, Any]:
    """Return a value with its percentile interval, or with a note why there is none.

    Args:
        value: The value on everything.
        drawn: Its values on the resamples.
        clusters: Clusters that were resampled.
    """
    if clusters < MIN_CLUSTERS:
        note = f"no interval from {clusters} clusters (at least {MIN_CLUSTERS} needed)"
        return {"value": round(float(value), 4), "low": None, "high": None, "note": note}
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}
