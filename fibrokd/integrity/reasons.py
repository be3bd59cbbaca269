"""A reason against fitness, as the verdict lists it. Rules that give reasons are in ``reasons_*``; each owns its
thresholds.
"""  # noqa: D205 - one sentence and a half

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["caution", "unfit"]


@dataclass(frozen=True)
class Reason:
    """One reason against fitness.

    Args:
        code: Machine-readable name.
        severity: How bad it is.
        number: The number the reason rests on.
        text: What it means, in a clinician's words.
        todo: What to do about it.
    """

    code: str
    severity: Severity
    number: int | float
    text: str
    todo: str


def percent(share: float) -> str:
    """Return a share in words."""
    return f"{100 * share:.1f} %"


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun: ``1 file``, ``2 files``."""
    return f"{count} {singular if count == 1 else plural or singular + 's'}"


def graver(share: float, limit: float) -> Severity:
    """Return ``unfit`` above a limit, else ``caution``."""
    return "unfit" if share > limit else "caution"
