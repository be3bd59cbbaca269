"""end_points.csv: every figure of the clinical end points of a metrics document, one per row, for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fibrokd.evaluation.end_points.decisions import DECISION_METRICS
from fibrokd.files import write_text

COLUMNS = ("network", "split", "end_point", "rule", "at", "quantity", "value", "low", "high", "clusters", "note")
"""``rule``: how the threshold was fixed; ``at``: threshold, prevalence or probability that the quantity belongs to."""


def end_point_table(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return :data:`COLUMNS`; empty where the scale has no end points.

    Args:
        document: Content of metrics.json.
    """
    rows = [
        {"network": network, "split": split, "end_point": name, **row}
        for network, splits in document["networks"].items()
        for split, metrics in splits.items()
        if split != "parameters"
        for name, entry in metrics.get("end_points", {}).items()
        for row in _rows(metrics["auroc"][name], entry)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"clusters": "Int64"})


def write_end_points(path: Path, document: Mapping[str, Any]) -> None:
    """Write end_points.csv atomically."""
    write_text(path, end_point_table(document).to_csv(index=False, lineterminator="\n"))


def _rows(auroc: Mapping[str, Any], entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("positive", "negative"):
        yield {"quantity": f"{name}_images", "value": entry[name]["images"], "clusters": entry[name]["clusters"]}
        if "validation" in entry:
            known = entry["validation"][name]
            yield {"quantity": f"{name}_validation_images", "value": known["images"], "clusters": known["clusters"]}
    for rule, reason in entry.get("no_threshold", {}).items():
        yield {"rule": rule, "quantity": "threshold", "note": f"none: {reason}"}
    yield {"quantity": "auroc", **auroc}
    yield {"quantity": "average_precision", **entry["average_precision"]}
    for rule, point in entry["operating_points"].items():
        for name in DECISION_METRICS:
            yield {"rule": rule, "at": point["threshold"], "quantity": name, **point[name]}
        for row in point["by_prevalence"]:
            for name in ("ppv", "npv"):
                yield {"rule": rule, "at": row["prevalence"], "quantity": f"{name}_at_prevalence", **row[name]}
    for row in entry["decision_curve"]:
        yield {"at": row["probability"], "quantity": "net_benefit", **row["net_benefit"]}
        yield {"at": row["probability"], "quantity": "net_benefit_of_all", "value": row["of_all"]}
