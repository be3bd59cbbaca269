"""Stage sets of the patients of a split, from validation, calibration and assessed answers of one network.

The temperature is fitted on validation images, the threshold on calibration patients, and neither is moved afterwards.
Images of one patient are not exchangeable with those of others, so that every cluster has one score: that of the mean
probabilities of its images.

Shape letters: G clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from fibrokd.evaluation.aggregation import mean_by_cluster
from fibrokd.evaluation.calibration.temperature import Fitted, fitted, scaled
from fibrokd.evaluation.conformal.sets import bounds, needed, quantile, scores
from fibrokd.evaluation.fixed_beforehand import FIXED_ON, validation_for
from fibrokd.evaluation.intervals import MIN_CLUSTERS
from fibrokd.evaluation.predictions import Predictions

LEVEL = 0.9
"""Wanted coverage."""

CALIBRATED_ON = "calibration"
"""Splits on which temperature and threshold are fixed."""


@dataclass(frozen=True, eq=False)
class StageSets:
    """Sets of the clusters of a split.

    Args:
        answers: One row per cluster, at the fitted temperature.
        lowest: Least severe stage of every set.
        highest: Most severe stage of every set.
        threshold: Score up to which stages are taken in.
        temperature: What log-probabilities of images were divided by.
        calibrated: True stages of the calibration clusters.
        left_out: Clusters of the split, and of the calibration split, that have several true stages.
    """

    answers: Predictions
    lowest: Int[np.ndarray, " G"]
    highest: Int[np.ndarray, " G"]
    threshold: float
    temperature: Fitted
    calibrated: Int[np.ndarray, " C"]
    left_out: tuple[int, int]

    @property
    def covered(self) -> Bool[np.ndarray, " G"]:
        """Which sets hold the true stage."""
        inside: np.ndarray = (self.lowest <= self.answers.truth) & (self.answers.truth <= self.highest)
        return inside

    @property
    def sizes(self) -> Int[np.ndarray, " G"]:
        """Number of stages of every set."""
        sizes: np.ndarray = self.highest - self.lowest + 1
        return sizes

    @property
    def names(self) -> list[str]:
        """Every set in words: ``F2`` or ``F2–F3``."""
        stage = self.answers.scale.names
        pairs = zip(self.lowest.tolist(), self.highest.tolist(), strict=True)
        return [stage[low] if low == high else f"{stage[low]}–{stage[high]}" for low, high in pairs]


def stage_sets(part: Predictions, others: Mapping[str, Predictions], least: int = MIN_CLUSTERS) -> StageSets | str:
    """Return the sets of a split, or why there are none.

    Args:
        part: Answers of a network on the split.
        others: Split → answers of the same network.
        least: Validation clusters below which no temperature is fitted.
    """
    if part.split in (FIXED_ON, CALIBRATED_ON):
        return f"what sets rest on was fixed on the {'validation' if part.split == FIXED_ON else 'calibration'} images"
    if CALIBRATED_ON not in others:
        return "there are no answers on calibration images"
    shared = len(set(part.groups) & set(others[CALIBRATED_ON].groups))
    if shared:
        return f"{shared} clusters hold assessed and calibration images alike, so that nothing is promised for new ones"
    temperature = fitted(validation_for(others, part, others[CALIBRATED_ON]), least)
    known = mean_by_cluster(scaled(others[CALIBRATED_ON], temperature.value))
    asked = mean_by_cluster(scaled(part, temperature.value))
    if known.answers is None or len(known.answers) < needed(LEVEL):
        found = 0 if known.answers is None else len(known.answers)
        return f"a coverage of {LEVEL:.0%} needs {needed(LEVEL)} calibration clusters or more, found {found}"
    if asked.answers is None:
        return "no cluster has one true stage"
    of_truth = scores(known.answers.probabilities)[np.arange(len(known.answers)), known.answers.truth]
    threshold = quantile(of_truth, LEVEL)
    lowest, highest = bounds(asked.answers.probabilities, threshold)
    return StageSets(
        answers=asked.answers,
        lowest=lowest,
        highest=highest,
        threshold=threshold,
        temperature=temperature,
        calibrated=known.answers.truth,
        left_out=(asked.left_out, known.left_out),
    )
