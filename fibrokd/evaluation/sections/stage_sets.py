"""Stage sets: how often they hold the true stage, and how narrow they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.wording import Footnotes, cell, listing, number


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
        "left_out": _left_out(first) if first else "",
        "notes": footnotes.listed,
        "level": f"{100 * inputs.document['level']:g} %",
    }


def _in_words(title: str, metrics: Mapping[str, Any]) -> str:
    found, sets = metrics["coverage"], metrics["stage_sets"]
    size = number(sets["size"]["value"])
    told = (
        f"{title}: sets hold the true stage of {100 * found['value']:.1f} % of the clusters "
        f"(wanted: {100 * sets['level']:g} %) and have {size} stages on average."
    )
    low, high = (f"{100 * bound:.0f} %" for bound in sets["by_calibration"])
    if found["high"] is not None and found["high"] < sets["by_calibration"][0]:
        told += f" That is fewer than the chance of the calibration explains ({low} to {high}): do not rely on them."
    elif found["high"] is not None and found["high"] < sets["level"]:
        told += f" That is fewer than wanted, as a calibration on so few clusters may come out ({low} to {high})."
    short = [
        f"{stage} ({100 * entry['coverage']['value']:.0f} %)"
        for stage, entry in sets["by_stage"].items()
        if entry["coverage"]["high"] is not None and entry["coverage"]["high"] < sets["level"]
    ]
    if short:
        told += f" Among patients of {listing(short)} they hold it less often than of all."
    if sets["sizes"][-1] == sum(sets["sizes"]):
        told += " Every set takes in all stages: they say nothing."
    return told


def _left_out(metrics: Mapping[str, Any]) -> str:
    sets = metrics["stage_sets"]
    shares = [
        f"{missing:,} of {missing + known:,} {which} clusters"
        for which, missing, known in (
            ("assessed", sets["left_out"]["assessed"], sum(sets["sizes"])),
            ("calibration", sets["left_out"]["calibration"], sets["calibration_clusters"]),
        )
        if missing
    ]
    return f"Left out, because their images have several true stages: {listing(shares)}." if shares else ""


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
