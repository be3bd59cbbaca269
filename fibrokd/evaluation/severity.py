"""How wrong an answer is: the probability that it puts on wrong stages, weighted by how far off they are.

Shape letters: N images.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.predictions import Predictions


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
