"""The metrics: explicit tables of pure functions of :class:`~fibrokd.evaluation.totals.Totals`.

Every function works on many sets of images at once (one or more leading axes) and answers NaN where its metric is
not defined; the caller turns NaN into "not estimable" with the reason stated in the table. Nothing here resamples,
formats or reads files.

Shape letters: K stages; ``*batch`` one or more leading axes. C[i, j] counts images of true stage i predicted as j.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from fibrokd.evaluation.totals import Totals


@dataclass(frozen=True)
class Metric:
    """One number per set of images.

    Args:
        title: What a report calls it.
        function: Totals [*batch] → values [*batch]; NaN where undefined.
        definition: One sentence for a reader who is no statistician.
        undefined: Why the function may answer NaN.
        higher_is_better: Direction.
        proportion: It is a share of images, so that "none of n clusters failed" has an exact bound.
    """

    title: str
    function: Callable[[Totals], Float[np.ndarray, "*batch"]]
    definition: str
    undefined: str
    higher_is_better: bool = True
    proportion: bool = False


@dataclass(frozen=True)
class StageMetric:
    """One number per stage.

    Args:
        title: What a report calls it.
        function: Confusion matrices [*batch, K, K] → values [*batch, K]; NaN where undefined.
        counted: Confusion matrices → True where a set holds images that the metric of that stage counts.
        definition: One sentence for a reader who is no statistician.
        undefined: Why the function may answer NaN.
        proportion: It is a share of images.
    """

    title: str
    function: Callable[[Float[np.ndarray, "*batch K K"]], Float[np.ndarray, "*batch K"]]
    counted: Callable[[Float[np.ndarray, "*batch K K"]], Bool[np.ndarray, "*batch K"]]
    definition: str
    undefined: str
    proportion: bool = True


# --------------------------------------------------------------------------- per stage
def precision(C: Float[np.ndarray, "*batch K K"]) -> Float[np.ndarray, "*batch K"]:
    """C[k, k] ÷ Σᵢ C[i, k]."""
    return _ratio(_diagonal(C), C.sum(axis=-2))


def recall(C: Float[np.ndarray, "*batch K K"]) -> Float[np.ndarray, "*batch K"]:
    """C[k, k] ÷ Σⱼ C[k, j]."""
    return _ratio(_diagonal(C), C.sum(axis=-1))


def f1(C: Float[np.ndarray, "*batch K K"]) -> Float[np.ndarray, "*batch K"]:
    """2 C[k, k] ÷ (Σⱼ C[k, j] + Σᵢ C[i, k]); 0 for a stage that occurs but is never predicted, and the reverse."""
    return _ratio(2 * _diagonal(C), C.sum(axis=-1) + C.sum(axis=-2))


def specificity(C: Float[np.ndarray, "*batch K K"]) -> Float[np.ndarray, "*batch K"]:
    """Images of other stages not predicted as k ÷ images of other stages."""
    others = C.sum(axis=(-2, -1))[..., None] - C.sum(axis=-1)
    false_alarms = C.sum(axis=-2) - _diagonal(C)
    return _ratio(others - false_alarms, others)


# --------------------------------------------------------------------------- over all stages
def accuracy(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Trace of C ÷ N."""
    return _ratio(_diagonal(totals.confusion).sum(axis=-1), totals.images)


