"""Figures of yes-or-no decisions: tables of pure functions of how often they were right and wrong.

Every function works on many sets of images at once and answers NaN where its figure is not defined.

Shape letters: ``*batch`` any number of leading axes.

References:
    Deeks and Altman, BMJ 329 (2004) 168–169, DOI 10.1136/bmj.329.7458.168 (likelihood ratios).
    Vickers and Elkin, Medical Decision Making 26 (2006) 565–574, DOI 10.1177/0272989X06295361 (net benefit).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Decisions:
    """Counts of images, for one or many sets at once.

    Args:
        hits: Positive images called positive.
        misses: Positive images called negative.
        alarms: Negative images called positive.
        passes: Negative images called negative.
    """

    hits: Float[np.ndarray, "*batch"]
    misses: Float[np.ndarray, "*batch"]
    alarms: Float[np.ndarray, "*batch"]
    passes: Float[np.ndarray, "*batch"]

    @property
    def images(self) -> Float[np.ndarray, "*batch"]:
        """Number of images."""
        images: np.ndarray = self.hits + self.misses + self.alarms + self.passes
        return images


@dataclass(frozen=True)
class DecisionMetric:
    """One figure of the decisions at one threshold.

    Args:
        title: What a report calls it.
        function: Decisions [*batch] → values [*batch]; NaN where undefined.
        counted: Decisions of single clusters → True where a cluster holds images that the figure counts.
        definition: One sentence for a reader who is no statistician.
        undefined: Why the function may answer NaN.
        proportion: It is a share of images.
    """

    title: str
    function: Callable[[Decisions], Float[np.ndarray, "*batch"]]
    counted: Callable[[Decisions], Bool[np.ndarray, "*batch"]]
    definition: str
    undefined: str
    proportion: bool = True


def sensitivity(found: Decisions) -> Float[np.ndarray, "*batch"]:
    """Hits ÷ positive images."""
    return ratio(found.hits, found.hits + found.misses)


def specificity(found: Decisions) -> Float[np.ndarray, "*batch"]:
    """Passes ÷ negative images."""
    return ratio(found.passes, found.passes + found.alarms)


def ppv(found: Decisions) -> Float[np.ndarray, "*batch"]:
    """Hits ÷ images called positive."""
    return ratio(found.hits, found.hits + found.alarms)


def npv(found: Decisions) -> Float[np.ndarray, "*batch"]:
    """Passes ÷ images called negative."""
    return ratio(found.passes, found.passes + found.misses)


def lr_positive(found: Decisions) -> Float[np.ndarray, "*batch"]:
    """Sensitivity ÷ (1 − specificity)."""
    return ratio(sensitivity(found), ratio(found.alarms, found.passes + found.alarms))


def lr_negative(found: Decisions) -> Float[np.ndarray, "*batch"]:
    """(1 − sensitivity) ÷ specificity."""
    return ratio(ratio(found.misses, found.hits + found.misses), specificity(found))


def ppv_at(found: Decisions, prevalence: float) -> Float[np.ndarray, "*batch"]:
    """Positive predictive value were ``prevalence`` of the images positive (Bayes)."""
    true = sensitivity(found) * prevalence
    return ratio(true, true + (1 - specificity(found)) * (1 - prevalence))


def npv_at(found: Decisions, prevalence: float) -> Float[np.ndarray, "*batch"]:
    """Negative predictive value were ``prevalence`` of the images positive (Bayes)."""
    true = specificity(found) * (1 - prevalence)
    return ratio(true, true + (1 - sensitivity(found)) * prevalence)


def net_benefit(found: Decisions, probability: float) -> Float[np.ndarray, "*batch"]:
    """Hits − alarms × odds(probability), ÷ images: what acting at or above ``probability`` is worth.

    Args:
        found: Decisions at the threshold ``probability``.
        probability: Probability at which one would act, above 0 and below 1.
    """
    return ratio(found.hits, found.images) - ratio(found.alarms, found.images) * probability / (1 - probability)


def ratio(
    part: Float[np.ndarray, "*batch"], whole: Float[np.ndarray, "*batch"], otherwise: float = np.nan
) -> Float[np.ndarray, "*batch"]:
    """Return part ÷ whole, and ``otherwise`` where the whole is 0 or unknown."""
    found: np.ndarray = np.full(np.shape(whole), otherwise)
    np.divide(part, whole, out=found, where=np.asarray(whole) > 0)
    return found


DECISION_METRICS: dict[str, DecisionMetric] = {
    "sensitivity": DecisionMetric(
        "Sensitivity",
        sensitivity,
        lambda each: each.hits + each.misses > 0,
        "Of the images that have the end point, the share called so.",
        "no image has the end point",
    ),
    "specificity": DecisionMetric(
        "Specificity",
        specificity,
        lambda each: each.passes + each.alarms > 0,
        "Of the images that do not have the end point, the share called so.",
        "every image has the end point",
    ),
    "ppv": DecisionMetric(
        "PPV",
        ppv,
        lambda each: each.hits + each.alarms > 0,
        "Positive predictive value: of the images called positive, the share that has the end point, at the prevalence "
        "of these images.",
        "no image is called positive",
    ),
    "npv": DecisionMetric(
        "NPV",
        npv,
        lambda each: each.passes + each.misses > 0,
        "Negative predictive value: of the images called negative, the share that does not have the end point, at the "
        "prevalence of these images.",
        "no image is called negative",
    ),
    "lr_positive": DecisionMetric(
        "LR+",
        lr_positive,
        lambda each: each.images > 0,
        "Positive likelihood ratio: how many times the odds of the end point grow when an image is called positive; "
        "1 says nothing.",
        "no image is called positive by mistake, or one of the two classes is missing",
        proportion=False,
    ),
    "lr_negative": DecisionMetric(
        "LR−",
        lr_negative,
        lambda each: each.images > 0,
        "Negative likelihood ratio: what the odds of the end point are multiplied by when an image is called negative; "
        "1 says nothing.",
        "no image is called negative rightly, or one of the two classes is missing",
        proportion=False,
    ),
}
"""Figures of the decisions at one threshold, by the name that metrics.json uses."""
