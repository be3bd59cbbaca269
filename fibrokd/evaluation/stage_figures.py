"""Every metric of one set of answers with its interval: over all stages, and of every stage."""

from __future__ import annotations

from typing import Any

from fibrokd.evaluation.intervals import Bootstrap, as_json, metric_interval, stage_interval
from fibrokd.evaluation.metrics import METRICS, STAGE_METRICS
from fibrokd.evaluation.tables import confusion_counts


def stage_figures(sample: Bootstrap, counted: str = "images") -> dict[str, Any]:
    """Return counts, absent stages, every metric, every metric of every stage, and the confusion matrix.

    Args:
        sample: Answers and their resamples.
        counted: What one answer is about, as a key of the counts.
    """
    part = sample.predictions
    counts = confusion_counts(part)
    support = counts.sum(axis=1)
    absent = [name for name, answers in zip(part.scale.names, support, strict=True) if answers == 0]
    stages = {
        stage: {counted: int(support[k]), "clusters": int((sample.by_group.confusion[:, k].sum(axis=-1) > 0).sum())}
        | {name: as_json(stage_interval(metric, k, sample)) for name, metric in STAGE_METRICS.items()}
        for k, stage in enumerate(part.scale.names)
    }
    return {
        counted: len(part),
        "clusters": sample.clusters,
        "absent_stages": absent,
        **{name: as_json(metric_interval(metric, sample)) for name, metric in METRICS.items()},
        "per_stage": stages,
        "confusion": counts.tolist(),
    }
