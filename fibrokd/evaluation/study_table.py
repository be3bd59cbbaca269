"""A study's document and its tables: study.json and study.md from the trials. Formats what ``study`` computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.study import COMPARED, Pool, Trial, difference, holm, pools, summary

FORMAT = 1
_HEADINGS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro-F1",
    "quadratic_kappa": "Quadratic kappa",
    "mean_absolute_stage_error": "Stage error",
    "log_loss": "Log loss",
    "expected_calibration_error": "ECE",
}
LOWER_IS_BETTER = frozenset(["mean_absolute_stage_error", "log_loss", "expected_calibration_error"])


def study_document(
    trials: Sequence[Trial], arms: Mapping[str, str], references: Sequence[str], config: BootstrapConfig
) -> dict[str, Any]:
    """Return the content of study.json.

    Args:
        trials: Finished cells.
        arms: Name → note, in the order of the tables.
        references: Arms that every other one is compared with, as far as they are there.
        config: How intervals are made.
    """
    pooled = pools(trials, config)
    order = list(arms)
    rows = []
    for key in sorted(pooled, key=lambda key: (key[1], -key[2], order.index(key[0]))):
        arm, backbone, fraction = key
        pool = pooled[key]
        rows.append(
            {
                "arm": arm,
                "note": arms[arm],
                "backbone": backbone,
                "fraction": fraction,
                "seeds": list(pool.seeds),
                "stages": list(pool.trials[0].answers.scale.names),
                "images": len(pool.trials[0].answers),
                "clusters": pool.samples[0].clusters,
                "metrics": summary(pool),
                "cost": _cost(pool),
            }
        )
    comparisons = [entry for reference in references for entry in _against(reference, pooled)]
    return {
        "format": FORMAT,
        "bootstrap": {"resamples": config.resamples, "level": config.level, "seed": config.seed},
        "rows": rows,
        "comparisons": comparisons,
    }


def study_markdown(document: Mapping[str, Any]) -> str:
    """Return the tables of a study as Markdown.

    Args:
        document: Content of study.json.
    """
    parts = ["# Study", "", _preamble(document), ""]
    for backbone, fraction in dict.fromkeys((row["backbone"], row["fraction"]) for row in document["rows"]):
        rows = [row for row in document["rows"] if (row["backbone"], row["fraction"]) == (backbone, fraction)]
        parts += [f"## {backbone}, {100 * fraction:g} % of the training patients", "", *_table(rows), ""]
        found = [c for c in document["comparisons"] if (c["backbone"], c["fraction"]) == (backbone, fraction)]
        for reference in dict.fromkeys(entry["reference"] for entry in found):
            chosen = [entry for entry in found if entry["reference"] == reference]
            parts += [f"### Difference from `{reference}`", "", *_differences(chosen), ""]
    return "\n".join(parts)


def _against(reference: str, pooled: Mapping[tuple[str, str, float], Pool]) -> list[dict[str, Any]]:
    entries = []
    for (arm, backbone, fraction), pool in pooled.items():
        other = pooled.get((reference, backbone, fraction))
        if arm == reference or other is None:
            continue
        for metric in COMPARED:
            found = difference(pool, other, metric)
            where = {"arm": arm, "reference": reference, "backbone": backbone, "fraction": fraction, "metric": metric}
            entries.append({**where, **found})
    # One family per reference, student, fraction and metric: as many hypotheses as there are arms.
    for family in {(e["backbone"], e["fraction"], e["metric"]) for e in entries}:
        members = [e for e in entries if (e["backbone"], e["fraction"], e["metric"]) == family and "p" in e]
        for entry, adjusted in zip(members, holm([e["p"] for e in members]), strict=True):
            entry["p_holm"] = adjusted
    return entries


def _cost(pool: Pool) -> dict[str, Any]:
    facts = [trial.facts for trial in pool.trials]
    return {
        "parameters": round(median(f["parameters"] for f in facts)),
        "deployed_bytes": round(median(f["deployed_bytes"] for f in facts)),
        "latency_ms": median(f["latency_ms"] for f in facts),
        "train_seconds": median(f["cost"]["train_seconds"] for f in facts),
        "book_teacher_forwards": max(f["cost"]["book_teacher_forwards"] for f in facts),
    }


def _preamble(document: Mapping[str, Any]) -> str:
    b = document["bootstrap"]
    return (
        f"Means over seeds on the test images; brackets: {100 * b['level']:g} % intervals over clusters of images that "
        f"belong together ({b['resamples']} resamples). They hold for these trained networks; ± is the standard "
        "deviation between seeds. p-values are two-sided and corrected for the number of arms (Holm)."
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = ["Arm", "Seeds", *_HEADINGS.values(), "Parameters", "MB", "ms", "Training s", "Teacher answers"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in rows:
        cost = row["cost"]
        cells = [f"`{row['arm']}`" + (f" ({row['note']})" if row["note"] else ""), str(len(row["seeds"]))]
        cells += [_figure(row["metrics"][name]) for name in _HEADINGS]
        cells += [
            f"{cost['parameters']:,}",
            f"{cost['deployed_bytes'] / 1e6:.2f}",
            f"{cost['latency_ms']:.1f}",
            f"{cost['train_seconds']:.0f}",
            f"{cost['book_teacher_forwards']:,}",
        ]
        lines.append(_line(cells))
    return lines


def _differences(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    metrics = list(dict.fromkeys(entry["metric"] for entry in entries))
    lines = [_line(["Arm", *(_HEADINGS[m] for m in metrics)]), _line(["---"] * (len(metrics) + 1))]
    for arm in dict.fromkeys(entry["arm"] for entry in entries):
        by_metric = {entry["metric"]: entry for entry in entries if entry["arm"] == arm}
        lines.append(_line([f"`{arm}`", *(_change(by_metric[m]) for m in metrics)]))
    return lines


def _figure(figure: Mapping[str, Any]) -> str:
    spread = "" if figure["seed_deviation"] is None else f" ± {figure['seed_deviation']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]{spread}"


def _change(entry: Mapping[str, Any]) -> str:
    if "p" not in entry:
        return str(entry["note"])
    mark = ""
    if entry["low"] > 0 or entry["high"] < 0:
        better = (entry["value"] < 0) == (entry["metric"] in LOWER_IS_BETTER)
        mark = " better" if better else " worse"
    return f"{entry['value']:+.3f} [{entry['low']:+.3f}, {entry['high']:+.3f}], p {entry['p_holm']:.3f}{mark}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
