"""The report as a whole."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fibrokd.errors import ArtifactError
from fibrokd.evaluation import figures
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.external import external_document
from fibrokd.evaluation.report import SECTIONS, TEMPLATES, render_report, write_report
from fibrokd.stages import StageScale
from tests.evaluation.made_up import made_up_predictions
from tests.evaluation.made_up_report import (
    FEW,
    FIT,
    Page,
    report_answers,
    report_inputs,
    show,
)


def _abroad() -> str:
    """The report of networks that were trained on another collection."""
    parts = [part for part in report_answers(None) if part.split == "test"]
    return render_report(report_inputs(external=external_document(parts, parts, {"content": 3, "relative": 1}, FEW)))


def test_a_report_from_abroad_says_what_was_left_out_and_where_networks_come_from() -> None:
    text = Page(_abroad()).text
    assert "Left out, as seen before: 3 (the very same picture); 1 (belonging with one of these)." in text
    assert "Networks were trained on another collection" in text
    assert "Nothing about scanners, sites or populations beyond those of this collection." in text
    assert "kept together" not in text[: text.index("What must not be concluded")]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.id)
def test_every_section_has_its_template_and_appears_under_its_heading(section, html: str) -> None:
    assert (TEMPLATES / f"{section.id}.html").is_file()
    shown = _abroad() if section.id == "external" else html
    assert f'<h2 id="{section.id}-title">{section.title}</h2>' in shown
    ids = [section.id for section in SECTIONS]
    assert len(set(ids)) == len(ids)


def test_a_tree_of_experts_is_told_by_stage_and_other_facts_in_words(html: str) -> None:
    text = Page(html).text
    part = text[text.rindex("What the methods left behind") : text.rindex("Integrity of the data")]
    assert "Distilled student is a tree of experts" in part
    assert "Neighbouring stages share 50% of their experts, others 8%; entropy of the gates by level 0.31, 0.72" in part
    assert "F2 1 2 F3" in part
    assert "F2 50% 50% 100% 0% 0%" in part
    assert "F4 0% 0% 0% 50% 100%" in part
    assert "experts left 6" in part
    assert "weights by bits 2: 1,400,000, 8: 90,000" in part


def test_where_no_method_left_anything_there_is_no_such_section() -> None:
    plain = render_report(report_inputs(cards={"teacher": {"backbone": "resnet50", "training": {"epochs": 5}}}))
    assert "What the methods left behind" not in plain
    assert 'href="#methods"' not in plain


def test_charts_of_equal_numbers_are_equal_and_of_others_are_not() -> None:
    line, other = ([0.0, 0.5, 1.0], [0.0, 0.8, 1.0]), ([0.0, 0.5, 1.0], [0.0, 0.7, 1.0])
    assert figures.roc_uri({"a": line}) == figures.roc_uri({"a": line}) != figures.roc_uri({"a": other})
    assert figures.benefit_uri({"a": line}, other) == figures.benefit_uri({"a": line}, other)
    dot, elsewhere = (0.5, 0.6, 0.4, 0.8), (0.5, 0.7, None, None)
    assert figures.reliability_uri([dot]) == figures.reliability_uri([dot]) != figures.reliability_uri([elsewhere])
    assert figures.benefit_uri({"a": line}, line) != figures.benefit_uri({"a": line}, other)


def test_equal_inputs_give_equal_bytes(tmp_path: Path, html: str) -> None:
    write_report(tmp_path / "report.html", report_inputs())
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == html


def test_the_report_loads_nothing_and_runs_nothing(html: str) -> None:
    page = Page(html)
    links = [attributes.get(key) for _, attributes in page.tags for key in ("src", "href", "data", "srcset", "action")]
    assert all(link.startswith(("data:", "#")) for link in links if link is not None)
    assert not page.all("script", "iframe", "object", "embed")
    assert "http" not in re.sub(r"data:[^\"]+", "", html)
    assert "@import" not in html
    assert "url(" not in html


def test_the_report_can_be_read_without_eyes_colour_or_a_mouse(html: str) -> None:
    page = Page(html)
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("main", "header", "footer", "nav"):
        assert len(page.all(landmark)) == 1
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(headings))
    assert all(attributes.get("scope") for attributes in page.all("th"))
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert len(page.all("table")) == len(page.all("caption"))
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(set(ids)) == len(ids)
    assert ("a", {"class": "skip", "href": "#overview"}) in page.tags
    assert {attributes["href"] for attributes in page.all("a")} <= {f"#{name}" for name in ids}


def test_text_keeps_a_contrast_of_at_least_four_and_a_half_to_one_also_on_the_darkest_shade() -> None:
    style = (TEMPLATES / "report.css").read_text()
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", style.split("}")[0]))
    for ink in ("ink", "muted", "link", "fit", "caution", "unfit", "unchecked"):
        for paper in ("#ffffff", colours["wash"]):
            assert _contrast(colours[ink], paper) >= 4.5, (ink, paper)
    assert _contrast(colours["ink"], "#7ab0de") >= 4.5


def _contrast(a: str, b: str) -> float:
    """WCAG 2.2 contrast ratio."""

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_card_of_the_collection_is_printed_or_said_to_be_missing() -> None:
    told = Page(render_report(report_inputs(integrity={"card": {"reference_standard": "biopsy <read> twice"}}))).text
    assert "Reference standard biopsy <read> twice" in told
    assert "has no card" in Page(render_report(report_inputs())).text


def test_another_scale_and_missing_extras_still_make_a_whole_report() -> None:
    scale = StageScale(("none", "significant", "cirrhosis"), (1, 2))
    text = Page(render_report(report_inputs(scale=scale, curves={}, cards={}, provenance={}, integrity={}))).text
    assert "significant" in text
    assert "No learning curves were recorded" in text
    assert "holds no lookup baseline" in text


def test_few_patients_make_a_report_without_intervals_but_with_the_reason() -> None:
    parts = [made_up_predictions("teacher", patients=5, frames=2)]
    document = metrics_document(parts, {"teacher": {"parameters": 1}}, FIT)
    text = Page(render_report(replace(report_inputs(), predictions=parts, document=document))).text
    assert "No interval from 5 clusters (at least 10 needed)" in text
    assert "Only one network was assessed" in text


def test_metrics_of_other_networks_than_the_predictions_are_refused() -> None:
    inputs = report_inputs()
    with pytest.raises(ArtifactError, match="found metrics of student_kd, student_plain, teacher and predictions of"):
        replace(inputs, predictions=inputs.predictions[:2])


def test_costs_are_counts_and_what_was_not_counted_is_not_nothing() -> None:
    phases = [
        {"name": "first", "network": 0, "images_trained": 700, "seconds": 1.5},
        {"name": "train", "network": 1, "images_trained": 1200, "seconds": 2.5},
    ]
    spent = {"teacher": {"phases": phases, "teacher_forwards": 40, "own_teacher_forwards": 2, "wall_seconds": 9.75}}
    cards = {"teacher": {"weight_bytes": 94_321_000}, "student_kd": {"book": "ab" * 32}}
    text = Page(show(replace(report_inputs(), spent=spent, cards=cards), "costs")).text
    row = text[text.index("Teacher from Teacher") :]
    assert row.startswith("Teacher from Teacher 1,522,981 94.3 1,200 700 42 –")
    assert "Distilled student 1,522,981 not counted not counted not counted not counted a book" in text
    assert "9.75" not in text, "times differ between equal runs"
    assert "What it cost" not in Page(show(replace(report_inputs(), cards={}), "costs")).text
