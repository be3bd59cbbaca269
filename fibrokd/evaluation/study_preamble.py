"""What a reader of a study's tables must know about its figures: intervals, seeds, families of tests. Words only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = """\
Means over seeds on the test images; brackets: {level:g} % percentile intervals over clusters of images that belong
together ({resamples} resamples), not corrected for the number of comparisons. They hold for these trained networks.

± is the standard deviation between seeds. All seeds share the teachers, the views of the training images and their
order, so it covers initial weights and dropout, and nothing else: not another teacher, not other augmentation, not
other patients.

p-values are two-sided and corrected by Holm's procedure within a family, for each student, training fraction and
metric. Arms that declare nothing form one family per reference arm (`none`, `kd`). An arm that declared what it is
compared with before anything was trained has a family of its own, of the arms it named; with declared endpoints these
are corrected together, and its other metrics are not tested. One comparison declared alone is not corrected. Control
arms are in no family but those of the arms that name them. Nothing is corrected over families: each of them answers a
question of its own.

A difference is called better or worse where its corrected p is below {alpha:.2g}.

ECE is too high by the noise of its bins, and resampling adds more: percentiles would lie above it. Its brackets are
symmetric bootstrap bounds (the value ± the {level:g} % quantile of the distance of the resamples from it), cut to
possible values; for a network that is nearly calibrated they still begin a little too high. Its differences are not
tested."""


def preamble(document: Mapping[str, Any]) -> str:
    """Return the paragraphs that stand above the tables.

    Args:
        document: Content of study.json.
    """
    b = document["bootstrap"]
    return _WORDS.format(level=100 * b["level"], resamples=b["resamples"], alpha=1 - b["level"])
