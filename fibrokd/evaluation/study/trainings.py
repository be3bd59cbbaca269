"""How far trainings of one arm differ, and what that leaves of a difference between two arms.

Resampled patients tell how well a difference between *these networks* is known. An arm is more than its networks:
trained again, with another seed or with nothing but other rounding, it gives others. The standard deviation between
trainings is taken from all arms of a study together, because two or three seeds of one arm tell little; an arm whose
own is larger keeps its own. No seed is better than another (on the medium phantom, means over 23 arms by seed differ as
chance would have it), so arms are not paired by seed here.

References:
    Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", MLSys 2021, arXiv:2103.03098.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from scipy.special import stdtrit
from scipy.stats import chi2


@dataclass(frozen=True)
class Spread:
    """How far trainings of one arm differ.

    Args:
        deviation: Standard deviation between trainings: that of the arm in the middle.
        arms: From how many arms it was taken.
        degrees: Degrees of freedom of all of them.
    """

    deviation: float
    arms: int
    degrees: int


def spread_of(found: Iterable[tuple[float, int]]) -> Spread | None:
    """Return the spread of trainings of the arm in the middle; None where no arm has two.

    A median, so that arms of which one training failed do not decide for all others. The standard deviation of n
    trainings is too low more often than not; that is taken out.

    Args:
        found: Standard deviation between seeds, and number of seeds, of every arm; those with one seed are left out.
    """
    known = [(deviation, seeds - 1) for deviation, seeds in found if seeds > 1 and math.isfinite(deviation)]
    if not known:
        return None
    unbiased = [deviation / math.sqrt(chi2.median(degrees) / degrees) for deviation, degrees in known]
    return Spread(median(unbiased), len(known), sum(degrees for _, degrees in known))


def interval_of_arms(
    value: float,
    patients: float,
    own: tuple[float, float],
    seeds: int,
    spread: Spread,
    level: float,
) -> tuple[float, float]:
    """Return bounds of a difference between two arms, over patients and trainings (normal, both independent).

    Args:
        value: Mean difference over the seeds.
        patients: Its standard deviation over resampled patients.
        own: Standard deviation between seeds of both arms.
        seeds: Number of seeds.
        spread: That of trainings in this study.
        level: Nominal coverage.
    """
    trainings = sum(max(spread.deviation, deviation) ** 2 for deviation in own) / seeds
    reach = float(stdtrit(spread.degrees, (1 + level) / 2)) * math.sqrt(patients**2 + trainings)
    return value - reach, value + reach
