"""Several rounds of training and testing: what each reached, and all of their answers put together.

Shape letters: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from fibrokd.errors import TableError
from fibrokd.evaluation.agreement.document import agreement
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.metrics import HEADLINE
from fibrokd.evaluation.pairing import in_order_of, of_images
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.spread import spread
from fibrokd.evaluation.totals import cluster_codes

COVERAGE = "coverage"
"""Share of the clusters whose stage set holds the true stage: told of every round that had calibration images."""

APART = "not estimable: no two rounds share an image"


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
    told = (*HEADLINE, COVERAGE)
    return {network: {metric: _over(documents, network, metric, split) for metric in told} for network in networks}


def _over(documents: Mapping[str, Mapping[str, Any]], network: str, metric: str, split: str) -> dict[str, Any]:
    parts = {name: document["networks"][network][split] for name, document in documents.items()}
    found = {name: _marked(part, metric) for name, part in parts.items()}
    values = [figure["value"] for figure in found.values() if figure["value"] is not None]
    other = len({tuple(part["absent_stages"]) for part in parts.values()}) > 1 and metric != "accuracy"
    if other or not values:
        note = "rounds hold other stages: their figures do not compare" if other else "not estimable in any round"
        return {**spread([]), "note": note, "rounds": found}
    return {**spread(values), "note": "", "rounds": found}


def _marked(part: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """A figure, with the stages that its round lacks."""
    figure = dict(part[metric])
    if part["absent_stages"]:
        lacking = f"without {', '.join(part['absent_stages'])}"
        figure["note"] = f"{figure['note']}; {lacking}" if figure.get("note") else lacking
    return figure


def agreement_of_rounds(
    answers: Mapping[str, Sequence[Predictions]], config: BootstrapConfig, split: str = "test"
) -> dict[str, Any]:
    """Return how far the networks of two rounds agree on images that both were asked.

    Rounds of a cross-validation ask disjoint images: then there is nothing to agree on, and this is what is said.

    Args:
        answers: Round → answers of its networks.
        config: How intervals are made.
        split: Split whose images count.

    Returns:
        ``{network: {"note", "pairs"}}``; a pair is as in metrics.json, its first and second being rounds.

    Raises:
        TableError: A shared image has another truth or cluster in two rounds.
    """
    parts = {name: [part for part in found if part.split == split] for name, found in answers.items()}
    networks = list(dict.fromkeys(part.network for found in parts.values() for part in found))
    told = {}
    for network in networks:
        own = {name: part for name, found in parts.items() for part in found if part.network == network}
        pairs = [_agree(first, second, own, config) for first, second in combinations(own, 2)]
        kept = [pair for pair in pairs if pair is not None]
        told[network] = {"note": "" if kept else APART, "pairs": kept}
    return told


def _agree(first: str, second: str, own: Mapping[str, Predictions], config: BootstrapConfig) -> dict[str, Any] | None:
    known = set(own[second].image_ids)
    shared = tuple(name for name in own[first].image_ids if name in known)
    if not shared:
        return None
    base = of_images(own[first], shared)
    other = in_order_of(base, of_images(own[second], shared))
    return agreement(base, other, cluster_codes(base), config) | {"first": first, "second": second}
