"""A study's picture: what every arm reached and what its training cost. Formats, and computes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fibrokd.evaluation.figures import rows_svg
from fibrokd.evaluation.study.document import TEACHER
from fibrokd.evaluation.study.pooled import LEAST_SEEDS


def study_picture(document: Mapping[str, Any]) -> str | None:
    """Return balanced accuracy and the cost of training as SVG, one row per student that tells all stages apart.

    Args:
        document: Content of study.json.

    Returns:
        None where no student has a balanced accuracy.
    """
    students = [row for row in document["rows"] if not row["arm"].startswith(TEACHER)]
    most = max(len(row["stages"]) for row in students)
    shown = [row for row in students if len(row["stages"]) == most]
    several = {key for key in ("backbone", "fraction") if len({row[key] for row in shown}) > 1}
    counted = all(row["cost"]["cpu_seconds"] is not None for row in shown)
    cost, words = ("cpu_seconds", "Processor time") if counted else ("train_seconds", "Training time")
    entries = {}
    for row in shown:
        figure = row["metrics"]["balanced_accuracy"]
        if figure["value"] is not None:
            entries[_title(row, several)] = (figure["value"], figure["low"], figure["high"], row["cost"][cost])
    if not entries:
        return None
    measured = f"Balanced accuracy\n({100 * document['bootstrap']['level']:g} % intervals over patients)"
    return rows_svg(entries, measured, f"{words} of one cell, seconds\n(teachers and books not included)")


def _title(row: Mapping[str, Any], several: Collection[str]) -> str:
    parts = [row["arm"], *([row["backbone"]] if "backbone" in several else [])]
    parts += [f"{100 * row['fraction']:g} %"] if "fraction" in several else []
    parts += ["control"] if row["control"] else []
    parts += [f"{len(row['seeds'])} of {LEAST_SEEDS} seeds"] if len(row["seeds"]) < LEAST_SEEDS else []
    return ", ".join(parts)
