"""The verdict: fit, caution or unfit for claims about staging, each reason with its number, in a clinician's words.

Owns the order of the rules and the stamp that later steps carry. Rules and thresholds are in ``reasons_*``; nothing is
measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fibrokd.integrity import reasons_files, reasons_groups, reasons_shortcuts
from fibrokd.integrity.findings import Findings
from fibrokd.integrity.reasons import Reason

VerdictName = Literal["fit", "caution", "unfit"]

PUBLISHED_PROTOCOL = reasons_groups.PUBLISHED_PROTOCOL

RULES: tuple[Callable[[Findings], Iterator[Reason]], ...] = (
    reasons_groups.split_leak,
    reasons_groups.exact_copies,
    reasons_groups.near_duplicates,
    reasons_groups.mixed_groups,
    reasons_shortcuts.name_order,
    reasons_shortcuts.controls,
    reasons_shortcuts.scanner,
    reasons_groups.identities,
    reasons_groups.cohort_size,
    reasons_files.whole_frames,
    reasons_files.files,
    reasons_files.card,
)
"""Every rule of the judgement, in the order in which its reasons are read: causes before what controls show of them."""


@dataclass(frozen=True)
class Verdict:
    """The judgement over a collection as it was split.

    Args:
        name: The worst severity among the reasons, or ``fit``.
        reasons: Worst first.
    """

    name: VerdictName
    reasons: tuple[Reason, ...]

    def stamp(self, grouping: str, synthetic: bool, accepted_unfit: bool) -> dict[str, Any]:
        """Return the stamp that every later table, report, card and bundle carries."""
        return {
            "verdict": self.name,
            "grouping": grouping,
            "reasons": [reason.text for reason in self.reasons],
            "accepted_unfit": accepted_unfit,
            "synthetic": synthetic,
        }


def judge(findings: Findings) -> Verdict:
    """Weigh the findings; every rule of :data:`RULES` may give reasons."""
    reasons = [reason for rule in RULES for reason in rule(findings)]
    reasons.sort(key=lambda reason: reason.severity != "unfit")
    return Verdict(reasons[0].severity if reasons else "fit", tuple(reasons))
