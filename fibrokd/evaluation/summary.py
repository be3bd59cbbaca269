"""The short table that ends a run in the terminal: networks, their size, and what they reached with intervals.

It prints nothing itself and reads only the metrics document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("accuracy", "balanced_accuracy", "macro_f1")


def summary_table(document: Mapping[str, Any], latency_ms: Mapping[str, int | float], split: str = "test") -> Table:
    """Return a rich table with one row per network that was assessed on ``split``.

    Args:
        document: Content of metrics.json.
        latency_ms: Network → time per image, milliseconds; a network that was not timed shows "–".
        split: Which split to show.
    """
    # Imported here: rich costs 60 ms, and reports are also made where no terminal is.
    from rich.table import Table

    level = f"{document['level']:.0%}".replace("%", " %")
    table = Table(title=f"{split.capitalize()} images ({level} intervals over clusters)", title_justify="left")
    table.add_column("Network")
    for heading in ("Parameters", "Accuracy", "Balanced accuracy", "Macro-F1", "ms per image"):
        table.add_column(heading, justify="right")
    for name, network in document["networks"].items():
        if split not in network:
            continue
        values = [interval_text(network[split][metric]) for metric in COLUMNS]
        latency = f"{latency_ms[name]:.1f}" if name in latency_ms else "–"
        table.add_row(name, f"{network['parameters']:,}", *values, latency)
    return table


def interval_text(interval: Mapping[str, Any]) -> str:
    """Return ``0.742 [0.690, 0.791]``; what is missing is said, not left blank.

    Example:
        >>> interval_text({"value": 0.5, "low": None, "high": None})
        '0.500 [no interval]'
    """
    if interval["value"] is None:
        return "not estimable"
    bounds = "no interval" if interval["low"] is None else f"{interval['low']:.3f}, {interval['high']:.3f}"
    return f"{interval['value']:.3f} [{bounds}]"
