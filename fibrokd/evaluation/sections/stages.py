"""Precision, recall, F1 and specificity of every stage with intervals, and the metrics over all stages."""

from __future__ import annotations

from typing import Any

from fibrokd.evaluation.metrics import METRICS, STAGE_METRICS
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Footnotes, cell


def stages(inputs: ReportInputs) -> dict[str, Any]:
    """Return one table of stages per network."""
    tables = []
    for name, metrics in inputs.networks.items():
        footnotes = Footnotes()
        rows = [
            {
                "stage": stage,
                "images": found["images"],
                "clusters": found["clusters"],
                "cells": [cell(found[metric], footnotes, unit_scale=True) for metric in STAGE_METRICS],
            }
            for stage, found in metrics["per_stage"].items()
        ]
        tables.append({"title": inputs.title_of(name), "rows": rows, "notes": footnotes.listed})
    return {
        "columns": [metric.title for metric in STAGE_METRICS.values()],
        "tables": tables,
        "terms": [(metric.title, metric.definition) for metric in STAGE_METRICS.values()],
    }


def all_metrics(inputs: ReportInputs) -> dict[str, Any]:
    """Return every metric over all stages, one row per metric, one column per network."""
    footnotes = Footnotes()
    rows = [
        {
            "title": metric.title,
            "better": "higher is better" if metric.higher_is_better else "lower is better",
            "cells": [cell(metrics[name], footnotes) for metrics in inputs.networks.values()],
        }
        for name, metric in METRICS.items()
    ]
    return {
        "columns": [inputs.title_of(name) for name in inputs.networks],
        "rows": rows,
        "notes": footnotes.listed,
        "terms": [(metric.title, metric.definition) for metric in METRICS.values()],
        "bootstrap": inputs.document["bootstrap"],
        "level": f"{100 * inputs.document['level']:g} %",
    }
