"""Temperature scaling: one number, fitted on validation answers, by which a network's log-probabilities are divided.

It moves no predicted stage. Above 1 the network was too sure.

Shape letters: N images, K stages.

Reference: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599 (section 4.2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from fibrokd.evaluation.fixed_beforehand import Validation
from fibrokd.evaluation.intervals import MIN_CLUSTERS
from fibrokd.evaluation.predictions import Predictions

LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures that are tried."""
_LEAST = float(np.finfo(np.float64).tiny)  # the logarithm of 0 is not a number to divide


class Fitted(NamedTuple):
    """A temperature; 1 where there is none, and why.

    Args:
        value: The temperature.
        refused: Why there is none; empty otherwise.
    """

    value: float
    refused: str


def fitted(validation: Validation, least: int = MIN_CLUSTERS) -> Fitted:
    """Return the temperature of a network, or why its validation answers hold none.

    Args:
        validation: Its answers on validation images, or why there are none.
        least: Clusters of images below which none is fitted.
    """
    if isinstance(validation, str):
        return Fitted(1.0, validation)
    clusters = len(set(validation.groups))
    if clusters < least:
        return Fitted(1.0, f"the validation images are of {clusters} clusters only (at least {least} needed)")
    value = fit_temperature(validation)
    if not LOWEST * 1.001 < value < HIGHEST * 0.999:
        return Fitted(1.0, f"the validation answers hold no evidence against {value:.3g}, the most extreme one tried")
    return Fitted(value, "")


def fit_temperature(validation: Predictions) -> float:
    """Return the temperature with the lowest log loss on validation images, between :data:`LOWEST` and :data:`HIGHEST`.

    The loss is convex in 1 / T, so that there is one minimum; at a bound the answers hold no evidence against it, as
    where every image is staged right.
    """
    logits, rows = _log(validation), np.arange(len(validation))

    def loss(inverse: float) -> float:
        return -float(log_softmax(logits * inverse, axis=1)[rows, validation.truth].mean())

    best = minimize_scalar(loss, bounds=(1 / HIGHEST, 1 / LOWEST), method="bounded", options={"xatol": 1e-8})
    return 1 / float(best.x)


def scaled(answers: Predictions, temperature: float) -> Predictions:
    """Return the answers at a temperature.

    Args:
        answers: Answers.
        temperature: Above 0; 1 changes nothing.
    """
    return replace(answers, probabilities=np.exp(log_softmax(_log(answers) / temperature, axis=1)))


def _log(answers: Predictions) -> Float[np.ndarray, "N K"]:
    logarithms: np.ndarray = np.log(np.maximum(answers.probabilities.astype(np.float64), _LEAST))
    return logarithms
