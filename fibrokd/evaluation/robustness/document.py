"""robustness.json: how far answers moved where the picture was disturbed and the patient was the same.

``shift`` is the mean change of the expected stage Σₖ k pₖ, with its sign; ``moved`` the mean of its size, image by
image; ``changed`` the share of images that were called another stage; ``balanced_accuracy`` its change. All are of the
same images before and after, with patient-cluster intervals. A clinician reads ``moved``: by how many stages an answer
about one patient depends on how the picture was taken. ``stage_sets`` says whether sets still hold the true stage.

Shape letters: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.intervals import BootstrapConfig, as_json, bootstrap, paired_difference
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.robustness.disturbances import SAME, is_rendered, words_of
from fibrokd.evaluation.robustness.means import mean_over_clusters
from fibrokd.evaluation.robustness.sets import sets_kept

LIMIT = 0.5
"""Mean size of the shift, in stages, above which a network follows the picture's making more than its patient."""

FIGURES = ("shift", "moved", "changed", "balanced_accuracy")
"""Figures of every disturbance."""


def robustness_document(
    answers: Sequence[Predictions],
    disturbed: Sequence[Predictions],
    config: BootstrapConfig,
    fixed_on: Sequence[Predictions] = (),
) -> dict[str, Any]:
    """Return the content of robustness.json.

    Stored pictures that were disturbed are compared with what they were; patients that were rendered anew with what was
    rendered of them unchanged, for a stored picture may have lost a little to its format.

    Args:
        answers: Answers to stored pictures, one part per network.
        disturbed: Answers to disturbed ones; ``split`` is the key of the disturbance.
        config: How intervals are made.
        fixed_on: Answers to the validation and calibration images that stage sets rest on.
    """
    unchanged = {part.network: part for part in answers}
    others: dict[str, dict[str, Predictions]] = {name: {} for name in unchanged}
    for part in fixed_on:
        others[part.network][part.split] = part
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
        networks.setdefault(part.network, {})[part.split] = {
            **entry,
            **_figures(before, part, config),
            "stage_sets": sets_kept(before, part, others[part.network], config),
        }
    return {"limit": LIMIT, "networks": networks}


def _figures(before: Predictions, after: Predictions, config: BootstrapConfig) -> dict[str, Any]:
    shift = _expected(after) - _expected(before)
    values = {"shift": shift, "moved": np.abs(shift), "changed": (after.predicted != before.predicted).astype(float)}
    samples = bootstrap(after, config), bootstrap(before, config)
    return {
        **{name: as_json(mean_over_clusters(each, before, config, name == "changed")) for name, each in values.items()},
        "balanced_accuracy": as_json(paired_difference(METRICS["balanced_accuracy"], *samples)),
    }


def _expected(part: Predictions) -> Float[np.ndarray, " N"]:
    stage: np.ndarray = part.probabilities @ np.arange(len(part.scale))
    return stage
