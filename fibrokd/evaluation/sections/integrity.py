"""The integrity verdict with its reasons and the counts of the data behind the numbers."""

from __future__ import annotations

from typing import Any

from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import grouping_words, verdict_words

COUNTS = {
    "files": "Files found",
    "quarantined": "Files that could not be used",
    "wrong_extension": "Files whose name claims another format",
    "distinct_images": "Distinct images",
}


def integrity(inputs: ReportInputs) -> dict[str, Any]:
    """Return verdict, reasons and counts; what the check did not count is left out."""
    level, title, sentence = verdict_words(inputs.stamp)
    return {
        "verdict": {"level": level, "title": title, "sentence": sentence},
        "accepted": bool(inputs.stamp.get("accepted_unfit", False)),
        "reasons": [str(reason) for reason in inputs.stamp.get("reasons", [])],
        "grouping": grouping_words(inputs.stamp),
        "card": [(name.replace("_", " ").capitalize(), answer) for name, answer in _card(inputs).items()],
        "counts": [(title, f"{inputs.integrity[key]:,}") for key, title in COUNTS.items() if key in inputs.integrity],
    }


def _card(inputs: ReportInputs) -> dict[str, str]:
    """What is known of where the collection comes from; empty where nobody told."""
    return dict(inputs.integrity.get("card") or {})
