"""Pure functions of the bedside app: a Staging or a Bundle in, words, tables and chart descriptions out.

Owns every word and number the app shows. Draws nothing, keeps no state, imports neither Streamlit nor pandas.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibrokd.errors import FibroKDError
from fibrokd.serving.bundle import Bundle
from fibrokd.serving.predictor import Staging
from fibrokd.serving.verify import Verification
from fibrokd.stages import StageScale

RESEARCH_ONLY = "Research use only — not a medical device. Do not use it to diagnose or to treat anyone."
STYLE = """<style>
div:has(> .st-key-research-only) {position: sticky; top: 3.75rem; z-index: 99; background: #12161c;}
[data-testid="stMainBlockContainer"] {padding-top: 4rem;}
</style>"""
"""Keeps the research notice in sight while the page scrolls, and the outcome on the first screen."""

NO_IMAGE = "Choose an image above. Nothing is stored: an upload is read in memory and forgotten when you leave."
PRIVACY = "PNG, JPEG, BMP, TIFF or DICOM, up to 64 MB. The file stays in this computer's memory."
CANNOT_KNOW = (
    "The answer rests on the grey levels of one picture. It knows neither the patient's history nor blood values, "
    "elasticity or the rest of the examination, and it does not look for tumours."
)

# Bedossa P, Poynard T. Hepatology 1996;24:289, doi:10.1002/hep.510240201
_MEANING = {
    "F0": "no fibrosis",
    "F1": "portal fibrosis without septa",
    "F2": "portal fibrosis with few septa",
    "F3": "numerous septa without cirrhosis",
    "F4": "cirrhosis",
}
_END_POINTS = {"F2": "significant fibrosis", "F3": "advanced fibrosis", "F4": "cirrhosis"}
_REFUSALS = {
    "re-acquire": ("No stage: acquire the image again", "This image was not staged."),
    "refer": ("No stage: refer to another method", "This image lies outside what the network can judge."),
}
_HEADLINE_METRICS = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "quadratic_kappa": "quadratic kappa",
}


@dataclass(frozen=True)
class Headline:
    """The outcome in words.

    Args:
        title: The outcome itself.
        detail: One sentence that explains it.
        staged: False for a refusal.
    """

    title: str
    detail: str
    staged: bool


def percent(share: float) -> str:
    """Return a share as text, one decimal, never claiming 0 or 100 where it is neither.

    Example:
        >>> percent(0.7134), percent(0.0001), percent(0.99999)
        ('71.3 %', '< 0.1 %', '> 99.9 %')
    """
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def meaning(stage: str) -> str:
    """Return what a METAVIR stage means, or the empty text for a stage of another scale."""
    return _MEANING.get(stage, "")


def headline(staging: Staging) -> Headline:
    """Return the outcome in words; without a stage it names none."""
    if staging.outcome == "stage" and staging.stage is not None:
        name = " — ".join(filter(None, (staging.stage, meaning(staging.stage))))
        return Headline(
            f"Most probable stage: {name}",
            f"The network gives {staging.stage} a probability of {percent(staging.probabilities[staging.stage])}.",
            staged=True,
        )
    title, detail = _REFUSALS.get(staging.outcome, _REFUSALS["refer"])
    return Headline(title, detail, staged=False)


def probability_rows(staging: Staging) -> list[dict[str, str]]:
    """Return the table of probabilities, one row per stage from least to most severe."""
    return [
        {
            "Stage": name,
            "Meaning": meaning(name),
            "Probability": percent(value),
            "Note": "◀ most probable" if name == staging.stage else "",
        }
        for name, value in staging.probabilities.items()
    ]


def end_point_rows(staging: Staging, scale: StageScale) -> list[dict[str, str]]:
    """Return the probability of every clinical end point "stage ≥ k"; the last stage is its own end point."""
    rows = []
    for cutoff in scale.cutoffs:
        name = scale.names[cutoff]
        share = min(1.0, sum(staging.probabilities[above] for above in scale.names[cutoff:]))
        label = name if cutoff == len(scale) - 1 else f"≥{name}"
        rows.append({"End point": label, "Meaning": _END_POINTS.get(name, ""), "Probability": percent(share)})
    return rows


def chart_text(staging: Staging) -> str:
    """Return the chart in words, for people who do not see it."""
    return "Probabilities: " + ", ".join(f"{name} {percent(value)}" for name, value in staging.probabilities.items())


def chart(staging: Staging) -> dict[str, Any]:
    """Return a Vega-Lite bar chart of the probabilities with the numbers written beside the bars."""
    values = [
        {
            "stage": name,
            "probability": value,
            "text": percent(value) + (" ◀" if name == staging.stage else ""),
            "chosen": name == staging.stage,
        }
        for name, value in staging.probabilities.items()
    ]
    order = list(staging.probabilities)
    return {
        "description": chart_text(staging),
        "data": {"values": values},
        "width": "container",
        "height": {"step": 34},
        "encoding": {
            "y": {"field": "stage", "type": "nominal", "sort": order, "title": "stage", "axis": {"labelFontSize": 15}},
            "x": {
                "field": "probability",
                "type": "quantitative",
                "title": "probability",
                "scale": {"domain": [0, 1.12]},
                "axis": {"format": "%", "values": [0, 0.25, 0.5, 0.75, 1]},
            },
        },
        "layer": [
            {
                # Not by colour alone: the chosen bar is also outlined, and its number carries the mark.
                "mark": {"type": "bar", "stroke": "#ffffff", "cornerRadiusEnd": 2},
                "encoding": {
                    "color": {"condition": {"test": "datum.chosen", "value": "#4c9be8"}, "value": "#6b7785"},
                    "strokeWidth": {"condition": {"test": "datum.chosen", "value": 2}, "value": 0},
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 15, "color": "#f2f4f7"},
                "encoding": {"text": {"field": "text", "type": "nominal"}},
            },
        ],
    }


def warnings_of(bundle: Bundle) -> list[str]:
    """Return what must be said about the training data before any answer is believed."""
    stamp = bundle.card.stamp
    found = []
    if stamp.get("synthetic", True):
        found.append(
            "Demonstration: this network was trained on computer-rendered phantoms. "
            "Its answer for a picture of a person means nothing."
        )
    verdict = stamp.get("verdict", "unknown")
    if verdict != "fit":
        reasons = "; ".join(str(reason) for reason in stamp.get("reasons", ())) or "no reason is recorded"
        found.append(f"The integrity check of its training data says “{verdict}”: {reasons}.")
    return found


def trained_on(bundle: Bundle) -> str:
    """Return in one sentence what the network was trained on."""
    stamp = bundle.card.stamp
    kind = "computer-rendered phantoms" if stamp.get("synthetic", True) else "images of people"
    images = bundle.card.card.get("training_images")
    many = f"{images} " if images else ""
    return (
        f"Trained on {many}{kind}. Grouping rule that kept related images out of the test: "
        f"{stamp.get('grouping', 'unknown')}. Verdict of the integrity check: {stamp.get('verdict', 'unknown')}."
    )


def bundle_rows(bundle: Bundle, verification: Verification) -> list[dict[str, str]]:
    """Return the facts about the bundle that the side bar shows."""
    card = bundle.card
    worst = verification.worst
    rows = {
        "Bundle": f"{card.name} ({bundle.digest[:12]})",
        "Network": f"{card.network.backbone}, {card.network.parameters / 1e6:.2f} M parameters",
        "Input": f"{card.preprocess.size} × {card.preprocess.size} pixels",
        "Self-test here": f"passed; worst deviation {worst.deviation:.1g} (accepted {verification.tolerance:g})",
    }
    for key, metric in _headline_metrics(bundle).items():
        rows[f"Test {_HEADLINE_METRICS[key]}"] = metric
    return [{"Fact": name, "Value": value} for name, value in rows.items()]


def _headline_metrics(bundle: Bundle) -> dict[str, str]:
    test = bundle.card.card.get("test", {})
    return {
        key: f"{test[key]['value']:.2f} ({test[key]['low']:.2f} – {test[key]['high']:.2f})"
        for key in _HEADLINE_METRICS
        if isinstance(test.get(key), dict)
    }


def view_caption(staging: Staging) -> str:
    """Return the caption of the picture that the network saw."""
    if staging.network_view is None or staging.fan_confidence is None:
        return ""
    side = staging.network_view.shape[0]
    return f"What the network saw: {side} × {side} pixels; fan found with confidence {staging.fan_confidence:.2f}."


def original_caption(staging: Staging) -> str:
    """Return the caption of the picture as it was decoded."""
    if staging.original is None:
        return ""
    height, width = staging.original.shape
    return f"The image as read: {width} × {height} pixels."


def frame_title(staging: Staging, count: int) -> str:
    """Return the heading of one frame, or the empty text where the file gave only one answer."""
    if count == 1:
        return ""
    return f"Frame {staging.frame + 1}" + (f", picture {staging.part + 1}" if staging.part else "")


def public_message(error: FibroKDError, folder: Path) -> str:
    """Return an error's words without the path of the bundle.

    Args:
        error: What went wrong.
        folder: The bundle's absolute path, as it was opened.
    """
    return f"{error.problem} {error.todo}".replace(str(folder), "the bundle")
