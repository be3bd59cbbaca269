"""The words of the report: verdicts, groupings, what must not be concluded, and how numbers are spelled.

Text only. Which words apply is decided from the integrity stamp and the metrics document, never from a network's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.simulated_coverage import simulated_coverage

TOO_GOOD_ACCURACY = 0.95
"""Five-stage accuracy above which leakage is the likelier explanation; patient-grouped studies stay far below."""

TOO_NARROW = 0.94
"""Simulated coverage of nominal 95 % below which a reader is told to take intervals for too narrow."""

VERDICTS = {
    "fit": (
        "Fit",
        "The integrity check found nothing that speaks against believing these numbers.",
    ),
    "caution": (
        "Caution",
        "The integrity check found weaknesses in the data. Read every number together with the reasons below.",
    ),
    "unfit": (
        "Unfit",
        "These images cannot support any claim about staging liver fibrosis. The numbers describe the collection only.",
    ),
}
NO_VERDICT = ("Not checked", "No integrity verdict came with these numbers. Do not rely on them.")

GROUPINGS = {
    "random": "Images were split at random: copies of one image and images of one patient may lie on both sides.",
    "stem": "Split by file name only (the published protocol): renamed copies and patients may lie on both sides.",
    "content": "Identical images were kept together; images of one patient may still lie on both sides.",
    "all": "Images tied together by any evidence (patient, study, file name, content, likeness) were kept together.",
    "subject": "All images of one source subject were kept together.",
}
LEVELS = {
    "split": "as in this very split: its train images, asked for its test images",
    "random": "at random",
    "stem": "file name",
    "content": "identical image",
    "all": "all evidence",
    "subject": "source subject",
}
LEAKY = ("random", "stem", "content")


def verdict_words(stamp: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return (level, title, sentence) of the stamp's verdict; an unknown one counts as not checked."""
    verdict = str(stamp.get("verdict", ""))
    title, sentence = VERDICTS.get(verdict, NO_VERDICT)
    return (verdict if verdict in VERDICTS else "unchecked", title, sentence)


def grouping_words(stamp: Mapping[str, Any]) -> str:
    """Return how the split was made, in a sentence."""
    grouping = str(stamp.get("grouping", ""))
    return GROUPINGS.get(grouping, f"How images were grouped before splitting is not known ({grouping or 'no entry'}).")


def not_to_conclude(stamp: Mapping[str, Any], external: bool = False) -> list[str]:
    """Return what a reader must not conclude from numbers on data with this stamp, the gravest first.

    Args:
        stamp: Integrity stamp of the assessed collection.
        external: Networks were trained on another collection.
    """
    found = []
    if stamp.get("verdict") == "unfit":
        found.append(
            "Nothing about liver fibrosis: the data were found unfit for staging claims"
            + (", and the run went on because this was accepted explicitly." if stamp.get("accepted_unfit") else ".")
        )
    if stamp.get("synthetic"):
        found.append(
            "Phantom accuracy is not clinical accuracy. The images are simulated with a known truth; they serve to "
            "compare networks and methods, and say nothing about patients."
        )
    if stamp.get("grouping") in LEAKY and not external:
        found.append("Nothing about new patients: this split does not keep patients apart.")
    others = (
        "Nothing about other scanners, sites or populations: these test images come from the collection trained on."
    )
    if external:
        others = "Nothing about scanners, sites or populations beyond those of this collection."
    found += [
        "Not a diagnosis, and not a medical device: research use only.",
        "The numbers are per image. A patient's stage would be decided from several images and other findings.",
        others,
        "Intervals show the chance in which images were tested, not that of training anew or of another split.",
    ]
    return found


def alarms(inputs: ReportInputs) -> list[str]:
    """Return warnings that the numbers themselves give rise to."""
    found = []
    fewest = min((metrics["clusters"] for metrics in inputs.networks.values()), default=0)
    simulated = simulated_coverage(fewest)
    if simulated is not None:
        known, shares = simulated
        worst = min(shares, key=lambda name: shares[name])
        told = f"{percent(shares['balanced_accuracy'])} (balanced accuracy), {percent(shares[worst])} at worst"
        fewer = fewest < known
        narrow = " Read them as too narrow." if fewer or shares[worst] < TOO_NARROW else ""
        narrow = f" Of fewer they hold it less often.{narrow}" if fewer else narrow
        found.append(
            f"Intervals rest on {fewest} clusters. In simulated cohorts of {known}, those of nominal 95 % held the "
            f"truth in {told} ({METRICS[worst].title}).{narrow}"
        )
    for name, metrics in inputs.networks.items():
        value = metrics["accuracy"]["value"]
        if len(inputs.scale) >= 5 and value > TOO_GOOD_ACCURACY:
            found.append(
                f"{inputs.title_of(name)} stages {percent(value)} of the images right. On {len(inputs.scale)} stages "
                "this is above what studies with separated patients reach: look for leakage before believing it."
            )
        if metrics["absent_stages"]:
            absent = ", ".join(metrics["absent_stages"])
            found.append(f"No test image has stage {absent}: averages over stages leave it out.")
    return list(dict.fromkeys([*found, *unsteady(inputs)]))


