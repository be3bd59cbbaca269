"""Rules about shortcuts: ways to the stage that do not lead through the liver."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fibrokd.integrity.controls import CONTROLS
from fibrokd.integrity.findings import Findings
from fibrokd.integrity.honest_split import ENOUGH_KNOWN
from fibrokd.integrity.levels import STRICTEST_FIRST
from fibrokd.integrity.reasons import Reason, graver, percent
from fibrokd.integrity.reasons_files import MOST_UNCROPPED, uncropped_share

SHORTCUT_UNFIT = 0.25
"""A control whose balanced accuracy surely exceeds chance by this much makes staging claims worthless: published
five-stage results on independent patients lie only 0.2–0.4 above chance."""

SHORTCUT_CAUTION = 0.10
"""Above this excess over chance a shortcut is worth mentioning. The lower bound of the interval must exceed it, so
that with 20 groups per stage or more six controls at chance do not add up to a false reproach."""

SURELY_SPREADS = 3.5
"""An accuracy must also lie this many standard deviations of guessing above chance. With few groups the bootstrap's
interval is too narrow, for it resamples what happened to be there; in simulations of controls at chance over 12 to 40
patients up to one in twelve was reproached without this."""

ASSOCIATED, SURELY = 0.10, 1e-4
"""Least lower bound of Cramér's V, and largest p, at which stage and scanner are said to go together."""

ORDERED_RATIO, ORDERED_Z = 0.8, -4.0
"""Changes of the stage along sorted names, as a share of those expected, and their z score, below which the stages
follow the names."""

UNRELATED = 0.2
"""Below this kinship of names, pictures that belong together have names that do not."""

_SCANNER = "scanner"  # judged together with the association


def controls(findings: Findings) -> Iterator[Reason]:
    """Controls that find the stage although everything known to belong together stayed on one side."""
    if not findings.controls:
        yield Reason(
            "no_controls", "caution", 0, "No control was run: shortcuts would go unnoticed.",
            "Set controls.enabled: true.",
        )  # fmt: skip
    seen = findings.collection.crop == "full" or uncropped_share(findings) > MOST_UNCROPPED
    for name, levels in findings.controls.items():
        score = strictest(levels)
        if score is None:
            yield Reason(
                "no_level", "caution", 0, f"Too few groups to run the control {name}.",
                "Bring more patients; two groups of every stage are the least.",
            )  # fmt: skip
            continue
        excess = _excess(findings, score)
        if name == _SCANNER or excess <= SHORTCUT_CAUTION:
            continue
        control = CONTROLS[name]
        hidden = control.cut_off and not seen
        value = score["balanced_accuracy"]["value"]
        text = control.finding.format(value=percent(value), chance=percent(_chance(findings)))
        if hidden:
            text += " Networks do not see it here, because everything outside the fan was set to 0."
        yield Reason(name, "caution" if hidden else graver(excess, SHORTCUT_UNFIT), value, text, control.todo)


def scanner(findings: Findings) -> Iterator[Reason]:
    """Stages that go with scanners or sites."""
    found, levels = findings.scanner, findings.controls.get(_SCANNER, {})
    score = strictest(levels)
    excess = _excess(findings, score) if score else 0.0
    associated = bool(found) and found["p"] < SURELY and (found["cramers_v"]["low"] or 0.0) > ASSOCIATED
    if not found or (not associated and excess <= SHORTCUT_CAUTION):
        return
    v = found["cramers_v"]
    text = (
        f"Stage and scanner go together (Cramér's V {v['value']:.2f}, {_bounds(v)}, over "
        f"{found['groups']} groups on {found['scanners']} scanners)"
    )
    if score:
        value = score["balanced_accuracy"]["value"]
        text += f": the name of scanner and site alone finds {percent(value)} of the stages (chance "
        text += f"{percent(_chance(findings))})"
    recognised = found.get("recognised", {}).get("thumbnails")
    if recognised:
        text += f". From a stamp-sized picture the scanner is recognised in {percent(recognised['value'])}"
    text += ": a network may learn machines instead of livers."
    yield Reason("scanner_stage", graver(excess, SHORTCUT_UNFIT), v["value"], text, CONTROLS[_SCANNER].todo)


def name_order(findings: Findings) -> Iterator[Reason]:
    """Stages that follow the sorted names, and names that were dealt out at random."""
    order = findings.name_order
    if order and order["ratio"] < ORDERED_RATIO and order["z"] < ORDERED_Z:
        yield Reason(
            "label_order", "caution", order["ratio"],
            f"The stage follows the file names: sorted by name it changes {order['changes']:.0f} times from one "
            f"patient or group to the next, where {order['expected']:.0f} changes are expected. The labels may have "
            "been dealt out by cutting up a list.",
            "Ask the source how each stage was found, patient by patient, and compare with the original records.",
        )  # fmt: skip
    kin = findings.kinship
    if kin and kin["kinship"] < UNRELATED and kin["pseudonyms"] < 0.5:
        lost = (
            "the patient keys cannot be checked against them"
            if findings.known_patients >= ENOUGH_KNOWN
            else "whatever they once said about patients and clips is lost"
        )
        yield Reason(
            "random_names", "caution", kin["kinship"],
            "File names were dealt out at random: pictures that belong together do not have neighbouring names, so "
            f"{lost}.",
            "Ask the source for the original names, or for the table that leads back to them.",
        )  # fmt: skip


def strictest(levels: dict[str, Any]) -> dict[str, Any] | None:
    """Return the scores at the strictest level that exists."""
    return next((levels[name] for name in STRICTEST_FIRST if name in levels), None)


def _chance(findings: Findings) -> float:
    return 1 / len(findings.groups_per_stage)


def _excess(findings: Findings, score: dict[str, Any]) -> float:
    """How far the lower bound of a control's balanced accuracy lies above chance; 0 where that may be luck.

    Of few clusters there is no interval; what exceeds the spread of guessing is the bound then.
    """
    found, chance = score["balanced_accuracy"], _chance(findings)
    least = SURELY_SPREADS * findings.chance_spread
    above = float(found["value"]) - chance - least
    if above <= 0:
        return 0.0
    return above if found["low"] is None else float(found["low"]) - chance


def _bounds(score: dict[str, Any]) -> str:
    return "no interval" if score["low"] is None else f"{score['low']:.2f}–{score['high']:.2f}"
