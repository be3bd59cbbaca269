"""robustness.json: how far answers moved where the picture was disturbed and the patient was the same.

``shift`` is the mean change of the expected stage Σₖ k pₖ, with its sign; ``moved`` the mean of its size, image by
image; ``changed`` the share of images that were called another stage; ``balanced_accuracy`` its change. All are of the
same images before and after, with patient-cluster intervals. A clinician reads ``moved``: by how many stages an answer
about one patient depends on how the picture was taken.

Shape letters: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.intervals import (
    BootstrapConfig,
    Estimate,
    Interval,
    as_json,
    bootstrap,
    draw_counts,
    interval_of,
    paired_difference,
)
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.robustness.disturbances import SAME, is_rendered, words_of

LIMIT = 0.5
"""Mean size of the shift, in stages, above which a network follows the picture's making more than its patient."""

FIGURES = ("shift", "moved", "changed", "balanced_accuracy")
"""Figures of every disturbance."""


def robustness_document(
    answers: Sequence[Predictions], disturbed: Sequence[Predictions], config: BootstrapConfig
) -> dict[str, Any]:
    """Return the content of robustness.json.

    Stored pictures that were disturbed are compared with what they were; patients that were rendered anew with what was
    rendered of them unchanged, for a stored picture may have lost a little to its format.

    Args:
        answers: Answers to stored pictures, one part per network.
        disturbed: Answers to disturbed ones; ``split`` is the key of the disturbance.
        config: How intervals are made.
    """
    unchanged = {part.network: part for part in answers}
    rendered = {part.network: part for part in disturbed if part.split == SAME}
    networks: dict[str, dict[str, Any]] = {}
    for part in disturbed:
        own = rendered[part.network] if is_rendered(part.split) and part.split != SAME else unchanged[part.network]
        place = {image_id: row for row, image_id in enumerate(own.image_ids)}
        before = own.rows(np.array([place[image_id] for image_id in part.image_ids]))
        entry = {
            "words": words_of(part.split),
            "kind": "rendered" if is_rendered(part.split) else "recorded",
            "images": len(part),
        }
        networks.setdefault(part.network, {})[part.split] = entry | _figures(before, part, config)
    return {"limit": LIMIT, "networks": networks}


def _figures(before: Predictions, after: Predictions, config: BootstrapConfig) -> dict[str, Any]:
    shift = _expected(after) - _expected(before)
    values = {"shift": shift, "moved": np.abs(shift), "changed": (after.predicted != before.predicted).astype(float)}
    samples = bootstrap(after, config), bootstrap(before, config)
    return {
        **{name: as_json(_mean(each, before, config, name == "changed")) for name, each in values.items()},
        "balanced_accuracy": as_json(paired_difference(METRICS["balanced_accuracy"], *samples)),
    }


def _expected(part: Predictions) -> Float[np.ndarray, " N"]:
    stage: np.ndarray = part.probabilities @ np.arange(len(part.scale))
    return stage


def _mean(values: Float[np.ndarray, " N"], part: Predictions, config: BootstrapConfig, proportion: bool) -> Interval:
    """Mean over images, with its interval over clusters."""
    codes = np.unique(np.array(part.groups), return_inverse=True)[1]
    sums, images = np.bincount(codes, values), np.bincount(codes).astype(float)
    drawn = np.concatenate([(counts @ sums) / (counts @ images) for counts in draw_counts(len(images), config)])
    found = Estimate(float(values.mean()), drawn, len(images), "there are no images", proportion)
    return interval_of(found, config)
