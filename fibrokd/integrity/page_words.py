"""Words of integrity.html: short names for verdicts, split levels and reasons, and where the evidence of each stands.

Owns wording alone. What a reason means and what to do about it is written in full by the rules themselves
(``reasons_*``) and comes with integrity.json; here is only what fits into one line.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fibrokd.integrity.controls import CONTROLS

VERDICT_WORDS = {
    "fit": "Fit: nothing was found that would make results on this collection look better than they are.",
    "caution": "Caution: results on this collection need the reservations below.",
    "unfit": "Unfit: nothing measured on this collection says anything about staging fibrosis.",
}
SEVERITY_WORDS = {"unfit": "Makes it unfit", "caution": "Calls for caution"}
"""Severity → heading of the reasons that have it, the gravest first."""

LEVEL_WORDS = {
    "random": "nothing (random split)",
    "stem": "equal file names (the published protocol)",
    "content": "identical pictures",
    "all": "all evidence",
    "subject": "known patients or subjects",
}
"""Split level → what is kept together."""

LEVEL_HEADS = {
    "random": "random split",
    "stem": "equal file names",
    "content": "identical pictures",
    "all": "all evidence",
    "subject": "known patients",
}
"""Split level → the same in a narrow column."""

_SHARE, _COUNT, _NO_NUMBER = "{:.1%}", "{:d}", ""

HEADLINES: Mapping[str, tuple[str, str]] = {
    "twins_in_split": ("Test pictures with an identical copy in training", _SHARE),
    "relatives_in_split": ("Test pictures that belong together with a training picture", _SHARE),
    "relatives_between_splits": ("Pictures of one split that belong together with another's, at most", _SHARE),
    "published_protocol": ("Only equal file names were kept together", _NO_NUMBER),
    "content_only": ("Only identical pictures were kept together", _NO_NUMBER),
    "no_controls": ("No control was run", _NO_NUMBER),
    "no_level": ("Too few groups to run a control", _NO_NUMBER),
    "thumbnail_1nn": ("Stages found by looking up a similar thumbnail", _SHARE),
    "metadata": ("Stages found from the file alone", _SHARE),
    "border": ("Stages found from the frame's border alone", _SHARE),
    "outside_fan": ("Stages found from outside the fan alone", _SHARE),
    "fan_shape": ("Stages found from the fan's shape alone", _SHARE),
    "scanner_stage": ("Stage and scanner go together: Cramér's V", "{:.2f}"),
    "picture_with_two_stages": ("Pictures filed under several stages", _COUNT),
    "copies": ("Pictures that are copies of another", _SHARE),
    "near_copies": ("Altered copies, or neighbouring frames, in other files", _COUNT),
    "near_across_stages": ("Pairs nearly the same, of different stages", _COUNT),
    "near_across_patients": ("Pairs nearly the same, of different patients", _COUNT),
    "near_chain": ("Pictures that likeness alone ties into one group", _COUNT),
    "mixed_stage_groups": ("Groups with more than one stage", _COUNT),
    "label_order": ("The stage follows the names: changes, of those expected", _SHARE),
    "random_names": ("File names were dealt out at random", _NO_NUMBER),
    "unknown_patients": ("Pictures whose patient is known", _SHARE),
    "distrusted_keys": ("Keys that were not believed", _COUNT),
    "few_groups": ("Independent groups of the rarest stage", _COUNT),
    "absent_stages": ("Stages without a picture", _COUNT),
    "uncropped": ("Pictures kept as whole frames", _SHARE),
    "unreadable": ("Files that could not be read", _COUNT),
    "no_fan": ("Files or pictures set aside: no fan accepted", _COUNT),
    "left_out": ("Files without a usable label", _COUNT),
    "wrong_extension": ("Files that are not what their name says", _COUNT),
    "unmatched_rows": ("Rows of the label table without a file", _COUNT),
    "no_card": ("Nobody has said where it comes from", _NO_NUMBER),
    "card_gaps": ("Questions of the card without an answer", _COUNT),
}
"""Code of a reason → one line, and how its number is written. A code without a row is shown by its full text."""

EVIDENCE: Mapping[str, str] = {
    **{name: f"control-{name}" for name in CONTROLS},
    "scanner_stage": "control-scanner",
    "twins_in_split": "split",
    "relatives_in_split": "split",
    "relatives_between_splits": "split",
    "picture_with_two_stages": "example-copies_across_stages",
    "copies": "example-most_copied",
    "near_copies": "example-near_copy",
    "near_across_stages": "example-near_across_stages",
    "near_across_patients": "example-near_across_patients",
    "near_chain": "example-largest_near_group",
    "mixed_stage_groups": "mixed",
    "few_groups": "stages",
    "unreadable": "set-aside",
    "no_fan": "set-aside",
    "left_out": "set-aside",
    "card_gaps": "card",
}
"""Code of a reason → where on the page its evidence stands, if it stands there."""


def percent(share: float) -> str:
    """Return a share in words; number and sign stay on one line."""
    return f"{100 * share:.1f}\u00a0%"


def points(gained: float) -> str:
    """Return a difference in points with its sign; a minus that is also read aloud."""
    return f"{gained:+.1f}".replace("-", "\u2212")


def bounds(score: Mapping[str, Any]) -> str:
    """Return an interval in percent, or that there is none."""
    if score["low"] is None:
        return "no interval"
    return f"{100 * score['low']:.1f}\u2013{percent(score['high'])}"


def interval(score: Mapping[str, Any]) -> str:
    """Return a share with its interval."""
    return f"{percent(score['value'])} ({bounds(score)})"


def plain_bounds(score: Mapping[str, Any]) -> str:
    """Return an interval with two decimals, or that there is none."""
    return "no interval" if score["low"] is None else f"{score['low']:.2f}\u2013{score['high']:.2f}"


def unbroken(text: str) -> str:
    """Return a text whose numbers are not parted from their percent signs at the end of a line."""
    return text.replace(" %", "\u00a0%")


def probability(p: float) -> str:
    """Return a p-value in words."""
    return "p\u00a0<\u00a00.001" if p < 0.001 else f"p\u00a0=\u00a0{p:.3f}"


def worded(reason: Mapping[str, Any], number: int, anchors: Collection[str]) -> dict[str, Any]:
    """Return a reason with what the page adds to it.

    Args:
        reason: One of ``reasons`` in integrity.json.
        number: Its place, from 1.
        anchors: Places that exist on the page.

    Returns:
        The reason with ``id``, ``headline``, ``figure`` ("" where the number says nothing) and ``evidence`` ("" where
        the page shows none).
    """
    words, form = HEADLINES.get(reason["code"], (reason["text"], _NO_NUMBER))
    anchor = EVIDENCE.get(reason["code"], "")
    return {
        **reason,
        "place": number,
        "id": f"reason-{number}",
        "headline": words,
        "figure": form.format(reason["number"]).replace("%", "\u00a0%"),
        "evidence": anchor if anchor in anchors else "",
    }
