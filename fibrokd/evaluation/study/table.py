"""A study's tables: study.md from the content of study.json. Formats, and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fibrokd.evaluation.markdown import table
from fibrokd.evaluation.study.costs import COST_WORDS, cost_table
from fibrokd.evaluation.study.document import TEACHER, p_value, signed
from fibrokd.evaluation.study.pooled import LEAST_SEEDS, is_better
from fibrokd.evaluation.study.preamble import preamble

_HEADINGS = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro-F1",
    "quadratic_kappa": "Quadratic kappa",
    "mean_absolute_stage_error": "Stage error",
    "log_loss": "Log loss",
    "expected_calibration_error": "ECE",
}


def study_markdown(document: Mapping[str, Any], picture: str | None = None) -> str:
    """Return the tables of a study as Markdown.

    Args:
        document: Content of study.json.
        picture: Name of the picture of accuracy and cost, if there is one beside it.
    """
    title = document.get("title")
    parts = [f"# Study: {title}" if title else "# Study", "", *_origin(document), preamble(document), ""]
    if picture:
        parts += [f"![Balanced accuracy and cost of every arm; the figures stand below]({picture})", ""]
    parts += [f"> **Warning**: {warning}\n" for warning in document["warnings"]]
    parts += _failures(document.get("failed", ()))
    students = [row for row in document["rows"] if not row["arm"].startswith(TEACHER)]
    most = max((len(row["stages"]) for row in students), default=0)
    for section in dict.fromkeys(map(_section, students)):
        rows = [row for row in students if _section(row) == section]
        listed = [*rows, *_teachers(rows, document)]
        parts += [f"## {_title(section, most)}", "", *_table(listed), ""]
        words = [] if COST_WORDS in parts else [COST_WORDS, ""]
        parts += ["### What training cost", "", *words, *cost_table(listed), ""]
        arms = {row["arm"] for row in rows}
        chosen = [c for c in document["comparisons"] if c["arm"] in arms and _place(c) == section[:2]]
        parts += _trainings([t for t in document["trainings"] if _section(t) == section]) if chosen else []
        parts += _comparisons(chosen, 1 - document["bootstrap"]["level"])
        parts += _standing([t for t in document["teachers"] if t["reference"] in arms and _place(t) == section[:2]])
    return "\n".join(parts)


def arm_with_notes(row: Mapping[str, Any]) -> str:
    """Return the name of a row's arm and what is to be known of it: that it is a control, its note.

    Args:
        row: A row of study.json.
    """
    notes = [*(["control"] if row["control"] else []), *([row["note"]] if row["note"] else [])]
    return f"`{row['arm']}`" + (f" ({'; '.join(notes)})" if notes else "")


def _origin(document: Mapping[str, Any]) -> list[str]:
    """What was trained, on what: nothing, where the document does not say."""
    if "configuration" not in document:
        return []
    cells = "{finished} of {planned} cells".format(**document["cells"])
    return [f"{cells}; configuration `{document['configuration']}`, prepared data `{document['prepared']}`.", ""]


def _section(row: Mapping[str, Any]) -> tuple[str, float, tuple[str, ...]]:
    return row["backbone"], row["fraction"], tuple(row["stages"])


def _place(entry: Mapping[str, Any]) -> tuple[str, float]:
    return entry["backbone"], entry["fraction"]


def _title(section: tuple[str, float, tuple[str, ...]], most: int) -> str:
    backbone, fraction, stages = section
    some = f", {' and '.join(stages)} alone" if len(stages) < most else ""
    return f"{backbone}, {100 * fraction:g} % of the training patients{some}"


def _failures(failed: Sequence[Mapping[str, Any]]) -> list[str]:
    if not failed:
        return []
    lines = [f"* `{entry['cell']}`: {entry['error']}: {' '.join(entry['message'].split())}" for entry in failed]
    return ["## Cells that failed", "", *lines, ""]


def _teachers(rows: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows of the teachers of these students, as far as they tell the same stages apart."""
    names = {TEACHER + name for row in rows for name in row["teachers"]}
    alike = [row for row in document["rows"] if row["arm"] in names and row["fraction"] == rows[0]["fraction"]]
    return [row for row in alike if row["stages"] == rows[0]["stages"]]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return table(["Arm", "Seeds", *_HEADINGS.values(), "Parameters", "MB", "ms"], map(_cells, rows))


