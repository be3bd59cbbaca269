"""What networks reach on another collection beside what they reach on their own: nothing is fitted anew.

The two collections hold other patients: their difference is not paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fibrokd.evaluation.intervals import (
    BootstrapConfig,
    as_json,
    bootstrap,
    metric_interval,
    unpaired_difference,
)
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.predictions import Predictions

REASONS = {
    "content": "the very same picture",
    "patient": "a patient whose images were learned from",
    "near": "nearly the same picture",
    "relative": "belonging with one of these",
}
"""Why an image counts as seen before, the strongest first."""


def external_document(
    own: Sequence[Predictions], other: Sequence[Predictions], overlap: Mapping[str, int], config: BootstrapConfig
) -> dict[str, Any]:
    """Return the figures of both collections and their difference, other minus own.

    Args:
        own: Answers to the test images of the networks' own collection.
        other: Answers to the images of the other one.
        overlap: Reason → images of the other collection that were left out for it.
        config: How intervals are made.
    """
    # Another seed: resamples of other patients have nothing to do with each other.
    sampling = config.model_copy(update={"seed": config.seed + 1})
    at_home = {part.network: bootstrap(part, sampling) for part in own}
    networks = {}
    for part in other:
        if part.network in at_home:
            here, there = bootstrap(part, config), at_home[part.network]
            networks[part.network] = {
                metric: {
                    "own": as_json(metric_interval(METRICS[metric], there)),
                    "external": as_json(metric_interval(METRICS[metric], here)),
                    "difference": as_json(unpaired_difference(METRICS[metric], here, there)),
                }
                for metric in HEADLINE
            }
    return {"left_out": dict(overlap), "networks": networks}
