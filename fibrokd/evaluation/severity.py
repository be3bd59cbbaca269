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
    """Return the rows of the worst errors of every true stage, at most one per cluster.

    Severity favours the ends of the scale, where an answer can be four stages off: by itself it would show no error of
    the stages between, on which treatment depends. So the stages take turns, each with its worst error that is left,
    and the turn begins with the worst of these.

    Returns:
        At most ``limit`` rows, by true stage, and worst first within a stage.
    """
    severities = severity(part)
    wrong = np.flatnonzero(part.predicted != part.truth).tolist()
    worst_of_group: dict[str, int] = {}
    for row in sorted(wrong, key=lambda row: (-severities[row], part.image_ids[row])):
        worst_of_group.setdefault(part.groups[row], row)
    turn: dict[int, int] = {}
    turns = []
    for row in worst_of_group.values():
        stage = int(part.truth[row])
        turns.append((turn.get(stage, 0), row))
        turn[stage] = turn.get(stage, 0) + 1
    # The sort is stable: within a turn rows stay worst first.
    shown = [row for _, row in sorted(turns, key=lambda each: each[0])][:limit]
    return sorted(shown, key=lambda row: (part.truth[row], -severities[row], part.image_ids[row]))
