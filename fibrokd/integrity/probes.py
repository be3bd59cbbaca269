"""Linear probes: how well a stage, or a scanner, can be read off a few numbers that are not the liver.

Owns the discriminant and which margin numbers each probe sees. Scoring is done elsewhere.

Shape letters: N images, T test images, R training images, F features.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from fibrokd.data.margins import BORDER, GEOMETRY, OUTSIDE
from fibrokd.integrity.control_data import ControlData

_RIDGE = 0.05  # of the variance: numbers that hardly vary must not decide
_CONSTANT = 1e-6  # of a share or of 255 grey levels


def border_only(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Answer from the outermost ring of the frame."""
    return _probe(data, test, data.stages, (BORDER,))


def outside_fan(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Answer from everything outside the fan, and how the fan lies in it."""
    return _probe(data, test, data.stages, (OUTSIDE, GEOMETRY))


def fan_shape(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Answer from the shape of the fan alone: what masking leaves for the networks to see."""
    return _probe(data, test, data.stages, (GEOMETRY,))


def scanner_from_margins(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Name the scanner from all margin numbers."""
    return _probe(data, test, data.scanners, (OUTSIDE, BORDER, GEOMETRY))


def discriminant(
    known: Float[np.ndarray, "R F"], classes: Int[np.ndarray, " R"], asked: Float[np.ndarray, "T F"]
) -> Int[np.ndarray, " T"]:
    """Return the class of each row asked, by linear discriminant analysis with equal priors.

    Numbers are standardised and the pooled covariance within classes is ridged, so that constant and equal columns
    do no harm.

    Args:
        known: Features of the training rows.
        classes: Their classes.
        asked: Features of the test rows.

    References:
        Fisher, Ann Eugen 1936;7:179; Hastie et al., The Elements of Statistical Learning, section 4.3.
    """
    spread = known.std(axis=0)
    used = spread > _CONSTANT
    names = np.unique(classes)
    if not used.any():
        return np.full(len(asked), names[0], dtype=np.int64)
    centre, scale = known[:, used].mean(axis=0), spread[used]
    known, asked = (known[:, used] - centre) / scale, (asked[:, used] - centre) / scale
    means = np.stack([known[classes == name].mean(axis=0) for name in names])
    within = known - means[np.searchsorted(names, classes)]
    covariance = within.T @ within / len(known) + _RIDGE * np.eye(known.shape[1])
    weights = np.linalg.solve(covariance, means.T)
    scores = asked @ weights - 0.5 * np.einsum("kf,fk->k", means, weights)
    return np.asarray(names[scores.argmax(axis=1)], dtype=np.int64)


def _probe(
    data: ControlData, test: Bool[np.ndarray, " N"], classes: Int[np.ndarray, " N"], parts: tuple[slice, ...]
) -> Int[np.ndarray, " T"]:
    if data.margins is None:
        return np.zeros(int(test.sum()), dtype=np.int64)
    features = np.concatenate([data.margins[:, part] for part in parts], axis=1).astype(np.float64)
    return discriminant(features[~test], classes[~test], features[test])
