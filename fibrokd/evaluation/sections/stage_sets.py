"""Stage sets: how often they hold the true stage, and how narrow they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Footnotes, cell, number


def stage_sets(inputs: ReportInputs) -> dict[str, Any]:
    """Return tables of coverage and size per network, and of coverage per stage; reasons where there are no sets."""
    footnotes = Footnotes()
    found = {name: metrics for name, metrics in inputs.networks.items() if "stage_sets" in metrics}
    made = {name: metrics for name, metrics in found.items() if "refused" not in metrics["stage_sets"]}
    refused = [
        f"{inputs.title_of(name)}: no sets, because {metrics['stage_sets']['refused']}."
        for name, metrics in found.items()
        if name not in made
    ]
    first = next(iter(made.values()), None)
    return {
        "refused": refused,
        "wanted": f"{100 * first['stage_sets']['level']:g} %" if first else "",
        "words": [_in_words(inputs.title_of(name), metrics) for name, metrics in made.items()],
        "stages": inputs.scale,
        "rows": [_row(inputs.title_of(name), metrics, footnotes) for name, metrics in made.items()],
        "by_stage": [_by_stage(inputs.title_of(name), metrics, footnotes) for name, metrics in made.items()],
        "left_out": max((m["stage_sets"]["left_out"]["assessed"] for m in made.values()), default=0),
        "notes": footnotes.listed,
        "level": f"{100 * inputs.document['level']:g} %",
    }


def _in_words(title: str, metrics: Mapping[str, Any]) -> str:
    found, sets = metrics["coverage"], metrics["stage_sets"]
    share = f"{100 * found['value']:.1f} % of the clusters"
    wanted = f"{100 * sets['level']:g} %"
    if found["high"] is not None and found["high"] < sets["level"]:
        return f"{title}: sets hold the true stage of {share}, fewer than the wanted {wanted}. Do not rely on them."
    size = number(sets["size"]["value"])
    return f"{title}: sets hold the true stage of {share} (wanted: {wanted}) and have {size} stages on average."


def _row(title: str, metrics: Mapping[str, Any], footnotes: Footnotes) -> dict[str, Any]:
    sets = metrics["stage_sets"]
    return {
        "network": title,
        "coverage": cell(metrics["coverage"], footnotes, unit_scale=True),
        "size": cell(sets["size"], footnotes),
        "single": cell(sets["single"], footnotes, unit_scale=True),
        "sizes": sets["sizes"],
        "calibrated": f"{sets['calibration_clusters']:,}",
    }


def _by_stage(title: str, metrics: Mapping[str, Any], footnotes: Footnotes) -> dict[str, Any]:
    return {
        "network": title,
        "rows": [
            {
                "stage": stage,
                "clusters": f"{entry['clusters']:,}",
                "calibrated": f"{entry['calibration_clusters']:,}",
                "coverage": cell(entry["coverage"], footnotes, unit_scale=True),
            }
            for stage, entry in metrics["stage_sets"]["by_stage"].items()
        ],
    }
