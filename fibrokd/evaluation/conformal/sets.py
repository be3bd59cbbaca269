"""Contiguous conformal sets of stages: "F2–F3", never "F0 or F4".

A set grows from the most probable stage by the likelier of its two neighbours. The score of a stage is the probability
that the set has before the stage is taken in, 0 for the most probable one; the threshold is the conformal quantile of
the scores of the true stages of the calibration patients. Among patients exchangeable with these, at least the wanted
share of sets hold the true stage, on average over calibrations.

Shape letters: N patients, K stages.

References:
    Lu, Angelopoulos and Pomerantz, MICCAI 2022, arXiv:2207.02238 (ordinal prediction sets).
    Romano, Sesia and Candès, NeurIPS 2020, arXiv:2006.02544 (cumulated probability as score).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import beta


def scores(probabilities: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """Return for every stage the probability that the growing set has before it is taken in.

    Of equally probable stages the least severe is taken first. Rounded to twelve decimals: sums of the same
    probabilities must be equal whatever the order of addition, for a threshold may be one of them.
    """
    N, K = probabilities.shape
    rows = np.arange(N)
    fenced = np.full((N, K + 2), -1.0)  # nothing is taken from beyond the scale
    fenced[:, 1:-1] = np.round(probabilities, 12)
    low = high = fenced.argmax(axis=1)
    mass = fenced[rows, low].copy()
    found = np.zeros((N, K + 2))
    for _ in range(K - 1):
        down = fenced[rows, low - 1] >= fenced[rows, high + 1]
        low, high = np.where(down, low - 1, low), np.where(down, high, high + 1)
        added = np.where(down, low, high)
        found[rows, added] = np.minimum(1.0, np.round(mass, 12))
        mass += fenced[rows, added]
    return found[:, 1:-1]


def quantile(of_truth: Float[np.ndarray, " N"], level: float) -> float:
    """Return the conformal quantile of the scores of true stages; 1, which takes in all, from too few patients.

    Args:
        of_truth: Score of the true stage of every calibration patient.
        level: Wanted coverage, above 0 and below 1.
    """
    place = math.ceil((len(of_truth) + 1) * level - 1e-9)
    return 1.0 if place > len(of_truth) else float(np.sort(of_truth)[place - 1])


def by_calibration(patients: int, level: float, share: float) -> tuple[float, float]:
    """Return between which values the true coverage lies in a share of all calibrations, were scores never equal.

    Args:
        patients: Calibration patients, at least :func:`needed`.
        level: Wanted coverage.
        share: Share of calibrations, half of the others on either side.

    Reference: Vovk, ACML 2012, arXiv:1209.2673 (coverage given the calibration set is Beta distributed).
    """
    place = math.ceil((patients + 1) * level - 1e-9)
    known = beta(place, patients + 1 - place)
    return float(known.ppf((1 - share) / 2)), float(known.ppf((1 + share) / 2))


def needed(level: float) -> int:
    """Return the fewest calibration patients from which sets may leave any stage out."""
    return math.ceil(level / (1 - level) - 1e-9)


def bounds(
    probabilities: Float[np.ndarray, "N K"], threshold: float
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """Return the least and the most severe stage of every set; the most probable stage is always within.

    Args:
        probabilities: Stage probabilities.
        threshold: What :func:`quantile` returned.
    """
    inside = scores(probabilities) <= threshold
    lowest = inside.argmax(axis=1).astype(np.int64)
    highest = (inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)).astype(np.int64)
    return lowest, highest
