"""Confusion matrices as tables: counts, row and column percentages, shading that never stands alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Int

from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.tables import confusion_counts, percentages

_WHITE, _BLUE = np.array([255, 255, 255]), np.array([122, 176, 222])  # dark text keeps 7:1 on the darkest shade


def confusion(inputs: ReportInputs) -> dict[str, Any]:
    """Return one matrix per network."""
    return {"stages": inputs.scale, "matrices": [matrix_of(inputs, part) for part in inputs.parts]}


def matrix_of(inputs: ReportInputs, part: Predictions) -> dict[str, Any]:
    """Return the matrix of one network."""
    counts = confusion_counts(part)
    return {
        "title": inputs.title_of(part.network),
        "rows": _rows(counts, inputs.scale),
        "predicted": [int(total) for total in counts.sum(axis=0)],
        "images": int(counts.sum()),
        "worst": _most_frequent_confusion(counts, inputs.scale),
    }


def _rows(counts: Int[np.ndarray, "K K"], names: list[str]) -> list[dict[str, Any]]:
    by_row, by_column = percentages(counts, axis=1), percentages(counts, axis=0)
    return [
        {
            "stage": names[i],
            "images": int(counts[i].sum()),
            "cells": [
                {
                    "count": int(counts[i, j]),
                    "row": _percent(by_row[i, j]),
                    "column": _percent(by_column[i, j]),
                    "colour": _shade(by_row[i, j]),
                    "right": i == j,
                    "truth": names[i],
                    "predicted": names[j],
                }
                for j in range(len(names))
            ],
        }
        for i in range(len(names))
    ]


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.0f} %"


def _shade(share: float) -> str:
    mixed = _WHITE + (_BLUE - _WHITE) * np.nan_to_num(share) / 100
    return "#" + "".join(f"{round(channel):02x}" for channel in mixed.tolist())


def _most_frequent_confusion(counts: Int[np.ndarray, "K K"], names: list[str]) -> str:
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.any():
        return "No image was staged wrongly."
    i, j = np.unravel_index(np.argmax(wrong), wrong.shape)
    share = f"{counts[i, j]} of {counts[i].sum()} images of {names[i]}"
    return f"Most frequent confusion: {names[i]} called {names[j]}, {share}."
