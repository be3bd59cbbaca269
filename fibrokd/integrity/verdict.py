"""The verdict: fit, caution or unfit for claims about staging, each reason with its number, in a clinician's words.

Owns every threshold of the judgement and the stamp that later steps carry. It measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fibrokd.integrity.findings import Findings
from fibrokd.integrity.levels import STRICTEST_FIRST

Severity = Literal["caution", "unfit"]
VerdictName = Literal["fit", "caution", "unfit"]

SHORTCUT_UNFIT = 0.25
"""A control whose balanced accuracy surely exceeds chance by this much makes staging claims worthless: published
five-stage results on independent patients lie only 0.2–0.4 above chance."""

SHORTCUT_CAUTION = 0.10
"""Above this excess over chance a shortcut is worth mentioning; clean synthetic cohorts stay below 0.07."""

MIN_GROUPS = 20
"""With fewer independent groups per stage, one unusual patient moves the result by more than 5 points."""

MOST_UNCROPPED = 0.05
"""Above this share of whole frames, where fans were to be cut out, the collection was not seen as configured."""

_READABLE_BUT_REFUSED = frozenset(["no_label", "ambiguous_label", "mixed_stage_group"])

PUBLISHED_PROTOCOL = "published protocol: file-stem groups only; not leak-safe"


@dataclass(frozen=True)
class Reason:
    """One reason against fitness.

    Args:
        code: Machine-readable name.
        severity: How bad it is.
        number: The number the reason rests on.
        text: What it means, in words.
    """

    code: str
    severity: Severity
    number: int | float
    text: str


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


# --------------------------------------------------------------------------- the split itself
def _leak(findings: Findings) -> Iterator[Reason]:
    leak, grouping = findings.leak, findings.collection.grouping
    if leak.twins > 0:
        severity: Severity = "unfit" if leak.twins > 0.01 else "caution"
        yield Reason(
            "twins_in_split", severity, leak.twins,
            f"{_percent(leak.twins)} of the test pictures of this split have an identical copy in training: the test "
            "asks for pictures the network has already seen.",
        )  # fmt: skip
    if leak.relatives > leak.twins:
        severity = "unfit" if leak.relatives > 0.01 else "caution"
        yield Reason(
            "relatives_in_split", severity, leak.relatives,
            f"{_percent(leak.relatives)} of the test pictures of this split belong together with a training picture "
            "(same patient, study, name or content).",
        )  # fmt: skip
    crossing = {pair: share for pair, share in leak.others.items() if share > 0}
    if crossing:
        words = ", ".join(f"{pair} {_percent(share)}" for pair, share in crossing.items())
        yield Reason(
            "relatives_between_splits", "caution", max(crossing.values()),
            f"Pictures that belong together lie in different splits ({words}): what is tuned on one is not new to the "
            "other.",
        )  # fmt: skip
    if grouping == "stem":
        yield Reason("published_protocol", "caution", findings.groups.count, PUBLISHED_PROTOCOL)
    elif grouping == "content":
        yield Reason(
            "content_only", "caution", findings.groups.count,
            "Only identical pictures were kept together; other pictures of the same patient may be on both sides.",
        )  # fmt: skip


# --------------------------------------------------------------------------- copies, conflicts and keys
def _copies(findings: Findings) -> Iterator[Reason]:
    copies = findings.copies
    if copies.across_stages:
        yield Reason(
            "picture_with_two_stages", "unfit", copies.across_stages,
            f"{copies.across_stages} picture(s) are filed under more than one stage: at least one label is wrong.",
        )  # fmt: skip
    share = 1 - copies.distinct / copies.images
    if share > 0.01:
        level = findings.controls.get("thumbnail_1nn", {}).get("random")
        random = (
            f" Under a random split {_percent(level['twin_in_train'])} of the test pictures have an identical copy in "
            "training."
            if level
            else ""
        )
        yield Reason(
            "copies", "caution", round(share, 4),
            f"Only {copies.distinct} of {copies.images} pictures are distinct; one occurs {copies.most} times.{random}",
        )  # fmt: skip


def _mixed(findings: Findings) -> Iterator[Reason]:
    mixed = findings.groups.mixed
    if mixed:
        kinds = ", ".join(sorted({kind for group in mixed for kind in group.evidence}))
        yield Reason(
            "mixed_stage_groups", "caution", len(mixed),
            f"{len(mixed)} group(s) of pictures that belong together (by {kinds}) carry more than one stage.",
        )  # fmt: skip


def _identities(findings: Findings) -> Iterator[Reason]:
    known = findings.known_patients
    if known < 0.9:
        yield Reason(
            "unknown_patients", "caution", round(known, 4),
            f"The patient is known for {_percent(known)} of the pictures only: pictures of one person cannot be kept "
            "on one side, and results may look better than they are.",
        )  # fmt: skip
    distrusted = {kind: len(keys) for kind, keys in findings.evidence_groups.distrusted.items()}
    if distrusted:
        words = ", ".join(f"{count} {kind}" for kind, count in sorted(distrusted.items()))
        yield Reason(
            "distrusted_keys", "caution", sum(distrusted.values()),
            f"Some keys stand for nobody or for too many and were not believed ({words}).",
        )  # fmt: skip


def _cohort(findings: Findings) -> Iterator[Reason]:
    per_stage = findings.groups_per_stage
    few = {stage: count for stage, count in per_stage.items() if count < MIN_GROUPS}
    if few:
        words = ", ".join(f"{stage}: {count}" for stage, count in few.items())
        yield Reason(
            "few_groups", "caution", min(few.values()),
            f"Some stages rest on very few independent groups ({words}); at least {MIN_GROUPS} are wanted.",
        )  # fmt: skip
    absent = [stage for stage in findings.collection.scale.names if stage not in per_stage]
    if absent:
        yield Reason(
            "absent_stages", "caution", len(absent), f"No picture of stage {', '.join(absent)} is in the collection."
        )


# --------------------------------------------------------------------------- files
def _files(findings: Findings) -> Iterator[Reason]:
    collection = findings.collection
    unread = {reason: n for reason, n in collection.refused.items() if reason not in _READABLE_BUT_REFUSED}
    if unread:
        kinds = ", ".join(f"{reason}: {count}" for reason, count in sorted(unread.items()))
        yield Reason(
            "unreadable", "caution", sum(unread.values()),
            f"{sum(unread.values())} of {collection.files} files could not be read ({kinds}); if they are not a random "
            "part, results are biased.",
        )  # fmt: skip
    left_out = sum(collection.refused.values()) - sum(unread.values())
    if left_out > 0.01 * collection.files:
        yield Reason(
            "left_out", "caution", left_out,
            f"{left_out} of {collection.files} files were left out because their label is missing or contradicted.",
        )  # fmt: skip
    wrong = int((collection.table["extension_ok"].astype(str) == "0").sum())
    if wrong > 0.01 * len(collection.table):
        yield Reason(
            "wrong_extension", "caution", wrong,
            f"{wrong} files are not what their name says (for example PNG named .jpg): the collection was processed "
            "again after it was made.",
        )  # fmt: skip
    if collection.unmatched_rows > 0.01 * collection.files:
        yield Reason(
            "unmatched_rows", "caution", collection.unmatched_rows,
            f"{collection.unmatched_rows} rows of the label table have no file.",
        )  # fmt: skip


def _crop(findings: Findings) -> Iterator[Reason]:
    collection = findings.collection
    share = collection.uncropped / len(collection.table)
    if collection.crop == "fan" and share > MOST_UNCROPPED:
        yield Reason(
            "uncropped", "caution", round(share, 4),
            f"In {_percent(share)} of the pictures no fan was found with confidence and the whole frame was kept: "
            "burned-in text and rulers are seen by the networks, and may show patient data.",
        )  # fmt: skip


# --------------------------------------------------------------------------- shortcuts
def _shortcuts(findings: Findings) -> Iterator[Reason]:
    if not findings.controls:
        yield Reason("no_controls", "caution", 0, "No control was run: shortcuts would go unnoticed.")
    for control, levels in findings.controls.items():
        strictest = next((name for name in STRICTEST_FIRST if name in levels), None)
        if strictest is None:
            yield Reason("no_level", "caution", 0, f"Too few groups to run the control {control}.")
            continue
        score = levels[strictest]["balanced_accuracy"]
        chance = 1 / len(findings.groups_per_stage)
        excess = score["low"] - chance
        if excess > SHORTCUT_CAUTION:
            severity: Severity = "unfit" if excess > SHORTCUT_UNFIT else "caution"
            yield Reason(control, severity, score["value"], _SHORTCUT_WORDS[control](score["value"], chance))


def _lookup_words(value: float, chance: float) -> str:
    return (
        f"Looking up the most similar stamp-sized picture, without any learning, finds {_percent(value)} of the stages "
        f"(chance {_percent(chance)}) although everything known to belong together stayed on one side of the split: "
        "pictures are recognised, not livers."
    )


def _metadata_words(value: float, chance: float) -> str:
    return (
        f"The stage follows the file: format, size and name alone, without opening the picture, find {_percent(value)} "
        f"of the stages (chance {_percent(chance)})."
    )


_SHORTCUT_WORDS: dict[str, Callable[[float, float], str]] = {
    "thumbnail_1nn": _lookup_words,
    "metadata": _metadata_words,
}


def _name_order(findings: Findings) -> Iterator[Reason]:
    order = findings.name_order
    if order and order["ratio"] < 0.8 and order["z"] < -4:
        yield Reason(
            "label_order", "caution", order["ratio"],
            f"The stage follows the file names: sorted by name it changes {order['changes']:.0f} times where "
            f"{order['expected']:.0f} changes are expected. The labels may have been dealt out by cutting up a list.",
        )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


RULES: tuple[Callable[[Findings], Iterator[Reason]], ...] = (
    _leak, _shortcuts, _copies, _mixed, _name_order, _identities, _cohort, _crop, _files,
)  # fmt: skip
"""Every rule of the judgement, in the order in which its reasons are read."""
