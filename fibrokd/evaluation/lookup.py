"""Compares networks with the lookup table: the nearest training thumbnail, which learns nothing.

The lookup itself is measured by the integrity check; here its figures are read and put beside the networks' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fibrokd.evaluation.metrics import HEADLINE
from fibrokd.evaluation.report_inputs import ReportInputs


@dataclass(frozen=True)
class Lookup:
    """What the lookup table reaches at one level of grouping.

    Args:
        level: ``random``, ``stem``, ``content``, ``all`` or ``subject``.
        scores: Metric → ``{"value", "low", "high"}``; at least ``accuracy``.
        twin_in_train: Share of test images with an exact copy in train; ``None`` if not measured.
        own_level: This is the level at which the networks' own split was made.
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
    """Return the lookup at every level that the integrity check measured; empty where it measured none."""
    controls = inputs.integrity.get("controls") or {}
    measured = controls.get("thumbnail_1nn") or {}
    grouping = inputs.stamp.get("grouping")
    return [
        Lookup(
            level,
            {name: found[name] for name in HEADLINE if name in found},
            found.get("twin_in_train"),
            level == grouping,
        )
        for level, found in measured.items()
    ]


def own_lookup(inputs: ReportInputs) -> Lookup | None:
    """Return the lookup at the level of the networks' own split, if it was measured and estimable."""
    own = (found for found in lookups(inputs) if found.own_level and found.accuracy["value"] is not None)
    return next(own, None)


def judgement(accuracy: Mapping[str, Any], lookup: Lookup) -> str:
    """Return ``beats``, ``not shown`` (intervals overlap or are missing) or ``does not beat``."""
    if accuracy["value"] <= lookup.accuracy["value"]:
        return "does not beat"
    low, high = accuracy.get("low"), lookup.accuracy.get("high")
    return "not shown" if low is None or high is None or low <= high else "beats"
