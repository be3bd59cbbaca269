"""Rules about files: what could not be read, what is not what it says, what was kept whole, and the card."""

from __future__ import annotations

from collections.abc import Iterator

from fibrokd.integrity.findings import Findings
from fibrokd.integrity.reasons import Reason, counted, percent

MOST_UNCROPPED = 0.05
"""Above this share of whole frames, where fans were to be cut out, the collection was not seen as configured."""

FEW_FILES = 0.01
"""Up to this share of files a defect that does no harm by itself is not held against a collection."""

_NO_LABEL = frozenset(["no_label", "ambiguous_label", "mixed_stage_group"])
_NO_FAN = "no_fan"


def files(findings: Findings) -> Iterator[Reason]:
    """Files that could not be used, and files that are not what their name says."""
    collection = findings.collection
    unread = {reason: n for reason, n in collection.refused.items() if reason not in {*_NO_LABEL, _NO_FAN}}
    if unread:
        kinds = ", ".join(f"{reason.replace('_', ' ')}: {count}" for reason, count in sorted(unread.items()))
        yield Reason(
            "unreadable", "caution", sum(unread.values()),
            f"{sum(unread.values())} of {collection.files} files could not be read ({kinds}); if they are not a random "
            "part, results are biased.",
            "Replace them from the source (quarantine.csv lists them), or remove them and say so in the card.",
        )  # fmt: skip
    yield from _without_fan(findings)
    left_out = sum(collection.refused.get(reason, 0) for reason in _NO_LABEL)
    if left_out > FEW_FILES * collection.files:
        yield Reason(
            "left_out", "caution", left_out,
            f"{left_out} of {collection.files} files were left out because their label is missing or contradicted.",
            "Complete or correct the labels; quarantine.csv lists the files.",
        )  # fmt: skip
    wrong = collection.wrong_extension
    if wrong > FEW_FILES * collection.files:
        yield Reason(
            "wrong_extension", "caution", wrong,
            f"{wrong} files are not what their name says (for example PNG named .jpg): the collection was processed "
            "again after it was made.",
            "Ask the source for the files as they were exported, and what was done to these.",
        )  # fmt: skip
    if collection.unmatched_rows > FEW_FILES * collection.files:
        verb = "has" if collection.unmatched_rows == 1 else "have"
        yield Reason(
            "unmatched_rows", "caution", collection.unmatched_rows,
            f"{counted(collection.unmatched_rows, 'row')} of the label table {verb} no file.",
            "Complete the files or the table; unmatched.csv lists the rows.",
        )  # fmt: skip


def whole_frames(findings: Findings) -> Iterator[Reason]:
    """Frames kept whole although fans were to be cut out."""
    share = uncropped_share(findings)
    if findings.collection.crop == "fan" and share > MOST_UNCROPPED:
        yield Reason(
            "uncropped", "caution", round(share, 4),
            f"In {percent(share)} of the pictures no fan was found with confidence and the whole frame was kept: "
            "burned-in text and rulers are seen by the networks, and may show patient data.",
            "Look at these pictures (cropped = 0 in manifest.csv); bring frames that show the whole fan.",
        )  # fmt: skip


def uncropped_share(findings: Findings) -> float:
    """Return the share of the pictures of which the whole frame was kept."""
    return findings.collection.uncropped / len(findings.collection.table)


def card(findings: Findings) -> Iterator[Reason]:
    """Collections of which nobody says where they come from."""
    told = findings.collection.card
    if told is None:
        if not findings.collection.synthetic:
            yield Reason(
                "no_card", "caution", 0,
                "Nobody has said where this collection comes from, under which licence and approval it is used, and "
                "how its stages were found.",
                "Fill in the form card_form.yaml that lies beside this page, and name it in the setting card.",
            )  # fmt: skip
        return
    if told.unanswered:
        yield Reason(
            "card_gaps", "caution", len(told.unanswered),
            f"The card of the collection has no answer to: {', '.join(told.unanswered).replace('_', ' ')}.",
            "Ask the source; without the reference standard nobody can say what the stages mean.",
        )  # fmt: skip


def _without_fan(findings: Findings) -> Iterator[Reason]:
    """Files, and pictures of files that are used, of which nothing could be blackened."""
    collection = findings.collection
    lost, pictures = collection.refused.get(_NO_FAN, 0), collection.refused_pictures.get(_NO_FAN, 0)
    if not lost and pictures <= FEW_FILES * len(collection.table):
        return
    told = [f"{lost} of {collection.files} files"] if lost else []
    told += [f"{pictures} pictures of files of which others are used"] if pictures else []
    yield Reason(
        _NO_FAN, "caution", lost or pictures,
        f"{' and '.join(told)} were set aside because no fan was accepted in them: names that are burned in could not "
        "be cut off. If they are not a random part, results are biased.",
        "Bring frames that show the whole fan. If these were cut out before and nothing is burned in, set "
        "without_fan: keep.",
    )  # fmt: skip
