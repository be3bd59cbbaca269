"""Several rounds of training and testing: what each reached, and all of their answers put together.

Shape letters: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import numpy as np

from fibrokd.errors import TableError
from fibrokd.evaluation.metrics import HEADLINE
from fibrokd.evaluation.predictions import Predictions


def pooled(parts: Sequence[Predictions]) -> Predictions:
    """Return the answers of one network of every round as those of one: each image was asked once.

    Args:
        parts: Its answers on one split, round by round.

    Raises:
        TableError: Scales, names or splits differ, or an image was asked in two rounds.
    """
    first = parts[0]
    if len({(part.network, part.split, part.scale) for part in parts}) > 1:
        raise TableError("answers of several rounds", ["networks, splits or scales differ"], "Pool one at a time.")
    return replace(
        first,
        image_ids=tuple(name for part in parts for name in part.image_ids),
        groups=tuple(name for part in parts for name in part.groups),
        truth=np.concatenate([part.truth for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
    )


def rounds_document(documents: Mapping[str, Mapping[str, Any]], split: str = "test") -> dict[str, Any]:
    """Return what every round reached, and how far rounds differ.

    The spread over rounds is of training on other patients and testing on other patients together. It is no standard
    error: rounds share most of their training patients.

    Args:
        documents: Round → its metrics.json.
        split: Split whose figures are told.

    Returns:
        ``{network: {metric: {"mean", "deviation", "least", "most", "note", "rounds": {round: interval}}}}``;
        ``deviation`` is ``None`` of a single round, and nothing but ``rounds`` is told where rounds hold other stages.
    """
    networks = list(dict.fromkeys(name for document in documents.values() for name in document["networks"]))
    return {network: {metric: _over(documents, network, metric, split) for metric in HEADLINE} for network in networks}


def _over(documents: Mapping[str, Mapping[str, Any]], network: str, metric: str, split: str) -> dict[str, Any]:
    parts = {name: document["networks"][network][split] for name, document in documents.items()}
    found = {name: _marked(part, metric) for name, part in parts.items()}
    values = [figure["value"] for figure in found.values() if figure["value"] is not None]
    other = len({tuple(part["absent_stages"]) for part in parts.values()}) > 1 and metric != "accuracy"
    if other or not values:
        note = "rounds hold other stages: their figures do not compare" if other else "not estimable in any round"
        return {"mean": None, "deviation": None, "least": None, "most": None, "note": note, "rounds": found}
    deviation = stdev(values) if len(values) > 1 else None
    spread = {"mean": mean(values), "deviation": deviation, "least": min(values), "most": max(values)}
    return {**spread, "note": "", "rounds": found}


def _marked(part: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """A figure, with the stages that its round lacks."""
    figure = dict(part[metric])
    if part["absent_stages"]:
        lacking = f"without {', '.join(part['absent_stages'])}"
        figure["note"] = f"{figure['note']}; {lacking}" if figure.get("note") else lacking
    return figure