def _cells(row: Mapping[str, Any]) -> list[str]:
    cost = row["cost"]
    size = [f"{cost['parameters']:,}", f"{cost['deployed_bytes'] / 1e6:.2f}", f"{cost['latency_ms']:.1f}"]
    return [arm_with_notes(row), str(len(row["seeds"])), *(_figure(row["metrics"][name]) for name in _HEADINGS), *size]


def _trainings(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far trainings of one arm differ, in a line."""
    if not entries:
        return []
    told = ", ".join(f"{_HEADINGS[entry['metric']]} {entry['deviation']:.3f}" for entry in entries)
    arms = f"{entries[0]['arms']} arms, {entries[0]['degrees']} degrees of freedom"
    return [f"Standard deviation between trainings of one arm ({arms}): {told}.", ""]


def _comparisons(entries: Sequence[Mapping[str, Any]], alpha: float) -> list[str]:
    parts = []
    for reference in dict.fromkeys(entry["reference"] for entry in entries):
        chosen = [entry for entry in entries if entry["reference"] == reference]
        parts += [f"### Difference from `{reference}`", "", *_differences(chosen, alpha), ""]
    return parts


def _differences(entries: Sequence[Mapping[str, Any]], alpha: float) -> list[str]:
    metrics = list(dict.fromkeys(entry["metric"] for entry in entries))
    rows = []
    for arm in dict.fromkeys(entry["arm"] for entry in entries):
        by_metric = {entry["metric"]: entry for entry in entries if entry["arm"] == arm}
        tested = [entry for entry in by_metric.values() if entry["family"]]
        family = f"{tested[0]['family']} ({tested[0]['family_size']})" if tested else "–"
        rows.append([f"`{arm}`", family, *(_change(by_metric[m], alpha) for m in metrics)])
    return table(["Arm", "Family", *(_HEADINGS[m] for m in metrics)], rows)


def _standing(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the teachers stand to what their students reach without them."""
    if not entries:
        return []
    metrics = list(dict.fromkeys(entry["metric"] for entry in entries))
    rows = []
    for teacher, reference in dict.fromkeys((e["teacher"], e["reference"]) for e in entries):
        own = {e["metric"]: e for e in entries if (e["teacher"], e["reference"]) == (teacher, reference)}
        cells = [signed(own[m]) + ("" if own[m]["better"] else " **not better**") for m in metrics]
        rows.append([f"`{TEACHER}{teacher}` − `{reference}`", *cells])
    lines = table(["Teacher less arm", *(_HEADINGS[m] for m in metrics)], rows)
    why = "Where a teacher is not better than learning from labels alone, that its students gain nothing tells nothing."
    return ["### Teachers against no distillation", "", why, "", *lines, ""]


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return str(figure["note"])
    bounds = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    spread = "" if figure["seed_deviation"] is None else f" ± {figure['seed_deviation']:.3f}"
    return f"{figure['value']:.3f}{bounds}{spread}"


def _change(entry: Mapping[str, Any], alpha: float) -> str:
    if entry["p_holm"] is None:
        return signed(entry)
    if entry["p_arms_holm"] is None:
        return f"{signed(entry)}, networks p {p_value(entry['p_holm'])}"
    mark = f" {_verdict(entry)}" if entry["p_arms_holm"] < alpha else ""
    return f"{signed(entry)}, p {p_value(entry['p_arms_holm'])}{mark}"


def _verdict(entry: Mapping[str, Any]) -> str:
    if len(entry["seeds"]) < LEAST_SEEDS:
        return "(too few seeds)"
    return "better" if is_better(entry, entry["metric"]) else "worse"
