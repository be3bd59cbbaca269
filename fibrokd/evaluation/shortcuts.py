"""Shortcuts on the networks' own split: what is reached there without looking at a liver, beside the networks.

Every shortcut answered exactly the test images, having learned from exactly the training images
(:mod:`fibrokd.pipeline.own_shortcuts`), so that differences from networks are paired. The look-up of thumbnails is no
part of this: the integrity check measures it on the same split (:mod:`fibrokd.evaluation.lookup`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fibrokd.evaluation.intervals import BootstrapConfig, as_json, bootstrap, metric_interval, paired_differences
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report_inputs import ReportInputs

FILE, DOCUMENT = "shortcuts.csv", "shortcuts.json"


@dataclass(frozen=True)
class Shortcut:
    """How a shortcut is told.

    Args:
        title: In tables.
        words: In a sentence: networks beat, or do not beat, …
    """

    title: str
    words: str


SHORTCUTS: Mapping[str, Shortcut] = {
    "metadata": Shortcut(
        "File facts alone: format, size and name, picture unopened", "what format, size and name of the file tell"
    ),
    "scanner": Shortcut("Scanner and site alone, without a picture", "what scanner and site tell"),
}
"""Shortcuts by the name of their answers."""


def shortcuts_document(
    networks: Sequence[Predictions], shortcuts: Sequence[Predictions], config: BootstrapConfig
) -> dict[str, Any]:
    """Return the content of shortcuts.json: name → headline figures, and those of every network less them.

    Args:
        networks: Answers of the networks to the test images.
        shortcuts: Answers of the shortcuts to the same images.
        config: How intervals are made.

    Raises:
        TableError: A shortcut answered other images.
    """
    metrics = [METRICS[name] for name in HEADLINE]
    samples = [bootstrap(part, config) for part in networks]
    found = {}
    for part in shortcuts:
        own = bootstrap(part, config)
        less = {
            sample.predictions.network: {
                name: as_json(difference)
                for name, difference in zip(HEADLINE, paired_differences(metrics, sample, own), strict=True)
            }
            for sample in samples
        }
        figures = {name: as_json(metric_interval(METRICS[name], own)) for name in HEADLINE}
        found[part.network] = {"figures": figures, "networks_less_this": less}
    return {"level": config.level, "shortcuts": found}


def shortcuts_of(inputs: ReportInputs) -> Mapping[str, Any]:
    """Return shortcut → figures, as far as any was asked."""
    return inputs.shortcuts["shortcuts"] if inputs.shortcuts is not None else {}


def judged(difference: Mapping[str, Any]) -> str:
    """Return ``beats``, ``not shown`` (0 lies in the interval, or there is none) or ``does not beat``.

    Args:
        difference: Accuracy of a network less that of a shortcut, paired.
    """
    if difference["value"] is None or difference["value"] <= 0:
        return "does not beat"
    return "beats" if difference["low"] is not None and difference["low"] > 0 else "not shown"
