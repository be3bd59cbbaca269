"""Learning curves as figures, with their numbers as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fibrokd.evaluation.figures import Curve, curves_uri
from fibrokd.evaluation.report_inputs import ReportInputs

FIGURES = {"train_loss": "Training loss", "val_macro_f1": "Validation macro-F1"}
COLUMNS = {
    "epoch": "Epoch",
    "train_loss": "Training loss",
    "val_macro_f1": "Validation macro-F1",
    "val_balanced_accuracy": "Validation balanced accuracy",
    "learning_rate": "Learning rate",
}


def learning(inputs: ReportInputs) -> dict[str, Any]:
    """Return the figures and one table of numbers per network; both empty where nothing was recorded."""
    figures = []
    for key, title in FIGURES.items():
        curves = _curves(inputs, key)
        if curves:
            figures.append({"title": title, "uri": curves_uri(curves, title), "alt": _in_words(title, curves)})
    tables = [
        {"title": inputs.title_of(name), "rows": [_row(epoch) for epoch in epochs]}
        for name, epochs in inputs.curves.items()
        if epochs
    ]
    return {"figures": figures, "tables": tables, "columns": list(COLUMNS.values())}


def _curves(inputs: ReportInputs, key: str) -> dict[str, Curve]:
    found: dict[str, Curve] = {}
    for name, epochs in inputs.curves.items():
        points = [(epoch["epoch"], epoch[key]) for epoch in epochs if epoch.get(key) is not None]
        if points:
            found[inputs.title_of(name)] = tuple(zip(*points, strict=True))  # type: ignore[assignment]  # mypy loses the length of zip(*…)
    return found


def _in_words(title: str, curves: Mapping[str, Curve]) -> str:
    lines = [
        f"{name} goes from {values[0]:.3f} in epoch {epochs[0]:g} to {values[-1]:.3f} in epoch {epochs[-1]:g}"
        for name, (epochs, values) in curves.items()
    ]
    return f"Line chart of {title.lower()} by epoch. {'; '.join(lines)}."


def _row(epoch: Mapping[str, int | float]) -> Sequence[str]:
    values = [epoch.get(key) for key in COLUMNS]
    return ["–" if value is None else _spell(key, value) for key, value in zip(COLUMNS, values, strict=True)]


def _spell(key: str, value: int | float) -> str:
    if key == "epoch":
        return f"{value:g}"
    return f"{value:.2e}" if key == "learning_rate" else f"{value:.4f}"
