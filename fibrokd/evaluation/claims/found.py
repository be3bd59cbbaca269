"""What was found of a contrast or of a reported figure. Data only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fibrokd.evaluation.claims.register import Bound

TEACHER = "teacher:"
"""Before the name of an arm that is a teacher itself."""


@dataclass(frozen=True)
class Figure:
    """What was found of one contrast or finding.

    Args:
        value: Mean over seeds.
        by_seed: Of every seed.
        holds: Whether value and every seed lie beyond the bound on the claimed side.
        fails: Whether they do on the other side.
        low: Lower bound; None for a finding.
        high: Upper bound; None for a finding.
        p: Two-sided p-value against the claimed bound, over patients; None for a finding.
        p_trainings: The same over patients and trainings; None for a finding, and where it cannot be had.
    """

    value: float
    by_seed: tuple[float, ...]
    holds: bool
    fails: bool
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_trainings: float | None = None


class MissingError(Exception):
    """Something that a contrast or finding needs is not there; a verdict says so, and no command fails."""


def sides_of(part: Bound, values: Iterable[float]) -> tuple[tuple[float, ...], bool, bool]:
    """Return every seed's value, and whether all of them are beyond the bound on one side or the other."""
    told = tuple(float(value) for value in values)
    return told, all(map(part.holds, told)), all(map(part.fails, told))
