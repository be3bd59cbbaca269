"""The worst errors as pictures: those that put most probability farthest from the truth, one per cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.figures import picture_uri
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report_inputs import ReportInputs

PICTURES_PER_NETWORK = 12
PICTURES_PER_REPORT = 48  # 48 noisy pictures of 192 px are about 2 MB


def errors(inputs: ReportInputs) -> dict[str, Any]:
    """Return the worst errors of every network, worst first."""
    share = max(1, PICTURES_PER_REPORT // len(inputs.parts))
    return {"networks": [_of_network(inputs, part, min(PICTURES_PER_NETWORK, share)) for part in inputs.parts]}


def severity(part: Predictions) -> Float[np.ndarray, " N"]:
    """Return the probability mass times its distance from the true stage: Σₖ pₖ |k − truth|, in stages."""
    distances = np.abs(np.arange(len(part.scale)) - part.truth[:, None])
    mass: np.ndarray = (part.probabilities * distances).sum(axis=1)
    return mass


def worst_rows(part: Predictions, limit: int) -> list[int]:
    """Return the rows of the worst errors, at most one per cluster, worst first."""
    severities = severity(part)
    wrong = np.flatnonzero(part.predicted != part.truth).tolist()
    worst_of_group: dict[str, int] = {}
    for row in sorted(wrong, key=lambda row: (-severities[row], part.image_ids[row])):
        worst_of_group.setdefault(part.groups[row], row)
    return list(worst_of_group.values())[:limit]


def _of_network(inputs: ReportInputs, part: Predictions, limit: int) -> dict[str, Any]:
    wrong = int((part.predicted != part.truth).sum())
    far = int((np.abs(part.predicted - part.truth) >= 2).sum())
    title = inputs.title_of(part.network)
    return {
        "title": title,
        "wrong": wrong,
        "far": far,
        "images": len(part),
        "share": f"{100 * wrong / len(part):.1f} %",
        "withheld": inputs.no_picture,
        "pictures": [_picture(inputs, part, row, title) for row in worst_rows(part, limit)],
    }


def _picture(inputs: ReportInputs, part: Predictions, row: int, title: str) -> dict[str, Any]:
    names, p = part.scale.names, part.probabilities[row]
    truth, predicted = names[part.truth[row]], names[part.predicted[row]]
    probability = f"{p[part.predicted[row]]:.2f}"
    pixels = inputs.picture(part.image_ids[row])
    return {
        "image_id": part.image_ids[row],
        "truth": truth,
        "predicted": predicted,
        "probability": probability,
        "probabilities": [
            (name, f"{share:.2f}", round(100 * float(share), 1)) for name, share in zip(names, p, strict=True)
        ],
        "uri": None if pixels is None else picture_uri(pixels),
        "alt": f"Ultrasound frame of true stage {truth} that {title} calls {predicted} with probability {probability}.",
    }
