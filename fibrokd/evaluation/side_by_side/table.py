"""compare.csv: one row per figure and pair of networks, for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fibrokd.evaluation.agreement.figures import FIGURES
from fibrokd.files import write_text

COLUMNS = (
    "kind", "figure", "end_point", "rule", "first", "second", "value", "low", "high", "clusters", "test", "p", "p_holm",
    "family_size", "note", "first_data", "second_data",
)  # fmt: skip
"""``kind``: ``difference`` (first minus second) or ``agreement``; ``first_data``, ``second_data``: verdicts on data."""


def pair_table(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return :data:`COLUMNS`; figures without an interval have no p-value.

    Args:
        document: Content of compare.json.
    """
    rows = [
        {**row, **{f"{side}_data": _verdict(document, row[side]) for side in ("first", "second")}}
        for row in _rows(document)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"clusters": "Int64", "family_size": "Int64"})


def write_pairs(path: Path, document: Mapping[str, Any]) -> None:
    """Write compare.csv atomically."""
    write_text(path, pair_table(document).to_csv(index=False, lineterminator="\n"))


def _rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    tested = ("end_point", "rule", "test", "p", "p_holm", "family_size")
    for entry in document["comparisons"]:
        pair = {"kind": "difference", "figure": entry["metric"], "first": entry["first"], "second": entry["second"]}
        yield {**pair, **{name: entry[name] for name in tested if name in entry}, **entry["difference"]}
    for entry in document["agreement"]:
        pair = {"kind": "agreement", "first": entry["first"], "second": entry["second"]}
        yield from ({**pair, "figure": name, **entry[name]} for name in FIGURES)


def _verdict(document: Mapping[str, Any], network: str) -> str:
    stamp = document["runs"][document["networks"][network]["run"]]["stamp"]
    return str(stamp.get("verdict") or "unchecked")
