"""The report on end points, calibration and stage sets."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from sklearn.metrics import roc_curve

from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.report import ReportInputs, render_report
from fibrokd.evaluation.sections.calibration import taken_over
from fibrokd.stages import StageScale
from tests.evaluation.made_up_report import (
    FEW,
    FIT,
    Page,
    report_inputs,
    show,
)


def _shown(inputs: ReportInputs) -> str:
    return show(inputs, "end_points", "calibration", "stage_sets")


def _end_points(html: str) -> str:
    text = Page(html).text
    return text[text.rindex("Clinical end points") : text.rindex("How sure, and how right")]


def test_end_points_are_told_with_areas_thresholds_and_what_decisions_are_worth(html: str) -> None:
    told, network = _end_points(html), report_inputs().networks["student_kd"]
    area = network["auroc"]["≥F3"]
    assert f"≥F3 Distilled student 40 of 100 (40.0 %) {area['value']:.3f} {area['low']:.3f}–{area['high']:.3f}" in told
    point = network["end_points"]["≥F3"]["operating_points"]["sensitivity_95"]
    assert f"≥F3 Distilled student {point['threshold']:.3f} {point['sensitivity']['value']:.3f}" in told
    row = point["by_prevalence"][0]
    assert f"1 % {row['ppv']['value']:.3f}" in told
    benefit = network["end_points"]["≥F3"]["decision_curve"][9]["net_benefit"]
    assert f"{benefit['value']:.3f} ({benefit['low']:.3f} to {benefit['high']:.3f})" in told
    alts = [attributes["alt"] for attributes in Page(html).all("img")]
    assert sum(alt.startswith("Receiver operating characteristic of") for alt in alts) == 3
    assert sum(alt.startswith("Decision curves of") for alt in alts) == 3


def test_sensitivities_that_are_listed_are_those_of_the_curve(html: str) -> None:
    part = next(part for part in report_inputs().parts if part.network == "student_plain")
    positive, scores = part.truth >= 2, part.probabilities[:, 2:].sum(axis=1)
    alarms, reached, _ = roc_curve(positive, scores, drop_intermediate=False)
    listed = [f"{reached[alarms <= share + 1e-9].max():.3f}" for share in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)]
    assert f"Student without teacher (control) {' '.join(listed)}" in _end_points(html)


def test_where_no_threshold_could_be_fixed_the_reason_stands_in_its_place() -> None:
    inputs = report_inputs()
    parts = inputs.parts
    document = metrics_document(parts, {part.network: {"parameters": 1} for part in parts}, FIT, FEW)
    told = _end_points(_shown(replace(inputs, predictions=parts, document=document)))
    line = "No threshold, because there are no answers on validation images: Teacher ≥F2, ≥F3 and ≥F4; Stu"
    assert line in told
    assert "Predictive values by prevalence" not in told


def test_a_scale_without_end_points_has_no_such_section() -> None:
    html = render_report(report_inputs(scale=StageScale(("mild", "severe"), ())))
    assert "Clinical end points" not in html
    assert 'href="#end_points"' not in html


def _calibration(html: str) -> str:
    text = Page(html).text
    told = text[text.rindex("How sure, and how right") : text.rindex("Sets that hold the stage")]
    return told[: told.index("What these numbers mean")]


def test_whether_a_network_is_too_sure_is_said_in_words_with_its_temperature(html: str) -> None:
    told = _calibration(html)
    for title, name in (("Teacher", "teacher"), ("Student without teacher (control)", "student_plain")):
        after = report_inputs().networks[name]["calibration"]["temperature"]
        value, chance = after["expected_calibration_error"]["value"], after["by_chance"]
        told_chance = " ".join(f"{each['mean']:.3f} (up to {each['at_most']:.3f})" for each in chance.values())
        assert f"{title} {after['value']:.3f} (100 images) {told_chance} {value:.3f}" in told
    assert "no temperature" not in told


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.2, "Teacher is too sure (+0.100, +0.010 to +0.200)."),
        (-0.2, -0.01, "Teacher is not sure enough (+0.100, −0.200 to −0.010)."),
        (-0.1, 0.2, "Teacher is on average as sure as it is right, as far as can be told"),
        (None, None, "Teacher: whether it is too sure cannot be said (+0.100; every resample was alike)."),
    ],
)
def test_the_words_about_being_sure_follow_the_bounds(low: float | None, high: float | None, words: str) -> None:
    inputs = report_inputs()
    document = copy.deepcopy(dict(inputs.document))
    over = {"value": 0.1, "low": low, "high": high, "clusters": 50, "note": "every resample was alike"}
    document["networks"]["teacher"]["test"]["calibration"]["overconfidence"] = over
    assert words in _calibration(_shown(replace(inputs, document=document)))


@pytest.mark.parametrize(
    ("control", "student", "words"),
    [
        ((0.05, 0.15), (-0.09, -0.01), "It takes after its teacher."),
        ((-0.15, -0.05), (0.01, 0.09), "It takes after its teacher."),
        ((0.05, 0.15), (0.01, 0.09), "It moved away from its teacher's calibration, not towards it."),
        ((0.05, 0.15), (-0.02, 0.08), "Whether it took over any of its teacher's calibration cannot be told."),
        ((-0.05, 0.15), (0.01, 0.09), "nothing to take over shows."),
        ((None, None), (0.01, 0.09), "nothing to take over shows."),
    ],
)
def test_who_takes_after_its_teacher_is_judged_beside_the_student_without_one(control, student, words) -> None:
    low, high = control
    taught = {"value": sum(student) / 2, "low": student[0], "high": student[1]}
    alone = {"value": 0.05 if low is None else (low + high) / 2, "low": low, "high": high}
    assert taken_over("Distilled student", alone, taught).endswith(words)


def test_the_report_says_whether_the_student_takes_after_its_teacher(html: str) -> None:
    gap = next(
        entry["overconfidence_gap"]
        for entry in report_inputs().document["agreement"]
        if (entry["split"], entry["first"], entry["second"]) == ("test", "student_plain", "student_kd")
    )
    networks = report_inputs().networks
    over = {name: networks[name]["calibration"]["overconfidence"]["value"] for name in networks}
    assert gap["value"] == pytest.approx(over["student_kd"] - over["student_plain"], abs=1e-9)
    line = "Overconfidence of Distilled student less that of the student without a teacher:"
    assert f"{line} {gap['value']:+.3f} (".replace("-", "−") in _calibration(html)


def test_what_cannot_be_fixed_without_other_splits_is_said_network_by_network() -> None:
    parts = report_inputs().parts
    document = metrics_document(parts, {part.network: {"parameters": 1} for part in parts}, FIT, FEW)
    html = _shown(replace(report_inputs(), predictions=parts, document=document))
    assert "Teacher: no temperature, because there are no answers on validation images" in _calibration(html)
    assert "Teacher: no sets, because there are no answers on calibration images." in Page(html).text


def test_stage_sets_are_told_with_coverage_size_and_a_warning_where_they_fail(html: str) -> None:
    text = Page(html).text
    told = text[text.rindex("Sets that hold the stage") : text.rindex("The worst errors")]
    for title, name in (("Teacher", "teacher"), ("Distilled student", "student_kd")):
        found = report_inputs().networks[name]
        share, sets = found["coverage"], found["stage_sets"]
        line = f"{title}: sets hold the true stage of {100 * share['value']:.1f} % of the clusters"
        assert line in told
        assert f"and have {sets['size']['value']:.3f} stages on average" in told
        row = f"{title} {share['value']:.3f} {share['low']:.3f}–{share['high']:.3f} "
        assert row in told
    document = copy.deepcopy(dict(report_inputs().document))
    teacher = document["networks"]["teacher"]["test"]
    teacher["stage_sets"]["by_stage"]["F4"]["coverage"].update(value=0.1, low=0.0, high=0.3)
    for bounds, words in (
        (
            [0.82, 0.96],
            "That is fewer than the chance of the calibration explains (82 % to 96 %): do not rely on them.",
        ),
        ([0.6, 0.99], "That is fewer than wanted, as a calibration on so few clusters may come out (60 % to 99 %)."),
    ):
        teacher["coverage"].update(value=0.7, low=0.6, high=0.8)
        teacher["stage_sets"]["by_calibration"] = bounds
        failing = Page(_shown(replace(report_inputs(), document=document))).text
        assert "Teacher: sets hold the true stage of 70.0 % of the clusters (wanted: 90 %)" in failing
        assert f"{words} Among patients of F4 (10 %) they hold it less often than of all." in failing


def test_the_direction_in_which_answers_moved_stands_beside_how_far() -> None:
    inputs = report_inputs()
    moved = copy.deepcopy(inputs.robustness)
    entry = next(iter(moved["networks"]["teacher"].values()))
    entry["shift"] = {"value": -0.25, "low": -0.375, "high": -0.125}
    text = Page(show(replace(inputs, robustness=moved), "robustness")).text
    assert "shift: −0.250 (−0.375 to −0.125)" in text
    assert "shift: +0.000, no interval" in text
