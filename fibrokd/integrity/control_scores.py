"""The controls run on a whole collection, or on as much of it as is affordable.

Owns the sampling and the order of the measurements; the controls are in :mod:`fibrokd.integrity.controls`.

Shape letters: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from fibrokd.integrity.collection import Collection, PictureEvidence
from fibrokd.integrity.control_data import ControlData
from fibrokd.integrity.controls import ControlsConfig, draw_groups, run_controls
from fibrokd.integrity.levels import STRICTEST_FIRST, Level, build_levels, coarse_levels
from fibrokd.integrity.links import Link
from fibrokd.integrity.scanners import recognisable, scanner_association, scanners_known
from fibrokd.integrity.split_lookup import Thumbnails


@dataclass(frozen=True)
class ControlScores:
    """What the controls found.

    Args:
        scores: Control → level → scores.
        scanner: Association of stage and scanner, and how well scanners are recognised; empty where unknown.
        sampled: Images the controls were run on, where that is fewer than all.
        coarse: Levels that were not run because they make too few groups → how many.
    """

    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    scanner: dict[str, Any] = field(default_factory=dict)
    sampled: int | None = None
    coarse: dict[str, int] = field(default_factory=dict)


def score_controls(
    collection: Collection,
    thumbnails: Thumbnails,
    clusters: Int[np.ndarray, " N"],
    config: ControlsConfig,
    pictures: PictureEvidence,
) -> ControlScores:
    """Run the controls on all images, or on whole clusters drawn at random.

    Args:
        collection: What was taken in.
        thumbnails: Fetches thumbnails by row.
        clusters: Number of every row's group under all evidence.
        config: Effort of the controls.
        pictures: What was learned from pixels.
    """
    rows = draw_groups(clusters, config.max_images)
    part, stages = collection.table.iloc[rows].reset_index(drop=True), collection.stages
    place = {row: number for number, row in enumerate(rows.tolist())}
    near = [Link(place[x.a], place[x.b], x.evidence, x.value) for x in pictures.near if x.a in place and x.b in place]
    levels = build_levels(part, stages[rows], collection.rules, config.seeds, config.folds, config.replicates, near)
    margins = pictures.margins(rows) if pictures.margins else None
    data = ControlData(part, thumbnails(rows), stages[rows], margins)
    return ControlScores(
        scores=run_controls(data, levels),
        scanner=_scanner(collection, clusters, data, levels),
        sampled=len(rows) if len(rows) < len(collection.table) else None,
        coarse=coarse_levels(part, collection.rules),
    )


def _scanner(
    collection: Collection, clusters: Int[np.ndarray, " N"], data: ControlData, levels: Sequence[Level]
) -> dict[str, Any]:
    found = scanner_association(collection.table, collection.stages, clusters)
    strictest = next((level for name in STRICTEST_FIRST for level in levels if level.name == name), None)
    if found and strictest and scanners_known(data):
        found["recognised"] = recognisable(data, strictest)
    return found
