"""Labels that are wrong on purpose: the regime in which methods that withstand them can be told from others.

A drawn share of the training groups gets another stage, all images of a group alike, as a wrong biopsy would give
them. Validation, calibration and test images keep their labels. Must not know what learns from them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from fibrokd.config import Config
from fibrokd.data.prepared import Prepared


class LabelNoise(Config):
    """How often the label of a training group is made to be wrong."""

    share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training groups (whatever a split keeps together) that get another stage."""

    neighbours: bool = False
    """Only a stage beside the true one, as biopsies err; otherwise any other stage of the scale, each as often."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw; larger shares hold the groups of smaller ones."""

    @property
    def used(self) -> dict[str, object]:
        """What a record says of it: nothing where no label is changed, so that earlier digests stay valid."""
        return {"label_noise": self.as_json()} if self.share else {}


def mislabelled(prepared: Prepared, noise: LabelNoise) -> Prepared:
    """Return the folder with wrong labels of a share of its training groups.

    Args:
        prepared: An opened folder, or a part of one.
        noise: How many, and how far off.

    Returns:
        The same rows and pixels; images of a drawn group that had the same stage have the same other one.
    """
    if not noise.share:
        return prepared
    table = prepared.table
    names = prepared.scale.names
    groups, stages = table["group"].to_numpy(), prepared.stages
    told = table["stage"].tolist()
    for row in prepared.rows("train").tolist():
        draw = _draw(noise.seed, str(groups[row])) / noise.share
        if draw < 1:
            told[row] = names[_other(int(stages[row]), len(names), draw, noise.neighbours)]
    return replace(prepared, table=table.assign(stage=told))


def _other(stage: int, count: int, draw: float, neighbours: bool) -> int:
    """Another stage; equal parts of [0, 1) belong to each that can be it."""
    others = [k for k in range(count) if k != stage and (not neighbours or abs(k - stage) == 1)]
    return others[int(draw * len(others))]


def _draw(seed: int, key: str) -> float:
    """A number in [0, 1) drawn by key: it does not depend on what else there is."""
    digest = hashlib.blake2b(f"label_noise:{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
