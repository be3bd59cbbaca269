"""Splits and folds: stratified, shuffled, seeded, and never through a group.

Owns the assignment of groups to parts. scikit-learn's StratifiedGroupKFold leaves stages out of small folds without a
word; this optimiser balances every stage in every part, and refuses where that cannot be done.

Shape letters: N images, G groups, K stages, P parts (splits or folds).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import Field, model_validator

from fibrokd.config import Config
from fibrokd.data.prepared import SPLITS
from fibrokd.errors import SplitError
from fibrokd.integrity.groups import Groups
from fibrokd.stages import StageScale

Share = Annotated[float, Field(ge=0, le=1)]
_ATTEMPTS = 8
_BUDGET = 40_000  # group placements over all attempts: about 2 s


class SplitShares(Config):
    """Wanted share of the images of every stage; the four sum to 1, and a share of 0 leaves the split out."""

    train: Share = 0.6
    val: Share = 0.15
    calibration: Share = 0.1
    test: Share = 0.15

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitShares:
        total = self.train + self.val + self.calibration + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares should sum to 1, found {total:g}")
        return self


class SplitConfig(Config):
    """How images are split."""

    seed: int = 0
    """Seed of every random choice."""

    shares: SplitShares = SplitShares()
    """Wanted share of every split."""

    folds: Annotated[int, Field(ge=1, le=50)] = 5
    """Folds for cross-validation; 1 makes none."""


@dataclass(frozen=True)
class Parts:
    """An assignment of images to parts.

    Args:
        names: Names of the parts.
        part: Part number of every image.
        counts: Images per part and stage.
        worst_deviation: Largest |share found - share wanted| over parts and stages, as a share of the stage.
        wanted: Share that was asked for, by part.
    """

    names: tuple[str, ...]
    part: Int[np.ndarray, " N"]
    counts: Int[np.ndarray, "P K"]
    worst_deviation: float
    wanted: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Splits:
    """Splits and folds of a collection."""

    splits: Parts
    folds: Parts

    def to_table(self, image_ids: pd.Series[str]) -> pd.DataFrame:
        """Return splits.csv."""
        return pd.DataFrame(
            {
                "image_id": image_ids,
                "split": [self.splits.names[p] for p in self.splits.part],
                "fold": [self.folds.names[p] for p in self.folds.part],
            }
        )


def split_images(table: pd.DataFrame, groups: Groups, scale: StageScale, config: SplitConfig) -> Splits:
    """Assign every group to one split and one fold, independently.

    Args:
        table: Manifest rows; reads ``stage``.
        groups: Groups of the same rows.
        scale: Stage scale; stages without any image are left out of the demands.
        config: Shares, folds, seed.

    Raises:
        SplitError: A split or fold cannot hold every stage without cutting a group.
    """
    stages = np.array([scale.parse(name) for name in table["stage"]], dtype=np.int64)
    wanted = {name: float(getattr(config.shares, name)) for name in SPLITS if getattr(config.shares, name) > 0}
    folds = {str(fold): 1 / config.folds for fold in range(config.folds)}
    codes = groups.codes
    try:
        return Splits(
            splits=assign_parts(codes, stages, wanted, scale.names, config.seed, "splits"),
            folds=assign_parts(codes, stages, folds, scale.names, config.seed + 1, "folds"),
        )
    except SplitError as error:
        why, advice = groups.tied_by()
        raise SplitError(error.problem + why, error.todo + advice) from error


def assign_parts(
    groups: Int[np.ndarray, " N"],
    stages: Int[np.ndarray, " N"],
    wanted: dict[str, float],
    stage_names: tuple[str, ...],
    seed: int,
    what: str,
) -> Parts:
    """Assign whole groups to parts so that every stage comes near its wanted share in every part.

    Groups are placed largest first, ties in seeded order, each where the squared deviation relative to the wanted
    count grows least; a stage with no groups to spare goes only where it is still missing. Several seeds are tried
    and the assignment with the smallest worst deviation is kept.

    Args:
        groups: Group number of every image, 0 … G-1.
        stages: Stage index of every image.
        wanted: Share per part; they sum to 1.
        stage_names: Names of the stage indices, for messages.
        seed: Seed of the ties.
        what: What the parts are, for messages.

    Raises:
        SplitError: A stage has fewer groups than there are parts, or no attempt put every stage into every part.
    """
    counts = np.zeros((int(groups.max(initial=-1)) + 1, len(stage_names)), dtype=np.int64)
    np.add.at(counts, (groups, stages), 1)
    _refuse_impossible(counts, wanted, stage_names, what)
    shares = np.array(list(wanted.values()))
    goal = shares[:, None] * counts.sum(axis=0)
    attempts = int(np.clip(_BUDGET // max(len(counts), 1), 2, _ATTEMPTS))
    found: list[tuple[int, float, Int[np.ndarray, " G"]]] = []
    for attempt in range(attempts):
        placed = _place(counts, goal, np.random.default_rng([seed, attempt]))
        got = _tally(counts, placed, len(shares))
        found.append((int(((got == 0) & (goal > 0)).sum()), _deviation(got, goal), placed))
    missing, deviation, placed = min(found, key=lambda item: item[:2])
    got = _tally(counts, placed, len(shares))
    if missing:
        part, stage = np.argwhere((got == 0) & (goal > 0))[0]
        raise SplitError(
            f"Expected every stage in all {len(wanted)} {what}, found no way to put {stage_names[stage]} into "
            f"{list(wanted)[part]!r}: groups hold several stages and too few of them are left.",
            "Use fewer folds or splits (share 0), set mixed_stage_groups: quarantine, or bring more patients.",
        )
    return Parts(tuple(wanted), placed[groups], got, deviation, dict(wanted))


def _refuse_impossible(
    counts: Int[np.ndarray, "G K"], wanted: dict[str, float], stage_names: tuple[str, ...], what: str
) -> None:
    holders = (counts > 0).sum(axis=0)
    short = [f"{stage_names[k]} has only {n}" for k, n in enumerate(holders) if 0 < n < len(wanted)]
    if not len(counts) or not holders.any():
        raise SplitError("Expected images to split, found none.", "Check the data root and quarantine.csv.")
    if short:
        raise SplitError(
            f"Every stage needs at least {len(wanted)} independent groups for {len(wanted)} {what} "
            f"({', '.join(wanted)}); {', '.join(short)}.",
            f"Bring more patients of these stages, or use fewer {what} "
            "(splits.folds, or a share of 0 under splits.shares).",
        )


def _place(
    counts: Int[np.ndarray, "G K"], goal: Float[np.ndarray, "P K"], random: np.random.Generator
) -> Int[np.ndarray, " G"]:
    """Place every group, largest first; returns its part."""
    order = random.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    part_order = random.permutation(len(goal))
    weight = 1 / np.maximum(goal, 1e-9) * (goal > 0)
    got = np.zeros_like(goal)
    left = (counts > 0).sum(axis=0)
    lacking = goal > 0
    placed = np.empty(len(counts), dtype=np.int64)
    for group in order:
        row = counts[group]
        cost = ((row * (row + 2 * (got - goal))) * weight).sum(axis=1)
        held = row > 0
        scarce = held & (left <= lacking.sum(axis=0))
        if scarce.any():
            served = lacking[:, scarce].sum(axis=1)
            cost = np.where(served == served.max(), cost, np.inf)
        best = part_order[np.argmin(cost[part_order])]
        placed[group] = best
        got[best] += row
        left -= held
        lacking[best] &= ~held
    return placed


def _tally(counts: Int[np.ndarray, "G K"], placed: Int[np.ndarray, " G"], parts: int) -> Int[np.ndarray, "P K"]:
    got = np.zeros((parts, counts.shape[1]), dtype=np.int64)
    np.add.at(got, placed, counts)
    return got


def _deviation(got: Int[np.ndarray, "P K"], goal: Float[np.ndarray, "P K"]) -> float:
    totals = np.maximum(goal.sum(axis=0), 1e-9)
    return float((np.abs(got - goal) / totals).max())
