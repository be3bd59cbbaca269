"""The figures of the model card: every metric, stage by stage, end points, calibration."""

from __future__ import annotations

from fibrokd.evaluation.end_points.decisions import DECISION_METRICS
from fibrokd.evaluation.evidence import on_model, on_results, on_training
from fibrokd.evaluation.evidence.artefacts import METRICS, REPORT, Artefacts, at
from fibrokd.evaluation.evidence.cards import Section, Table
from fibrokd.evaluation.evidence.items import Words
from fibrokd.evaluation.metrics import METRICS as METRIC_TABLE
from fibrokd.evaluation.metrics import STAGE_METRICS


def figures(run: Artefacts) -> Section:
    """Every metric of every network."""
    rows: list[tuple[Words, ...]] = [
        (
            (metric.title,),
            *((run.interval(METRICS, at("networks", network, "test", name)),) for network in run.networks),
        )
        for name, metric in METRIC_TABLE.items()
    ]
    table = Table("Test images: value and bounds", ("Metric", *run.networks), tuple(rows))
    said = (*on_results.uncertainty(run).said, *on_results.looked_up(run))
    return Section("figures", "Figures", said, (table,), see=(f"{REPORT}#metrics", f"{REPORT}#controls"))


def stages(run: Artefacts) -> Section:
    """Figures of every stage, and the confusion table."""
    place = run.tests("per_stage")
    rows = tuple(
        (
            (stage,),
            (run.value(METRICS, place + at(stage, "images")),),
            *((run.interval(METRICS, place + at(stage, name)),) for name in STAGE_METRICS),
        )
        for stage in run.get(METRICS, place)
    )
    heads = ("Stage", "Images", *(metric.title for metric in STAGE_METRICS.values()))
    scale = run.get(METRICS, "/scale")
    confusion = tuple(
        ((stage,), *((run.value(METRICS, run.tests("confusion", i, j)),) for j in range(len(scale))))
        for i, stage in enumerate(scale)
    )
    tables = (
        Table(f"{run.network}: by stage", heads, rows),
        Table(f"{run.network}: images by true stage (rows) and stated stage", ("True stage", *scale), confusion),
    )
    return Section("stages", "Stage by stage", tables=tables, see=(f"{REPORT}#stages", f"{REPORT}#confusion"))


def end_points(run: Artefacts) -> Section | None:
    """Areas and decisions; nothing where the scale has no cut-offs."""
    place = run.tests("end_points")
    if not run.has(METRICS, place):
        return None
    ends = list(run.get(METRICS, place))
    areas = tuple(
        (
            (end,),
            (run.value(METRICS, place + at(end, "positive", "images")),),
            (run.interval(METRICS, run.tests("auroc", end)),),
            (run.interval(METRICS, place + at(end, "average_precision")),),
        )
        for end in ends
    )
    tables = [Table(f"{run.network}: areas", ("End point", "Images that have it", "AUROC", "Average precision"), areas)]
    points = [(end, rule) for end in ends for rule in run.get(METRICS, place + at(end, "operating_points"))]
    if points:
        heads = ("End point and rule", "Threshold", *(metric.title for metric in DECISION_METRICS.values()))
        rows = tuple(_decision(run, end, rule) for end, rule in points)
        tables.append(Table(f"{run.network}: decisions at fixed thresholds", heads, rows))
    return Section(
        "end_points", "Clinical end points", on_model.thresholds(run), tuple(tables), see=(f"{REPORT}#end_points",)
    )


def _decision(run: Artefacts, end: str, rule: str) -> tuple[Words, ...]:
    point = run.tests("end_points", end, "operating_points", rule)
    cells = ((run.interval(METRICS, point + at(name)),) for name in DECISION_METRICS)
    return ((f"{end}, {rule}",), (run.value(METRICS, point + "/threshold"),), *cells)


def calibration(run: Artefacts) -> Section:
    """Whether stated probabilities hold."""
    place = run.tests("calibration")
    rows = (
        (("Expected calibration error",), (run.interval(METRICS, run.tests("expected_calibration_error")),)),
        (
            ("Mean of that error by chance alone",),
            (run.value(METRICS, place + "/by_chance/expected_calibration_error/mean"),),
        ),
        (
            ("By chance it stays at most",),
            (run.value(METRICS, place + "/by_chance/expected_calibration_error/at_most"),),
        ),
        (("Overconfidence",), (run.interval(METRICS, place + "/overconfidence"),)),
    )
    table = Table(f"{run.network}: stated probability and share staged right", ("What", "Value"), rows)
    return Section(
        "calibration", "Calibration", on_training.updating(run).said, (table,), see=(f"{REPORT}#calibration",)
    )
