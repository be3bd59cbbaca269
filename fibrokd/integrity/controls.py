"""Controls: how far one gets without looking at the liver. A score that a control reaches says nothing of staging.

Owns the controls themselves: each answers with a stage for every test image of every round of a level, or describes
the collection. Torch-free and cheap: under a minute for 6,000 images on one core. To add a control, add a function
and a row in :data:`CONTROLS`.

Shape letters: N images, T test images, R training images, F features.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float32, Int, UInt8
from pydantic import Field
from sklearn.tree import DecisionTreeClassifier

from fibrokd.config import Config
from fibrokd.integrity.levels import Level

_NUMBER = re.compile(r"(\d+)")


class ControlsConfig(Config):
    """Which effort goes into the controls."""

    enabled: bool = True
    """Without controls no verdict better than ``caution`` is given."""

    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds of the repeated cross-validation."""

    folds: Annotated[int, Field(ge=2)] = 5
    """Folds of the cross-validation."""

    replicates: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap replicates of the intervals."""

    max_images: Annotated[int, Field(ge=100)] = 8000
    """Above it, whole groups are drawn at random up to this many images: the lookup compares every pair."""


@dataclass(frozen=True)
class ControlData:
    """What the controls see of a collection.

    Args:
        table: Manifest rows.
        thumbnails: The same rows as 48 × 48 grey levels of the whole frame, nothing masked.
        stages: Stage index of every row.
    """

    table: pd.DataFrame
    thumbnails: UInt8[np.ndarray, "N 48 48"]
    stages: Int[np.ndarray, " N"]

    @cached_property
    def distances(self) -> Float32[np.ndarray, "N N"]:
        """Squared Euclidean distance of every pair of thumbnails, up to a constant per row."""
        flat = self.thumbnails.reshape(len(self.thumbnails), -1).astype(np.float32)
        flat -= flat.mean(axis=0)  # smaller numbers: float32 keeps near neighbours apart
        squares = np.einsum("nf,nf->n", flat, flat)
        pairs = flat @ flat.T
        pairs *= -2
        pairs += squares
        return np.asarray(pairs, dtype=np.float32)

    @cached_property
    def metadata(self) -> Float[np.ndarray, "N F"]:
        """What is known without the picture: format, extension, size, beginning of the file name (never the folder)."""
        names = [PurePosixPath(path) for path in self.table["path"]]
        columns = [
            pd.factorize(self.table["format"], sort=True)[0],
            pd.factorize(pd.Series([name.suffix.lower() for name in names]), sort=True)[0],
            pd.factorize(pd.Series([_NUMBER.split(name.stem)[0][:8] for name in names]), sort=True)[0],
            self.table["height"].astype(float),
            self.table["width"].astype(float),
        ]
        return np.column_stack([np.asarray(column, dtype=np.float64) for column in columns])

    @cached_property
    def contents(self) -> Int[np.ndarray, " N"]:
        """Number of the distinct picture that every row shows."""
        return np.unique(self.table["pixel_digest"].to_numpy(dtype=np.str_), return_inverse=True)[1].astype(np.int64)


Answer = Callable[[ControlData, Bool[np.ndarray, " N"]], Int[np.ndarray, " T"]]


def nearest_thumbnail(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Look up the most similar training thumbnail and answer with its stage: no learning at all."""
    rows, train = np.flatnonzero(test), np.flatnonzero(~test)
    nearest = train[data.distances[np.ix_(rows, train)].argmin(axis=1)]
    return np.asarray(data.stages[nearest], dtype=np.int64)


def metadata_only(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Answer from format, extension, size and name alone, by a small decision tree; the picture is never opened."""
    tree = DecisionTreeClassifier(max_depth=8, min_samples_leaf=5, class_weight="balanced", random_state=0)
    tree.fit(data.metadata[~test], data.stages[~test])
    return np.asarray(tree.predict(data.metadata[test]), dtype=np.int64)


CONTROLS: Mapping[str, Answer] = {"thumbnail_1nn": nearest_thumbnail, "metadata": metadata_only}
"""Controls that answer with a stage."""


def run_controls(data: ControlData, levels: list[Level]) -> dict[str, dict[str, Any]]:
    """Score every control at every level.

    Returns:
        control → level → ``accuracy`` and ``balanced_accuracy`` (value, low, high), ``twin_in_train`` (share of test
        images whose exact content is among the training images) and ``groups``.
    """
    result: dict[str, dict[str, Any]] = {name: {} for name in CONTROLS}
    for level in levels:
        twins = twin_share(data.contents, level)
        for name, answer in CONTROLS.items():
            correct = np.zeros(len(data.stages))
            for test, _ in level.rounds():
                correct[test] += answer(data, test) == data.stages[test]
            scores = level.score(correct / len(level.folds))
            result[name][level.name] = {**scores, "twin_in_train": twins, "groups": level.groups}
    return result


def twin_share(contents: Int[np.ndarray, " N"], level: Level) -> float:
    """Return the share of test images with an identical copy among the training images of their round."""
    found = sum(int(np.isin(contents[test], contents[~test]).sum()) for test, _ in level.rounds())
    return round(found / (len(contents) * len(level.folds)), 4)


def label_order(
    table: pd.DataFrame, stages: Int[np.ndarray, " N"], codes: Int[np.ndarray, " N"], draws: int = 200
) -> dict[str, int | float]:
    """Sort the files by name and count how often the stage changes; compare with stages dealt out at random.

    The comparison moves stages between groups, never inside one: frames of one patient have neighbouring names and
    the same stage for a good reason.

    Args:
        table: Manifest rows; reads ``path``; folders are ignored.
        stages: Stage index of every row.
        codes: Group number of every row.
        draws: Random deals.

    Returns:
        ``changes`` found, ``expected`` by chance, ``ratio`` of the two, ``z`` score.
    """
    order = sorted(range(len(table)), key=[_natural(path) for path in table["path"]].__getitem__)
    sorted_codes = codes[order]
    counts = np.zeros((int(codes.max()) + 1, int(stages.max()) + 1), dtype=np.int64)
    np.add.at(counts, (codes, stages), 1)
    stage_of_group = counts.argmax(axis=1)
    random = np.random.default_rng(0)
    dealt = np.array([_changes(random.permutation(stage_of_group)[sorted_codes]) for _ in range(draws)])
    found, expected = _changes(stages[order]), float(dealt.mean())
    return {
        "changes": found,
        "expected": round(expected, 1),
        "ratio": round(found / max(expected, 1.0), 4),
        "z": round(float((found - expected) / max(dealt.std(), 1e-9)), 2) if dealt.std() > 0 else 0.0,
    }


def _changes(stages: Int[np.ndarray, " N"]) -> int:
    return int((stages[1:] != stages[:-1]).sum())


def _natural(path: str) -> list[tuple[int, int, str]]:
    parts = _NUMBER.split(PurePosixPath(path).stem)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def draw_groups(codes: Int[np.ndarray, " N"], at_most: int, seed: int = 0) -> Int[np.ndarray, " M"]:
    """Return rows of whole groups, drawn at random, at most ``at_most`` rows in all (but one group at least)."""
    if len(codes) <= at_most:
        return np.arange(len(codes))
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(len(sizes))
    kept = order[: max(1, int((np.cumsum(sizes[order]) <= at_most).sum()))]
    return np.flatnonzero(np.isin(codes, kept))
