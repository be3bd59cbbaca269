"""Rules about what belongs together: leaks through the split, copies, near-duplicates, contradictions, patients."""

from __future__ import annotations

from collections.abc import Iterator

from fibrokd.integrity.findings import Findings
from fibrokd.integrity.honest_split import ENOUGH_KNOWN
from fibrokd.integrity.reasons import Reason, graver, percent

MOST_CROSSING = 0.01
"""Above this share of test pictures known in training, a result no longer speaks of new patients."""

FEW_COPIES = 0.01
"""Up to this share of copies a collection is not reproached: single double exports happen everywhere."""

FEW_ALIKE = 0.05
"""Up to this share of pictures that may be copies, but may be frames of a slow clip, a collection is not reproached."""

MIN_GROUPS = 20
"""With fewer independent groups per stage, one unusual patient moves the result by more than 5 points."""

CHAIN_SHARE, CHAIN_IMAGES = 0.05, 50
"""A group that likeness alone ties is suspicious above this share of all pictures, and above this many."""

PUBLISHED_PROTOCOL = "published protocol: file-stem groups only; not leak-safe"

_SPLIT_AGAIN = "Prepare again with grouping: all, and publish only what is measured on that split."


def split_leak(findings: Findings) -> Iterator[Reason]:
    """Pictures on both sides of the split, and splits that allow it."""
    leak, grouping = findings.leak, findings.collection.grouping
    if leak.twins > 0:
        yield Reason(
            "twins_in_split", graver(leak.twins, MOST_CROSSING), leak.twins,
            f"{percent(leak.twins)} of the test pictures of this split have an identical copy in training: the test "
            "asks for pictures the network has already seen.", _SPLIT_AGAIN,
        )  # fmt: skip
    if leak.relatives > leak.twins:
        yield Reason(
            "relatives_in_split", graver(leak.relatives, MOST_CROSSING), leak.relatives,
            f"{percent(leak.relatives)} of the test pictures of this split belong together with a training picture "
            "(same patient, study, name, content or likeness).", _SPLIT_AGAIN,
        )  # fmt: skip
    crossing = {pair: share for pair, share in leak.others.items() if share > 0}
    if crossing:
        words = ", ".join(f"{pair} {percent(share)}" for pair, share in crossing.items())
        yield Reason(
            "relatives_between_splits", "caution", max(crossing.values()),
            f"Pictures that belong together lie in different splits ({words}): what is tuned on one is not new to the "
            "other.", _SPLIT_AGAIN,
        )  # fmt: skip
    if grouping == "stem":
        yield Reason("published_protocol", "caution", findings.groups.count, PUBLISHED_PROTOCOL, _SPLIT_AGAIN)
    elif grouping == "content":
        yield Reason(
            "content_only", "caution", findings.groups.count,
            "Only identical pictures were kept together; other pictures of the same patient may be on both sides.",
            _SPLIT_AGAIN,
        )  # fmt: skip


def exact_copies(findings: Findings) -> Iterator[Reason]:
    """Pictures that occur more than once, and pictures with two stages."""
    copies = findings.copies
    if copies.across_stages:
        yield Reason(
            "picture_with_two_stages", "unfit", copies.across_stages,
            f"{copies.across_stages} picture(s) are filed under more than one stage: at least one label is wrong.",
            "Look up the stage of these patients in the source; until then set mixed_stage_groups: quarantine.",
        )  # fmt: skip
    share = 1 - copies.distinct / copies.images
    if share > FEW_COPIES:
        level = findings.controls.get("thumbnail_1nn", {}).get("random")
        random = (
            f" Under a random split {percent(level['twin_in_train'])} of the test pictures have an identical copy in "
            "training."
            if level
            else ""
        )
        yield Reason(
            "copies", "caution", round(share, 4),
            f"Only {copies.distinct} of {copies.images} pictures are distinct; one occurs {copies.most} times.{random}",
            "Remove the copies, or keep them together (grouping: all does); state the number of distinct pictures.",
        )  # fmt: skip


