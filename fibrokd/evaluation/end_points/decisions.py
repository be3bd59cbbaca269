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
from jaxtyping import Float


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
        clusters: Decisions of single clusters [G] → how many of them the figure rests on.
        definition: One sentence for a reader who is no statistician.
        undefined: Why the function may answer NaN.
        proportion: It is a share of images.
    """

    title: str
    function: Callable[[Decisions], Float[np.ndarray, "*batch"]]
    clusters: Callable[[Decisions], int]
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
    """Sensitivity ÷ (1 − specificity); infinite where there are hits and no alarms."""
    return _odds(sensitivity(found), ratio(found.alarms, found.passes + found.alarms))


def lr_negative(found: Decisions) -> Float[np.ndarray, "*batch"]:
    """(1 − sensitivity) ÷ specificity; infinite where there are misses and no passes."""
    return _odds(ratio(found.misses, found.hits + found.misses), specificity(found))


def ppv_at(found: Decisions, prevalence: float) -> Float[np.ndarray, "*batch"]:
    """Positive predictive value were ``prevalence`` of the images positive."""
    return bayes(sensitivity(found), 1 - specificity(found), prevalence)


def npv_at(found: Decisions, prevalence: float) -> Float[np.ndarray, "*batch"]:
    """Negative predictive value were ``prevalence`` of the images positive."""
    return bayes(specificity(found), 1 - sensitivity(found), 1 - prevalence)


def bayes(
    right: Float[np.ndarray, "*batch"], wrong: Float[np.ndarray, "*batch"], prior: float
) -> Float[np.ndarray, "*batch"]:
    """Return how many of those called something are it (Bayes' rule).

    Args:
        right: Share of those that are it that are called so.
        wrong: Share of the others that are called so.
        prior: Share that is it.
    """
    true = right * prior
    return ratio(true, true + wrong * (1 - prior))


def net_benefit(found: Decisions, probability: float) -> Float[np.ndarray, "*batch"]:
    """Hits − alarms × odds(probability), ÷ images: what acting at or above ``probability`` is worth.

    Args:
        found: Decisions at the threshold ``probability``.
        probability: Probability at which one would act, above 0 and below 1.
    """
    return ratio(found.hits, found.images) - ratio(found.alarms, found.images) * probability / (1 - probability)


def both_classes(each: Decisions) -> int:
    """Return as many clusters as the smaller class has: the other one cannot make up for it."""
    positive, negative = each.hits + each.misses, each.alarms + each.passes
    return int(min((positive > 0).sum(), (negative > 0).sum()))


def _holding(images: Float[np.ndarray, " G"]) -> int:
    return int((images > 0).sum())


def _odds(above: Float[np.ndarray, "*batch"], below: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    return np.where((below == 0) & (above > 0), np.inf, ratio(above, below))


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
        lambda each: _holding(each.hits + each.misses),
        "Of the images that have the end point, the share called so.",
        "no image has the end point",
    ),
    "specificity": DecisionMetric(
        "Specificity",
        specificity,
        lambda each: _holding(each.passes + each.alarms),
        "Of the images that do not have the end point, the share called so.",
        "every image has the end point",
    ),
    "ppv": DecisionMetric(
        "PPV",
        ppv,
        lambda each: _holding(each.hits + each.alarms),
        "Positive predictive value: of the images called positive, the share that has the end point, at the prevalence "
        "of these images.",
        "no image is called positive",
    ),
    "npv": DecisionMetric(
        "NPV",
        npv,
        lambda each: _holding(each.passes + each.misses),
        "Negative predictive value: of the images called negative, the share that does not have the end point, at the "
        "prevalence of these images.",
        "no image is called negative",
    ),
    "lr_positive": DecisionMetric(
        "LR+",
        lr_positive,
        both_classes,
        "Positive likelihood ratio: how many times the odds of the end point grow when an image is called positive; "
        "1 says nothing.",
        "without a false alarm it is infinite, and without hits or one of the two classes unknown",
        proportion=False,
    ),
    "lr_negative": DecisionMetric(
        "LR−",
        lr_negative,
        both_classes,
        "Negative likelihood ratio: what the odds of the end point are multiplied by when an image is called negative; "
        "1 says nothing.",
        "where no image is called negative rightly it is infinite, and without one of the two classes unknown",
        proportion=False,
    ),
}
"""Figures of the decisions at one threshold, by the name that metrics.json uses."""
