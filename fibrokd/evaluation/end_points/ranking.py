"""How well probabilities rank the images that have an end point above those that have not: AUROC, average precision.

Images are sorted once; after that every resample of their clusters costs a few sums. Ties count one half in AUROC, and
share one threshold in average precision.

Shape letters: N images, P of them positive, Q negative, M of one class, G clusters, R resamples, r of a block.

References:
    Hanley and McNeil, Radiology 143 (1982) 29–36, DOI 10.1148/radiology.143.1.7063747 (area as Mann and Whitney's U).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

from fibrokd.evaluation.end_points.decisions import ratio
from fibrokd.evaluation.threads import in_threads

_BLOCK = 2**20  # images × resamples at a time: they stay within a processor's cache, and within bounds


@dataclass(frozen=True, eq=False)
class Ranking:
    """Images of one end point in the order of their scores; made by :func:`rank`.

    Args:
        positive: Clusters of the positive images, by ascending score.
        negative: Clusters of the negative images, by ascending score.
        first: For every positive image, how many positive ones score less; ``None`` where no two score alike.
        below: For every positive image, how many negative ones score less.
        upto: For every positive image, how many negative ones score no more; ``None`` where none scores alike.
    """

    positive: Int[np.ndarray, " P"]
    negative: Int[np.ndarray, " Q"]
    first: Int[np.ndarray, " P"] | None
    below: Int[np.ndarray, " P"]
    upto: Int[np.ndarray, " P"] | None

    def areas(self, weights: Integer[np.ndarray, "R G"]) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
        """Return AUROC and average precision of R weighted sets of clusters; NaN where a class has no weight.

        Args:
            weights: How often each cluster counts.
        """
        step = max(1, _BLOCK // (len(self.positive) + len(self.negative)))
        blocks = in_threads(self._areas, [weights[start : start + step] for start in range(0, len(weights), step)])
        auroc, precision = (np.concatenate(area) for area in zip(*blocks, strict=True))
        return auroc, precision

    def _areas(self, weights: Integer[np.ndarray, "r G"]) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
        own = weights[:, self.positive]
        positives, negatives = _sums_before(own), _sums_before(weights[:, self.negative])
        all_positives, all_negatives = positives[:, -1:], negatives[:, -1:]
        lower = negatives[:, self.below]
        hits = all_positives - (positives[:, :-1] if self.first is None else positives[:, self.first])
        called = hits + (all_negatives - lower)
        # Images without weight ask for nothing, and their precision may be 0 ÷ 0.
        reached = (own * (hits / np.maximum(called, 1))).sum(axis=1)
        beaten = 2 * lower if self.upto is None else lower + negatives[:, self.upto]
        won = np.multiply(own, beaten, dtype=np.int64).sum(axis=1) / 2
        one, other = all_positives[:, 0].astype(np.float64), all_negatives[:, 0].astype(np.float64)
        # Without negative images precision is 1 whatever the order: no figure of the network.
        return ratio(won, one * other), np.where(one * other > 0, ratio(reached, one), np.nan)


def rank(scores: Float[np.ndarray, " N"], positive: Bool[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]) -> Ranking:
    """Sort the images of one end point.

    Args:
        scores: Probability of the end point.
        positive: Who has it.
        clusters: Cluster of every image, counted from 0.
    """
    order = np.argsort(scores, kind="stable")
    with_it, without = order[positive[order]], order[~positive[order]]
    own, others = scores[with_it], scores[without]
    first, below = np.searchsorted(own, own, side="left"), np.searchsorted(others, own, side="left")
    upto = np.searchsorted(others, own, side="right")
    return Ranking(
        positive=clusters[with_it],
        negative=clusters[without],
        first=None if np.array_equal(first, np.arange(len(own))) else first,
        below=below,
        upto=None if np.array_equal(below, upto) else upto,
    )


def _sums_before(values: Integer[np.ndarray, "r M"]) -> Int[np.ndarray, "r M+1"]:
    # Half as wide as usual where that is enough: sums are read in random order, and should stay in the cache.
    kind = np.int32 if values.shape[1] * int(values.max(initial=0)) < 2**30 else np.int64
    sums = np.zeros((values.shape[0], values.shape[1] + 1), dtype=kind)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
