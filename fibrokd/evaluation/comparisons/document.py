"""What metrics.json says of the differences between networks on the same images.

Later minus earlier: networks come teacher, control, distilled, so that a gain through distillation is positive.
Accuracy, sensitivity and specificity are tested by the signs of clusters, areas by DeLong's test for clusters, the rest
by the bootstrap of its interval. p-values of one metric are corrected together, over all pairs of networks of a split.

Shape letters: G clusters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Int

from fibrokd.evaluation.comparisons.decisions import AtThreshold, compare_decisions
from fibrokd.evaluation.comparisons.delong import compare_areas
from fibrokd.evaluation.comparisons.p_values import bootstrap_p, holm
from fibrokd.evaluation.comparisons.signs import sign_test
from fibrokd.evaluation.end_points.sample import has_end_point, probability_of
from fibrokd.evaluation.intervals import (
    Bootstrap,
    Interval,
    as_json,
    paired_differences,
    paired_draws,
    rounded,
)
from fibrokd.evaluation.metrics import METRICS
from fibrokd.evaluation.pairing import in_order_of
from fibrokd.evaluation.totals import Totals, cluster_codes

BOOTSTRAP, SIGNS, DELONG = "bootstrap", "signs of clusters", "DeLong, clustered"
TESTS = {
    BOOTSTRAP: "twice the share of resamples on the other side of 0, as if one more were there: never 0",
    SIGNS: "McNemar's test for clusters: the difference in right answers against random signs of its clusters",
    DELONG: "DeLong's test for clusters (Obuchowski 1997), bounds by its normal approximation",
}
"""Name of a test → what it is."""

Thresholds = Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]]
"""Network and split → end point → rule → threshold fixed beforehand."""


def comparisons(samples: Sequence[Bootstrap], thresholds: Thresholds | None = None) -> list[dict[str, Any]]:
    """Return the differences of all pairs of networks that answered the same split.

    Args:
        samples: Answers and their resamples.
        thresholds: Those fixed for every network; where both of a pair have one, their decisions are compared as well.

    Returns:
        Entries ``{"split", "metric", "first", "second", "difference"}``, with ``end_point`` where the metric is
        ``auroc``, ``sensitivity`` or ``specificity``, with ``rule`` for the latter two, and with ``test``, ``p``,
        ``p_holm`` and ``family_size`` where there is an interval.

    Raises:
        TableError: Two networks answered different images of one split.
    """
    pairs = [(a, b) for a, b in combinations(samples, 2) if a.predictions.split == b.predictions.split]
    found = [
        entry
        for earlier, later in pairs
        for entry in (*_pair(later, earlier), *_decisions(later, earlier, thresholds or {}))
    ]
    families: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for entry in found:
        if "p" in entry:
            family = (entry["split"], entry["metric"], entry.get("end_point", ""), entry.get("rule", ""))
            families.setdefault(family, []).append(entry)
    for members in families.values():
        for entry, p_holm in zip(members, holm([entry["p"] for entry in members]), strict=True):
            entry["p"], entry["p_holm"], entry["family_size"] = rounded(entry["p"]), rounded(p_holm), len(members)
    return found


def _pair(first: Bootstrap, second: Bootstrap) -> Iterator[dict[str, Any]]:
    names = {"first": first.predictions.network, "second": second.predictions.network}
    differences = paired_differences(list(METRICS.values()), first, second)
    for metric, difference in zip(METRICS, differences, strict=True):
        entry = {"split": first.predictions.split, "metric": metric, **names, "difference": as_json(difference)}
        if difference.low is not None:
            entry |= _tested(metric, first, second)
        yield entry
    scale = first.predictions.scale
    for name, cutoff in zip(scale.cutoff_names, scale.cutoffs, strict=True):
        yield {"split": first.predictions.split, "metric": "auroc", "end_point": name, **names} | _areas(
            first, second, cutoff
        )


def _decisions(first: Bootstrap, second: Bootstrap, thresholds: Thresholds) -> Iterator[dict[str, Any]]:
    """Differences in sensitivity and specificity, by end point and by every rule that gave both a threshold."""
    part, other, scale = first.predictions, second.predictions, first.predictions.scale
    names = {"first": part.network, "second": other.network}
    own, its = (thresholds.get((each.network, each.split), {}) for each in (part, other))
    for end_point, cutoff in zip(scale.cutoff_names, scale.cutoffs, strict=True):
        limits, others = own.get(end_point, {}), its.get(end_point, {})
        for rule in (rule for rule in limits if rule in others):
            sides = AtThreshold(part, limits[rule]), AtThreshold(other, others[rule])
            for metric, (difference, p) in compare_decisions(*sides, cutoff, first.config):
                asked = {"split": part.split, "metric": metric, "end_point": end_point, "rule": rule, **names}
                yield {**asked, "difference": as_json(difference), **({} if p is None else {"test": SIGNS, "p": p})}


def _tested(metric: str, first: Bootstrap, second: Bootstrap) -> dict[str, Any]:
    if metric != "accuracy":
        return {"test": BOOTSTRAP, "p": bootstrap_p(paired_draws(METRICS[metric], first, second))}
    differences = _right(first.by_group) - _right(second.by_group)
    return {"test": SIGNS, "p": sign_test(differences)}


def _right(totals: Totals) -> Int[np.ndarray, " G"]:
    """Images staged right, by cluster."""
    right: np.ndarray = totals.confusion.trace(axis1=-2, axis2=-1)
    return right.astype(np.int64)


def _areas(first: Bootstrap, second: Bootstrap, cutoff: int) -> dict[str, Any]:
    part, other = first.predictions, in_order_of(first.predictions, second.predictions)
    positive, config = has_end_point(part, cutoff), first.config
    found = compare_areas(probability_of(part, cutoff), probability_of(other, cutoff), positive, cluster_codes(part))
    if found is None:
        nothing = "not estimable: fewer than two clusters have the end point, or fewer than two have it not"
        return {"difference": as_json(Interval(None, None, None, config.level, 0, nothing))}
    if found.clusters < config.min_clusters:
        note = f"no interval from {found.clusters} clusters (at least {config.min_clusters} needed)"
        return {"difference": as_json(Interval(found.value, None, None, config.level, found.clusters, note))}
    if not found.deviation or found.p is None:
        note = "no interval: all clusters differ alike"
        return {"difference": as_json(Interval(found.value, None, None, config.level, found.clusters, note))}
    bounds = found.bounds(config.level)
    difference = Interval(found.value, *bounds, config.level, found.clusters)
    return {"difference": as_json(difference), "test": DELONG, "p": found.p}
