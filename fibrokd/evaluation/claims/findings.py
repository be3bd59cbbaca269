"""Figures that cells report of themselves. Nothing is tested.

Shape letters: S seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fibrokd.evaluation.claims.found import TEACHER, Figure, MissingError, sides_of
from fibrokd.evaluation.claims.register import ArmOf, Finding
from fibrokd.evaluation.study.pooled import Pool


def finding_figure(finding: Finding, pools: Mapping[ArmOf, Pool], seeds: Sequence[int]) -> Figure:
    """Return a reported figure, seed by seed.

    Args:
        finding: Which figure of which arm, less which.
        pools: Networks of the arms that it names.
        seeds: Which of their seeds.

    Raises:
        MissingError: A cell does not report it.
    """
    values = _facts(pools[finding.of], finding.fact, seeds)
    if finding.less is not None or finding.less_fact is not None:
        values = values - _facts(pools[finding.less or finding.of], finding.less_fact or finding.fact, seeds)
    return Figure(float(values.mean()), *sides_of(finding, values))


def _facts(pool: Pool, path: str, seeds: Sequence[int]) -> Float[np.ndarray, " S"]:
    trials = {trial.seed: trial for trial in pool.trials}
    if pool.trials[0].arm.startswith(TEACHER):
        trials = dict.fromkeys(seeds, pool.trials[0])
    return np.array([reported(trials[seed].facts, path, f"{trials[seed].arm}, seed {seed}") for seed in seeds])


def reported(facts: Mapping[str, Any], path: str, whose: str) -> float:
    """Return a figure that a cell reports of itself; of a list, its mean.

    Args:
        facts: The cell's result.
        path: Keys and places in lists, joined by dots.
        whose: Whose result it is, for the message.

    Raises:
        MissingError: There is no number at that place.
    """
    found: Any = facts
    try:
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]
        value = sum(found) / len(found) if isinstance(found, list) else float(found)
        if not math.isfinite(value):
            raise ValueError(value)
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        raise MissingError(f"{path} in the result of {whose} (train it anew: an earlier version wrote it)") from error
    return float(value)