def near_duplicates(findings: Findings) -> Iterator[Reason]:
    """Pictures nearly the same as another file's, and what likeness contradicts."""
    near = findings.near
    if near is None:
        return
    images = len(findings.collection.table)
    # Both pictures of a pair are counted.
    if near.converted > 2 * FEW_COPIES * images or near.copies > 2 * FEW_ALIKE * images:
        mirrored = f", {near.mirrored} of them mirrored" if near.mirrored else ""
        yield Reason(
            "near_copies", "caution", near.copies,
            f"{near.copies} of {images} pictures are nearly the same as one in another file{mirrored}: altered copies "
            "(saved again, made lighter or darker, cropped or turned), or neighbouring frames of one clip. Comparing "
            "files bit by bit does not find them.",
            "Keep them in one split (grouping: all does), and remove only what you know to be copies; augment while "
            "training, never on disk.",
        )  # fmt: skip
    if near.across_stages:
        yield Reason(
            "near_across_stages", graver(near.across_stages / images, MOST_CROSSING), near.across_stages,
            f"{near.across_stages} pair(s) of nearly the same picture carry different stages: at least one label is "
            "wrong, or one patient is filed under two stages.",
            "Look up these patients in the source; until then set mixed_stage_groups: quarantine.",
        )  # fmt: skip
    if near.across_patients:
        yield Reason(
            "near_across_patients", "caution", near.across_patients,
            f"{near.across_patients} pair(s) of nearly the same picture carry two patients: a patient has two keys, or "
            "a picture was filed twice.",
            "Look at these pairs in groups.csv (evidence near) and correct the patient keys.",
        )  # fmt: skip
    if near.largest_groups > 1 and near.largest_images > max(CHAIN_IMAGES, CHAIN_SHARE * images):
        yield Reason(
            "near_chain", "caution", near.largest_images,
            f"Likeness alone ties {near.largest_images} pictures, {near.largest_groups} groups that nothing else "
            "connects, into one: a long clip, many copies, or pictures too alike for the threshold "
            f"({near.threshold:g}).",
            "Look at that group in groups.csv (evidence near); raise near.threshold if they are different patients.",
        )  # fmt: skip


def mixed_groups(findings: Findings) -> Iterator[Reason]:
    """Groups whose members carry different stages."""
    mixed = findings.groups.mixed
    if mixed:
        kinds = ", ".join(sorted({kind for group in mixed for kind in group.evidence}))
        yield Reason(
            "mixed_stage_groups", "caution", len(mixed),
            f"{len(mixed)} group(s) of pictures that belong together (by {kinds}) carry more than one stage.",
            "Correct the labels; if patients did change stage between studies, say so in the card.",
        )  # fmt: skip


def identities(findings: Findings) -> Iterator[Reason]:
    """Patients that nobody knows, and keys that nobody should believe."""
    known = findings.known_patients
    if known < ENOUGH_KNOWN:
        yield Reason(
            "unknown_patients", "caution", round(known, 4),
            f"The patient is known for {percent(known)} of the pictures only: pictures of one person cannot be kept "
            "on one side, and results may look better than they are.",
            "Get a table of patients or subjects from the source and name it in data.labels or subjects.table.",
        )  # fmt: skip
    distrusted = {kind: len(keys) for kind, keys in findings.evidence_groups.distrusted.items()}
    if distrusted:
        words = ", ".join(f"{count} {kind}" for kind, count in sorted(distrusted.items()))
        yield Reason(
            "distrusted_keys", "caution", sum(distrusted.values()),
            f"Some keys stand for nobody or for too many and were not believed ({words}).",
            "Replace these keys by the patients' own; a scanner left on its default writes one key for everybody.",
        )  # fmt: skip


def cohort_size(findings: Findings) -> Iterator[Reason]:
    """Stages that rest on few patients or on none."""
    per_stage = findings.groups_per_stage
    few = {stage: count for stage, count in per_stage.items() if count < MIN_GROUPS}
    if few:
        words = ", ".join(f"{stage}: {count}" for stage, count in few.items())
        yield Reason(
            "few_groups", "caution", min(few.values()),
            f"Some stages rest on very few independent groups ({words}); at least {MIN_GROUPS} are wanted.",
            "Bring more patients of these stages, or stage on a coarser scale (data.stages).",
        )  # fmt: skip
    absent = [stage for stage in findings.collection.scale.names if stage not in per_stage]
    if absent:
        yield Reason(
            "absent_stages", "caution", len(absent), f"No picture of stage {', '.join(absent)} is in the collection.",
            "Bring pictures of these stages, or leave them out of the scale (data.stages).",
        )  # fmt: skip