def balanced_accuracy(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Mean recall over the stages that occur in the truth (the convention of scikit-learn)."""
    return _mean_of_defined(recall(totals.confusion))


def macro_f1(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Mean F1 over the stages that occur in the truth or among the predictions (the convention of scikit-learn)."""
    return _mean_of_defined(f1(totals.confusion))


def quadratic_kappa(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Cohen's kappa with weights (i − j)² over the whole scale.

    Reference: Cohen, Psychological Bulletin 70 (1968) 213–220, DOI 10.1037/h0026256.
    """
    C = totals.confusion
    weights = _distances(C.shape[-1]) ** 2
    observed = (weights * C).sum(axis=(-2, -1)) * totals.images
    chance = np.einsum("...i,ij,...j->...", C.sum(axis=-1), weights, C.sum(axis=-2))
    return 1 - _ratio(observed, chance)


def mean_absolute_stage_error(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Σ |i − j| C[i, j] ÷ N, in stages."""
    distances = _distances(totals.confusion.shape[-1])
    return _ratio((distances * totals.confusion).sum(axis=(-2, -1)), totals.images)


def adjacent_accuracy(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Share of images with |i − j| ≤ 1."""
    near = _distances(totals.confusion.shape[-1]) <= 1
    return _ratio((near * totals.confusion).sum(axis=(-2, -1)), totals.images)


def log_loss(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Mean −ln(probability of the true stage), nats; ln K for a network that knows nothing and says so."""
    return _ratio(totals.surprise, totals.images)


def brier(totals: Totals) -> Float[np.ndarray, "*batch"]:
    """Mean over images of Σₖ (pₖ − truthₖ)², from 0 to 2.

    Reference: Brier, Monthly Weather Review 78 (1950) 1–3.
    """
    return _ratio(totals.squared_error, totals.images)


_EMPTY = "there are no images"
METRICS: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", accuracy, "Share of images staged exactly right.", _EMPTY, proportion=True),
    "balanced_accuracy": Metric(
        "Balanced accuracy",
        balanced_accuracy,
        "Mean over the stages of the share of their images staged exactly right; chance is 1 ÷ number of stages.",
        _EMPTY,
    ),
    "macro_f1": Metric(
        "Macro-F1",
        macro_f1,
        "Mean over the stages of F1, the harmonic mean of precision and recall: every stage counts the same.",
        _EMPTY,
    ),
    "quadratic_kappa": Metric(
        "Quadratic kappa",
        quadratic_kappa,
        "Agreement beyond chance, an error weighing the square of its distance in stages; 0 is chance, 1 is perfect.",
        "all images have one and the same true and predicted stage",
    ),
    "mean_absolute_stage_error": Metric(
        "Mean absolute stage error",
        mean_absolute_stage_error,
        "Mean distance between predicted and true stage, in stages; lower is better.",
        _EMPTY,
        higher_is_better=False,
    ),
    "adjacent_accuracy": Metric(
        "Adjacent accuracy",
        adjacent_accuracy,
        "Share of images staged right or one stage off.",
        _EMPTY,
        proportion=True,
    ),
    "log_loss": Metric(
        "Log loss",
        log_loss,
        "How surprised the network is by the truth, in nats; punishes confident errors; lower is better.",
        _EMPTY,
        higher_is_better=False,
    ),
    "brier": Metric(
        "Brier score",
        brier,
        "Squared error of the stage probabilities, 0 to 2; lower is better.",
        _EMPTY,
        higher_is_better=False,
    ),
}
"""Metrics over all stages, by the name that metrics.json uses."""

HEADLINE = ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa")
"""The metrics of headline tables and paired comparisons."""

STAGE_METRICS: dict[str, StageMetric] = {
    "precision": StageMetric(
        "Precision",
        precision,
        lambda C: C.sum(axis=-2) > 0,
        "Of the images called this stage, the share that truly is.",
        "no image is predicted as this stage",
    ),
    "recall": StageMetric(
        "Recall",
        recall,
        lambda C: C.sum(axis=-1) > 0,
        "Of the images of this stage, the share called so (sensitivity).",
        "no image has this true stage",
    ),
    "f1": StageMetric(
        "F1",
        f1,
        lambda C: C.sum(axis=-1) + C.sum(axis=-2) > 0,
        "Harmonic mean of precision and recall.",
        "no image has this stage as truth or prediction",
        proportion=False,
    ),
    "specificity": StageMetric(
        "Specificity",
        specificity,
        lambda C: C.sum(axis=(-2, -1))[..., None] - C.sum(axis=-1) > 0,
        "Of the images of other stages, the share not called this stage.",
        "no image has another true stage",
    ),
}
"""Metrics of single stages, by the name that metrics.json uses."""


def _diagonal(C: Float[np.ndarray, "*batch K K"]) -> Float[np.ndarray, "*batch K"]:
    return np.diagonal(C, axis1=-2, axis2=-1)


def _distances(K: int) -> Float[np.ndarray, "K K"]:
    return np.abs(np.subtract.outer(np.arange(K, dtype=np.float64), np.arange(K, dtype=np.float64)))


def _ratio(part: Float[np.ndarray, "*shape"], whole: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    ratio: np.ndarray = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean_of_defined(values: Float[np.ndarray, "*batch K"]) -> Float[np.ndarray, "*batch"]:
    defined = np.isfinite(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1, dtype=np.float64))
