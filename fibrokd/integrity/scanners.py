"""Whether the stage goes with the scanner: a network may then learn machines instead of livers.

Owns the association of stage with scanner and site, and how well the scanner itself can be recognised. It judges
nothing.

Shape letters: N images, T test images, G groups, B bootstrap replicates, S scanners, K stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import chi2_contingency

from fibrokd.integrity.control_data import LEAST_KNOWN, ControlData, scanner_codes
from fibrokd.integrity.levels import Level, cluster_scores, draw_weights, interval_of
from fibrokd.integrity.probes import scanner_from_margins


def from_scanner(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    """Answer with the stage that is most over-represented on the scanner, no picture at hand."""
    machines = int(data.scanners.max()) + 1
    counts = np.zeros((machines + 1, int(data.stages.max()) + 1))  # the last row: scanner unknown (-1)
    np.add.at(counts, (data.scanners[~test], data.stages[~test]), 1)
    share = counts / np.maximum(counts.sum(axis=0), 1)
    return np.asarray(share.argmax(axis=1)[data.scanners[test]], dtype=np.int64)


def scanners_known(data: ControlData) -> bool:
    """Return whether there is anything to look at: two scanners or more, known for nearly all images."""
    return bool(data.scanners.max() > 0 and (data.scanners >= 0).mean() >= LEAST_KNOWN)


def scanner_association(
    table: pd.DataFrame, stages: Int[np.ndarray, " N"], codes: Int[np.ndarray, " N"], replicates: int = 1000
) -> dict[str, Any]:
    """Return how strongly stage and scanner go together, counting every group once.

    Args:
        table: Manifest rows; reads ``scanner`` and ``site``.
        stages: Stage index of every row.
        codes: Group number of every row.
        replicates: Bootstrap replicates of the interval.

    Returns:
        ``scanners`` and ``groups`` counted, ``cramers_v`` (bias-corrected: value, low, high; groups resampled) and
        ``p`` of the chi-square test of independence; empty with fewer than two scanners or stages.

    References:
        Bergsma, J Korean Stat Soc 2013;42:323, DOI 10.1016/j.jkss.2012.10.002 (correction).
    """
    scanners = scanner_codes(table)
    counts = _group_counts(scanners[scanners >= 0], stages[scanners >= 0], codes[scanners >= 0])
    if min(counts.shape) < 2:
        return {}
    total = int(counts.sum())
    drawn = np.random.default_rng(0).multinomial(total, counts.ravel() / total, size=replicates)
    resampled = _cramers_v(drawn.reshape(replicates, *counts.shape).astype(np.float64), draws=2)
    value = float(_cramers_v(counts[None])[0])
    return {
        "scanners": len(counts),
        "groups": total,
        "cramers_v": interval_of(value, resampled, total),
        "p": float(f"{chi2_contingency(counts).pvalue:.3g}"),
    }


def recognisable(data: ControlData, level: Level) -> dict[str, dict[str, Any]]:
    """Return how well the scanner itself is recognised, groups kept together: balanced accuracy with interval.

    Args:
        data: What the controls see.
        level: Level whose folds are used, of the first seed only.

    Returns:
        ``margins`` (from the numbers about the outside) and ``thumbnails`` (from the most similar thumbnail of another
        group); what there is no material for is left out.
    """
    known = np.asarray(data.scanners >= 0)
    answers: dict[str, Callable[[Bool[np.ndarray, " N"]], Int[np.ndarray, " T"]]] = {
        "thumbnails": lambda test: _nearest_scanner(data, test)
    }
    if data.margins is not None:
        answers["margins"] = lambda test: scanner_from_margins(data, test)
    weights = draw_weights(int(level.clusters.max()) + 1, level.replicates)
    found = {}
    for name, answer in sorted(answers.items()):
        correct = np.zeros(len(data.stages))
        for test, seed in level.rounds():
            if seed == 0:
                correct[test] = answer(test) == data.scanners[test]
        scores = cluster_scores(correct[known], data.scanners[known], level.clusters[known], weights)
        found[name] = scores["balanced_accuracy"]
    return found


def _nearest_scanner(data: ControlData, test: Bool[np.ndarray, " N"]) -> Int[np.ndarray, " T"]:
    rows, train = np.flatnonzero(test), np.flatnonzero(~test)
    return np.asarray(data.scanners[train[data.distances[np.ix_(rows, train)].argmin(axis=1)]], dtype=np.int64)


def _group_counts(
    scanners: Int[np.ndarray, " N"], stages: Int[np.ndarray, " N"], codes: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "S K"]:
    """Count groups by scanner and stage, each under its most frequent one; those that never occur are left out."""
    groups = np.unique(codes, return_inverse=True)[1]
    each = []
    for values in (scanners, stages):
        counts = np.zeros((len(np.unique(codes)), int(values.max(initial=0)) + 1), dtype=np.int32)
        np.add.at(counts, (groups, values), 1)
        each.append(counts.argmax(axis=1))
    table = np.zeros((int(scanners.max(initial=0)) + 1, int(stages.max(initial=0)) + 1))
    np.add.at(table, tuple(each), 1)
    return table[table.any(axis=1)][:, table.any(axis=0)]


def _cramers_v(counts: Float[np.ndarray, "B S K"], draws: int = 1) -> Float[np.ndarray, " B"]:
    """Bias-corrected Cramér's V of every table; 0 where a table has one row or column only.

    Args:
        counts: Tables.
        draws: How often chance was at work: a resample repeats the chance of its sample, and is corrected twice.
    """
    total = counts.sum(axis=(1, 2))
    rows, columns = counts.sum(axis=2), counts.sum(axis=1)
    expected = rows[:, :, None] * columns[:, None, :] / total[:, None, None]
    squares = np.square(counts - expected) / np.where(expected > 0, expected, 1.0)
    phi = squares.sum(axis=(1, 2)) / total
    r, k = (rows > 0).sum(axis=1), (columns > 0).sum(axis=1)
    corrected = np.maximum(0.0, phi - draws * (r - 1) * (k - 1) / (total - 1))
    least = np.minimum(r - (r - 1) ** 2 / (total - 1), k - (k - 1) ** 2 / (total - 1)) - 1
    v: np.ndarray = np.sqrt(corrected / np.maximum(least, 1e-9)) * (least > 0)
    return v
