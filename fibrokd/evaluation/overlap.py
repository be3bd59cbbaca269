"""One network's answers at each split level: how much of its figure rests on relatives of images it learned from.

At every level of evidence the test images are parted into those that would still be test images had the split been
made at that level, and those with a relative among the images that the network learned from. No network is trained
anew: these are the stored answers of the one that exists. Which images are related is decided by the integrity check;
nothing here looks at pixels, names or patients.

Shape letters: N images, G clusters, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped

from fibrokd.evaluation.intervals import (
    Bootstrap,
    BootstrapConfig,
    Interval,
    draw_counts,
    metric_interval,
    percentile_interval,
)
from fibrokd.evaluation.metrics import METRICS, Metric
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.totals import Totals, totals_by_group

LEARNED_FROM = ("train", "val")
"""Splits whose relatives count: weights come from the first, the epoch that is kept was chosen on the second."""

SCORES = ("accuracy", "balanced_accuracy")
"""Metrics that are given at every level."""

_POINTS = 100


@dataclass(frozen=True)
class Portion:
    """Some images of a split and what the network reaches on them.

    Args:
        images: Number of images.
        clusters: Number of clusters (all evidence) they come from.
        scores: Metric of :data:`SCORES` → value and interval.
    """

    images: int
    clusters: int
    scores: Mapping[str, Interval]


@dataclass(frozen=True)
class AtLevel:
    """What one level says about one network on one split.

    Args:
        left: Images without a relative at this level: legal test images of a split made at it.
        related: The others.
        gap_points: Metric → figure on all images minus figure on those left, in points (hundredths); positive where
            relatives lifted the figure.
    """

    left: Portion
    related: Portion
    gap_points: Mapping[str, Interval]


def relatives(
    image_ids: Sequence[str], splits: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, frozenset[str]]]:
    """Return, per split and level, the images that share a group with an image that networks learned from.

    Args:
        image_ids: Id of every image of the collection.
        splits: Split of every image.
        levels: Level → group of every image.

    Returns:
        Split → level → image ids. ``train`` is left out, its images being learned from themselves; relatives of
        ``val`` images are looked for in train alone.
    """
    found: dict[str, dict[str, frozenset[str]]] = {}
    for split in dict.fromkeys(splits):
        if split == "train":
            continue
        sources = set(LEARNED_FROM) - {split}
        found[split] = {level: _tied(image_ids, splits, groups, split, sources) for level, groups in levels.items()}
    return found


def _tied(
    image_ids: Sequence[str], splits: Sequence[str], groups: Sequence[str], split: str, sources: set[str]
) -> frozenset[str]:
    learned = {group for group, place in zip(groups, splits, strict=True) if place in sources}
    rows = zip(image_ids, splits, groups, strict=True)
    return frozenset(image_id for image_id, place, group in rows if place == split and group in learned)


def at_levels(sample: Bootstrap, tied: Mapping[str, frozenset[str]]) -> dict[str, AtLevel]:
    """Return what every level says about one network on one split.

    All images and those left are evaluated on the same resamples of whole clusters, so that the interval of the gap
    is that of a paired difference.

    Args:
        sample: Answers and their resamples.
        tied: Level → ids of the images with a relative, see :func:`relatives`.

    Returns:
        Level → figures. Not estimable are figures on no image, on fewer clusters than intervals need, and where a
        stage that the split has is missing: they would not compare.
    """
    seen: dict[bytes, AtLevel] = {}
    found = {}
    for level, ids in tied.items():
        related = np.array([image_id in ids for image_id in sample.predictions.image_ids], dtype=np.bool_)
        # Levels that tie the same images share their figures; on an honest split all of them do.
        if related.tobytes() not in seen:
            seen[related.tobytes()] = _at_level(sample, related)
        found[level] = seen[related.tobytes()]
    return found


def _at_level(sample: Bootstrap, related: Bool[np.ndarray, " N"]) -> AtLevel:
    left, others = _restricted(sample, ~related), _restricted(sample, related)
    refused = _refusal(sample, ~related, "lacks a relative")
    return AtLevel(
        left=_portion(left, sample.config, refused),
        related=_portion(others, sample.config, _refusal(sample, related, "has a relative")),
        gap_points={name: _gap(METRICS[name], sample, left, refused) for name in SCORES},
    )


def _refusal(sample: Bootstrap, kept: Bool[np.ndarray, " N"], which: str) -> str:
    """Return why nothing can be said of these images, or ""."""
    part, least = sample.predictions, sample.config.min_clusters
    if kept.all():
        return ""  # these are the figures of the whole split, whatever they are worth
    if not kept.any():
        return f"not estimable: no image {which} at this level"
    clusters = len(_groups_of(part, kept))
    if clusters < least:
        return f"not estimable: only {clusters} clusters hold an image that {which} (at least {least} needed)"
    missing = sorted(set(part.truth.tolist()) - set(part.truth[kept].tolist()))
    if missing:
        return f"not estimable: no image of stage {', '.join(part.scale.names[k] for k in missing)} {which}"
    return ""


def _restricted(sample: Bootstrap, kept: Bool[np.ndarray, " N"]) -> Bootstrap | None:
    """Return the same resamples with only some of the images counted; ``None`` if there are none."""
    if kept.all():
        return sample
    if not kept.any():
        return None
    part = sample.predictions
    some = part.rows(np.flatnonzero(kept))
    by_group = totals_by_group(some)
    columns = np.searchsorted(_groups_of(part), _groups_of(some))  # both in the order that totals are in
    blocks = [by_group.weighted(block[:, columns]) for block in draw_counts(sample.clusters, sample.config)]
    resampled = Totals(
        np.concatenate([block.confusion for block in blocks]),
        np.concatenate([block.surprise for block in blocks]),
        np.concatenate([block.squared_error for block in blocks]),
    )
    return Bootstrap(some, by_group, by_group.pooled(), resampled, sample.config)


def _groups_of(part: Predictions, kept: Bool[np.ndarray, " N"] | None = None) -> Shaped[np.ndarray, " G"]:
    groups = np.array(part.groups, dtype=np.str_)
    return np.unique(groups if kept is None else groups[kept])


def _portion(part: Bootstrap | None, config: BootstrapConfig, refused: str) -> Portion:
    images, clusters = (len(part.predictions), part.clusters) if part else (0, 0)
    if part is None or refused:
        nothing = Interval(None, None, None, config.level, clusters, refused)
        return Portion(images, clusters, dict.fromkeys(SCORES, nothing))
    return Portion(images, clusters, {name: metric_interval(METRICS[name], part) for name in SCORES})


def _gap(metric: Metric, whole: Bootstrap, left: Bootstrap | None, refused: str) -> Interval:
    config = whole.config
    if left is None or refused:
        return Interval(None, None, None, config.level, left.clusters if left else 0, refused)
    if left is whole:
        note = "zero by construction: no image is left out"
        return Interval(0.0, None, None, config.level, whole.clusters, note)
    value = _POINTS * float((metric.function(whole.pooled) - metric.function(left.pooled))[0])
    if float(metric.function(left.pooled)[0]) in (0.0, 1.0):
        # Percentiles would take the figure on the images left for certain.
        note = "no interval: all clusters gave the same answer on the images left"
        return Interval(value, None, None, config.level, left.clusters, note)
    # Resamples that happen to hold none of the images left say nothing about the gap.
    drawn = _POINTS * (metric.function(whole.resampled) - metric.function(left.resampled))
    return percentile_interval(value, drawn, left.clusters, config)
