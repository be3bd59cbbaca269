"""A part of a prepared folder: some stages, a share of the training patients, a few images per stage.

What is left out is never seen again: it belongs to no split. Splits themselves stay as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated

import numpy as np
from jaxtyping import Bool
from pydantic import Field, field_validator

from fibrokd.config import Config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ConfigError, LabelError
from fibrokd.stages import StageScale


class Selection(Config):
    """Which part of the data a network learns from."""

    stages: tuple[str, ...] | None = None
    """Names of the stages that are told apart, at least two, from least to most severe; ``null``: all. Images of
    other stages are left out of every split. Merging stages is another task, and not this one."""

    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training groups (whatever a split keeps together) of every stage; smaller shares are parts of
    larger ones. At least one group per stage."""

    shots: Annotated[int, Field(ge=1)] | None = None
    """Training images per stage, from as many groups as there are; ``null``: all."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw of groups and images."""

    @field_validator("stages")
    @classmethod
    def _several(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < max(2, len(names)):
            raise ValueError("expected at least two different stages")
        return names

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self.stages is None and self.fraction == 1 and self.shots is None


def select(prepared: Prepared, selection: Selection) -> Prepared:
    """Return the folder with everything else left out.

    Args:
        prepared: An opened folder.
        selection: What to keep.

    Returns:
        The same rows and pixels; rows that are left out have no split and the stage index −1. With ``stages`` the
        scale holds these alone.

    Raises:
        ConfigError: A stage is unknown, not in the order of the scale, or has no training image.
    """
    if selection.is_everything:
        return prepared
    scale = _scale(prepared.scale, selection.stages)
    table = prepared.table.copy()
    told_apart = table["stage"].isin(scale.names).to_numpy()
    kept = told_apart & (_drawn(prepared, told_apart, selection) | (table["split"] != "train").to_numpy())
    table.loc[~kept, "split"] = ""
    return replace(prepared, table=table, scale=scale)


def stage_indices(scale: StageScale, part: StageScale) -> tuple[int, ...]:
    """Return where the stages of ``part`` stand in ``scale``."""
    return tuple(scale.names.index(name) for name in part.names)


def _scale(scale: StageScale, names: tuple[str, ...] | None) -> StageScale:
    if names is None:
        return scale
    try:
        chosen = [scale.parse(name) for name in names]
    except LabelError as error:
        raise ConfigError(error.problem, error.todo) from error
    if chosen != sorted(chosen):
        raise ConfigError(
            f"Expected stages from least to most severe, found {', '.join(names)}.", "Put `selection.stages` in order."
        )
    cutoffs = tuple(k for k in range(1, len(chosen)) if any(chosen[k - 1] < cut <= chosen[k] for cut in scale.cutoffs))
    return StageScale(tuple(scale.names[k] for k in chosen), cutoffs)


def _drawn(prepared: Prepared, kept: Bool[np.ndarray, " N"], selection: Selection) -> Bool[np.ndarray, " N"]:
    """Mask of the training rows that stay."""
    table = prepared.table
    drawn = np.zeros(len(table), dtype=bool)
    stage, group = table["stage"].to_numpy(), table["group"].to_numpy()
    train = kept & (table["split"] == "train").to_numpy()
    for name in np.unique(stage[kept]):
        rows = np.flatnonzero(train & (stage == name))
        if not len(rows):
            raise ConfigError(f"Expected training images of stage {name}, found none.", "Leave the stage out.")
        groups = sorted(set(group[rows]), key=lambda key: _rank(selection.seed, key))
        some = set(groups[: max(1, round(selection.fraction * len(groups)))])
        rows = np.array([row for row in rows if group[row] in some])
        if selection.shots is not None:
            rows = _shots(rows, [str(key) for key in group[rows]], list(table["image_id"].iloc[rows]), selection)
        drawn[rows] = True
    return drawn


def _shots(rows: np.ndarray, groups: list[str], image_ids: list[str], selection: Selection) -> np.ndarray:
    """The first images in an order that takes one image of every group before a second of any."""
    order = sorted(range(len(rows)), key=lambda k: _rank(selection.seed, image_ids[k]))
    turns: dict[str, int] = {}
    ranked = []
    for k in order:
        turns[groups[k]] = turns.get(groups[k], -1) + 1
        ranked.append((turns[groups[k]], _rank(selection.seed, groups[k]), k))
    return rows[[k for *_, k in sorted(ranked)][: selection.shots]]


def _rank(seed: int, key: str) -> str:
    """A number drawn by key: it does not depend on what else there is."""
    return hashlib.blake2b(f"selection:{seed}:{key}".encode(), digest_size=8).hexdigest()
