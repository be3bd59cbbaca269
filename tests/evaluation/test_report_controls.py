"""The report on lookup tables and on relatives among the training images."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from fibrokd.evaluation.report import ReportInputs, render_report
from tests.evaluation.made_up_report import (
    FIT,
    UNFIT,
    Page,
    estimate,
    report_inputs,
    show,
)


def _shown(inputs: ReportInputs) -> str:
    return show(inputs, "controls", "differences")


def test_a_lookup_measured_at_another_level_is_not_compared_with() -> None:
    stamp = FIT | {"grouping": "subject"}
    inputs = report_inputs(stamp)
    other = {"controls": {"thumbnail_1nn": {"random": {"accuracy": estimate(0.9)}}}}
    text = Page(_shown(replace(inputs, integrity=other))).text
    assert "was not measured for this kind of split" in text
    assert "beats the lookup" not in text
    assert "0.900" in text
    nothing = {"controls": {"thumbnail_1nn": {"subject": {"accuracy": {"value": None, "low": None, "high": None}}}}}
    assert "beats the lookup" not in Page(_shown(replace(inputs, integrity=nothing))).text


def test_networks_are_compared_first_with_the_lookup_on_their_own_split() -> None:
    inputs = report_inputs(lookup=0.1)
    own = {"accuracy": estimate(0.99), "balanced_accuracy": estimate(0.987), "twin_in_train": 0.5}
    controls = {"thumbnail_1nn_split": own, **inputs.integrity["controls"]}
    text = Page(_shown(replace(inputs, integrity={"controls": controls}))).text
    assert "do not beat a lookup table that learns nothing (accuracy 0.990)" in text
    assert "Every network beats" not in text
    assert "nothing learned – 0.990 0.980–1.000 0.987" in text
    assert text.index("as in this very split") < text.index("all evidence 25.0 %")
    assert text.count("networks are compared with this") == 1


def test_the_share_of_copied_test_images_is_shown_or_said_to_be_unmeasured() -> None:
    assert "95.5 % of the test images have an exact copy" in Page(_shown(report_inputs(copies_in_train=0.955))).text
    assert "not measured on this very split" in Page(_shown(report_inputs())).text


def _ids(first: int, last: int) -> frozenset[str]:
    return frozenset(f"{number:016x}" for number in range(first, last))


def _tied(**levels: frozenset[str]) -> dict[str, dict[str, frozenset[str]]]:
    none: frozenset[str] = frozenset()
    return {"test": {"random": none, "stem": none, "content": none, "all": none, "subject": none} | levels}


def _section(html: str) -> str:
    text = Page(html).text
    return text[text.rindex("Could a lookup table do this?") : text.rindex("Differences between networks")]


def test_the_gap_to_images_without_relatives_is_told_in_the_first_line_of_its_section() -> None:
    tied = _tied(content=_ids(0, 60), all=_ids(0, 96), subject=_ids(0, 90))
    inputs = report_inputs(UNFIT, tied=tied)
    text = _section(_shown(inputs))
    content = inputs.networks["teacher"]["inflation"]["levels"]["content"]
    gap = content["gap_points"]["accuracy"]
    told = (
        "Could a lookup table do this? 96.0 % of the test images have a relative by all evidence among the training or "
        "validation images. Accuracy on the 40 without an identical image there: "
        f"Teacher {content['accuracy']['value']:.3f} instead of {inputs.networks['teacher']['accuracy']['value']:.3f}, "
        f"gap {gap['value']:+.1f} points ({gap['low']:+.1f} to {gap['high']:+.1f}); Student"
    )
    assert text.startswith(told.replace("-", "−"))
    assert "At stricter levels too few are left to say." in text
    assert "The same network at each split level" in text
    assert "file name how this split was made 100 in 50 clusters" in text
    assert "all evidence 4 in 2 clusters" in text
    assert "Not estimable: only 2 clusters hold an image that lacks a relative (at least 10 needed)." in text


@pytest.mark.parametrize(("low", "told"), [(1.5, False), (-1.5, True), (None, False)])
def test_a_gap_that_may_be_chance_is_not_called_one(low: float | None, told: bool) -> None:
    inputs = report_inputs(UNFIT, tied=_tied(all=_ids(0, 60)))
    document = copy.deepcopy(dict(inputs.document))
    for network in document["networks"].values():
        gap = network["test"]["inflation"]["levels"]["all"]["gap_points"]["accuracy"]
        gap.update(value=9.0, low=low, high=None if low is None else 12.0)
    html = _shown(replace(inputs, document=document))
    assert ("No interval of a gap lies above zero." in html) is told
    assert (f'<p class="line {"unsure" if told else "fails"}">60.0 %' in html) is True


def test_an_honest_split_is_said_to_have_nothing_to_inflate() -> None:
    text = _section(_shown(report_inputs(tied=_tied())))
    line = "No test image has a relative among the training or validation images at any level: nothing to inflate."
    assert text.startswith(f"Could a lookup table do this? {line} A lookup")
    assert text.count("all images: no gap") == 5 * 3
    assert "the images that do have a relative" not in text
    unknown = _tied()
    del unknown["test"]["subject"]
    text = _section(_shown(report_inputs(tied=unknown)))
    assert "nothing to inflate. Too few patients are known to check that level." in text


def test_equal_file_names_in_different_folders_are_not_called_inflation() -> None:
    text = _section(_shown(report_inputs(tied=_tied(stem=_ids(0, 7)))))
    assert "has a relative among the training or validation images by all evidence; 7 have nothing in common" in text


def test_where_nothing_is_left_no_gap_is_invented() -> None:
    everything = _ids(0, 100)
    text = _section(_shown(report_inputs(UNFIT, tied=_tied(content=everything, all=everything, subject=everything))))
    assert "Too few are left to say what the networks reach without them." in text
    assert "instead of" not in text
    assert "Not estimable: no image lacks a relative at this level." in text


def test_folders_prepared_without_levels_are_said_to_lack_the_measurement() -> None:
    text = _section(_shown(report_inputs()))
    assert text.startswith("Could a lookup table do this? How much of these figures rests on relatives")
    assert "The same network at each split level" not in text


def test_a_report_with_levels_can_be_read_without_eyes_too() -> None:
    page = Page(render_report(report_inputs(UNFIT, tied=_tied(content=_ids(0, 60), all=_ids(0, 96)))))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(attributes.get("scope") for attributes in page.all("th"))


def test_networks_are_compared_at_their_own_thresholds_and_a_missing_threshold_is_a_dash() -> None:
    inputs = report_inputs()
    compared = [item for item in inputs.document["comparisons"] if item["split"] == inputs.split]
    told = [item for item in compared if item.get("rule") == "sensitivity_95"]
    text = Page(_shown(inputs)).text
    assert "Paired differences of decisions (thresholds: 95 % sensitivity)" in text
    assert "≥F3 specificity" in text
    assert all(f"{item['difference']['value']:+.3f}".replace("-", "−") in text for item in told)
    document = copy.deepcopy(inputs.document)
    gone = told[0]
    document["comparisons"] = [item for item in document["comparisons"] if item != gone]
    page = Page(_shown(replace(inputs, document=document))).text
    assert page.count(" – ") == text.count(" – ") + 1
