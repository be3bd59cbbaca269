"""Compares networks with the lookup table: the nearest training thumbnail, which learns nothing.

The lookup itself is measured by the integrity check: on the networks' own split, which is what they are compared with,
and cross-validated under every level of grouping. Here its figures are read and put beside the networks' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fibrokd.evaluation.metrics import HEADLINE
from fibrokd.evaluation.report_inputs import ReportInputs


@dataclass(frozen=True)
class Lookup:
    """What the lookup table reaches on the networks' own split, or at one level of grouping.

    Args:
        level: ``split`` (trained on exactly the train images, asked for exactly the test images),
            ``random``, ``stem``, ``content``, ``all`` or ``subject``.
        scores: Metric → ``{"value", "low", "high"}``; at least ``accuracy``.
        twin_in_train: Share of test images with an exact copy in train; ``None`` if not measured.
        own_level: Networks are compared with this one: the lookup on their own split, or where that was not measured
            the one at the level at which the split was made.
    """

    level: str
    scores: Mapping[str, Mapping[str, Any]]
    twin_in_train: int | float | None
    own_level: bool

    @property
    def accuracy(self) -> Mapping[str, Any]:
        """Accuracy as ``{"value", "low", "high"}``."""
        return self.scores["accuracy"]


def lookups(inputs: ReportInputs) -> list[Lookup]:
    """Return the lookup on the networks' own split and at every level, as far as the integrity check measured them."""
    controls = inputs.integrity.get("controls") or {}
    split = controls.get("thumbnail_1nn_split")
    measured = ({"split": split} if split else {}) | (controls.get("thumbnail_1nn") or {})
    own = "split" if split else inputs.stamp.get("grouping")
    return [
        Lookup(
            level,
            {name: found[name] for name in HEADLINE if name in found},
            found.get("twin_in_train"),
            level == own,
        )
        for level, found in measured.items()
    ]


def own_lookup(inputs: ReportInputs) -> Lookup | None:
    """Return the lookup that networks are compared with, if it was measured and estimable."""
    own = (found for found in lookups(inputs) if found.own_level and found.accuracy["value"] is not None)
    return next(own, None)


def judgement(accuracy: Mapping[str, Any], lookup: Lookup) -> str:
    """Return ``beats``, ``not shown`` (intervals overlap or are missing) or ``does not beat``."""
    if accuracy["value"] <= lookup.accuracy["value"]:
        return "does not beat"
    low, high = accuracy.get("low"), lookup.accuracy.get("high")
    return "not shown" if low is None or high is None or low <= high else "beats"
