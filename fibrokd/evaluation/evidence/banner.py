"""What stands at the top of every document: the verdict on the data, whether they are simulated, the limits of use."""

from __future__ import annotations

from dataclasses import dataclass

from fibrokd.evaluation.evidence.artefacts import Artefacts
from fibrokd.evaluation.evidence.items import plain
from fibrokd.evaluation.evidence.on_errors import reasons
from fibrokd.evaluation.wording import verdict_words

SIMULATED = "Simulated images (phantom), not patients."
RESEARCH = "Research use only; not a medical device. Nothing in this document claims clinical validity."
ACCEPTED = "The run went on because this verdict was accepted explicitly."


@dataclass(frozen=True)
class Banner:
    """The top of a document.

    Args:
        level: ``fit``, ``caution``, ``unfit`` or ``unchecked``.
        title: The verdict in a word.
        sentence: The verdict in a sentence.
        simulated: Said where the images are simulated; else empty.
        accepted: Said where an unfit verdict was accepted; else empty.
        reasons: Reasons of the verdict, worst first.
    """

    level: str
    title: str
    sentence: str
    simulated: str
    accepted: str
    reasons: tuple[str, ...]


def banner(run: Artefacts) -> Banner:
    """Return the top of every document of a run."""
    level, title, sentence = verdict_words(run.stamp)
    return Banner(
        level,
        title,
        sentence,
        SIMULATED if run.synthetic else "",
        ACCEPTED if run.stamp.get("accepted_unfit") else "",
        tuple(map(plain, reasons(run))),
    )
