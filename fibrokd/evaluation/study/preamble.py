"""What a reader of a study's tables must know about its figures: intervals, seeds, families of tests. Words only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.study.pooled import LEAST_SEEDS

_WORDS = """\
{test}

Means over seeds on the test images; brackets: {level:g} % percentile intervals over clusters of images that belong
together ({resamples} resamples), not corrected for the number of comparisons. They hold for these trained networks.
Stage error is the mean distance from the true stage, in stages; like quadratic kappa it takes stages as equally far
apart.

± is the standard deviation between seeds. All seeds share the teachers, the views of the training images and their
order, so it covers initial weights and dropout, and nothing else: not another teacher, not other augmentation, not
other patients.

p-values are of arms, not of these networks: they count how far trainings of one arm differ, as well as patients. That
is taken from all arms of the table (its standard deviation stands above the differences); an arm whose seeds clearly
differ more counts with its own. Arms means: with this teacher, these views and this order; and trainings that fail once
in a while may not have failed yet. Below {seeds} seeds nothing is called better or worse; where an arm has one
training, the p-value is that of the networks, and says so.

p-values are two-sided and corrected by Holm's procedure within a family, for each student, training fraction and
metric. Arms that declare nothing form one family per reference arm (`none`, `kd`). An arm that declared what it is
compared with before anything was trained has a family of its own, of the arms it named; with declared endpoints these
are corrected together, and its other metrics are not tested. One comparison declared alone is not corrected. Control
arms are in no family but those of the arms that name them. Nothing is corrected over families: each of them answers a
question of its own.

Better or worse is what has a corrected p below {alpha:.2g}. Brackets of differences are over patients alone, and may
leave out 0 where trainings of one arm differ as much.

ECE is too high by the noise of its bins, and resampling adds more: percentiles would lie above it. Its brackets are
symmetric bootstrap bounds (the value ± the {level:g} % quantile of the distance of the resamples from it), cut to
possible values; for a network that is nearly calibrated they still begin a little too high. Where one of two arms is
nearly calibrated, that noise hides a part of their difference: brackets of differences are wider by it, and the value
itself is too near to 0. They are not tested.

MB counts four bytes per parameter, and of quantised weights their bits. ms is the least time of one image in PyTorch
among all networks of the study that are built alike (backbone, stages, number of parameters): a single one was
measured right after its training, beside whatever else the machine did. Shapes of few networks may still show that."""


def preamble(document: Mapping[str, Any]) -> str:
    """Return the paragraphs that stand above the tables.

    Args:
        document: Content of study.json.
    """
    b = document["bootstrap"]
    return _WORDS.format(
        test=_test_images(document),
        level=100 * b["level"],
        resamples=b["resamples"],
        alpha=1 - b["level"],
        seeds=LEAST_SEEDS,
    )


def _test_images(document: Mapping[str, Any]) -> str:
    """What the figures were found on."""
    row = max(document["rows"], key=lambda row: len(row["stages"]), default=None)
    if row is None:
        return "No network has been assessed."
    stages = ", ".join(f"{stage} {count}" for stage, count in zip(row["stages"], row["images_by_stage"], strict=True))
    told = f"{row['images']} test images of {row['clusters']} clusters: {stages}."
    if not document.get("synthetic"):
        return told
    return f"**Simulated pictures of made-up patients**, {told} None of these figures transfers to persons."