def unsteady(inputs: ReportInputs) -> list[str]:
    """Return what moves a network by more stages than it may, or costs its sets the coverage that they promise.

    See :mod:`fibrokd.evaluation.robustness.document`. Of sets only what two intervals say: fewer than wanted hold the
    true stage, and fewer than of the same patients before.
    """
    if inputs.robustness is None:
        return []
    entries = [
        (f"{inputs.title_of(name)}, {entry['words']}", entry)
        for name, found in inputs.robustness["networks"].items()
        for entry in found.values()
    ]
    moved = [
        f"{title}: moved by {bounded(entry['moved'])} stages on average."
        for title, entry in entries
        if entry["moved"]["value"] > inputs.robustness["limit"]
    ]
    short = [
        f"{title}: sets hold the true stage of {percent(sets['coverage']['value'])} of the patients instead of "
        f"{percent(sets['before'])}, where {100 * sets['level']:g} % are wanted."
        for title, entry in entries
        if "refused" not in (sets := entry["stage_sets"])
        and _surely_below(sets["coverage"], sets["level"])
        and _surely_below(sets["change"], 0.0)
    ]
    return [*moved, *short]


def _surely_below(interval: Mapping[str, Any], limit: float) -> bool:
    return interval["high"] is not None and interval["high"] < limit


# --------------------------------------------------------------------------- numbers
@dataclass
class Footnotes:
    """Collects the notes of a table and hands out their letters."""

    notes: list[str] = field(default_factory=list)

    def mark(self, note: str) -> str:
        """Return the letter of a note; the same note keeps its letter."""
        if not note:
            return ""
        if note not in self.notes:
            self.notes.append(note)
        number = self.notes.index(note)
        return chr(ord("a") + number) if number < 26 else str(number + 1)

    @property
    def listed(self) -> list[tuple[str, str]]:
        """(letter, note) in the order in which they were first marked."""
        return [(self.mark(note), note) for note in self.notes]


@dataclass(frozen=True)
class Cell:
    """One number of a table as it is shown.

    Args:
        value: The value, or what is said instead of it.
        bounds: Its interval, or what is said instead of it; empty where there is no value.
        mark: Letter of its footnote.
        bar: (low, value, high) in percent of the scale 0 … 1 for the little bar beside it, where that makes sense.
        verdict: What follows from it, in a word or two.
        aside: What else belongs to it, small.
    """

    value: str
    bounds: str
    mark: str
    bar: tuple[float, float, float] | None = None
    verdict: str = ""
    aside: str = ""


def cell(interval: Mapping[str, Any], footnotes: Footnotes, unit_scale: bool = False, signed: bool = False) -> Cell:
    """Spell an interval of the metrics document.

    Args:
        interval: ``{"value", "low", "high"}`` and perhaps ``"note"``.
        footnotes: Where its note goes.
        unit_scale: The metric lives on 0 … 1, so that a bar can be drawn.
        signed: Always show the sign, as differences need.
    """
    mark = footnotes.mark(str(interval.get("note", "")))
    value, low, high = interval["value"], interval["low"], interval["high"]
    if value is None:
        return Cell("not estimable", "", mark)
    if low is None:
        return Cell(number(value, signed), "no interval", mark)
    bar = _bar((low, value, high)) if unit_scale else None
    separator = " to " if signed or low < 0 else "–"
    return Cell(number(value, signed), f"{number(low, signed)}{separator}{number(high, signed)}", mark, bar)


def spread_cell(figures: Mapping[str, Any]) -> Cell:
    """Spell mean ± standard deviation and range of a figure over several trainings.

    Args:
        figures: See :func:`fibrokd.evaluation.spread.spread`.
    """
    if figures["mean"] is None:
        return Cell("not estimable", "", "")
    if figures["deviation"] is None:
        return Cell(number(figures["mean"]), "", "")
    told = f"{number(figures['mean'])} ± {number(figures['deviation'])}"
    return Cell(told, f"{number(figures['least'])} to {number(figures['most'])}", "")


def bounded(interval: Mapping[str, Any]) -> str:
    """Spell a value with its interval in one piece, for tables too long for footnotes."""
    if interval["low"] is None:
        return f"{number(interval['value'])} (no interval)"
    return f"{number(interval['value'])} ({number(interval['low'])} to {number(interval['high'])})"


def number(value: int | float, signed: bool = False) -> str:
    """Return a number with three decimals and a true minus sign."""
    return (f"{value:+.3f}" if signed else f"{value:.3f}").replace("-", "−")


def p_value(value: int | float) -> str:
    """Return a p-value with three decimals; smaller ones as such.

    Example:
        >>> p_value(0.0421), p_value(0.0002)
        ('p 0.042', 'p < 0.001')
    """
    return "p < 0.001" if value < 0.0005 else f"p {value:.3f}"


def percent(value: int | float | None) -> str:
    """Return a share as percent with one decimal; ``None`` is said to be unknown."""
    return "not measured" if value is None else f"{100 * value:.1f} %"


def listing(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _bar(values: tuple[int | float, int | float, int | float]) -> tuple[float, float, float]:
    low, value, high = (round(100 * min(max(v, 0.0), 1.0), 1) for v in values)
    return low, value, high
