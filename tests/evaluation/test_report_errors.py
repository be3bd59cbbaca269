"""The report on the worst errors."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.evaluation.atlas.image_arrays import ImageArrays
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.report import render_report
from fibrokd.evaluation.sections.errors import NEIGHBOURS_SHOWN, PICTURES_PER_NETWORK
from fibrokd.evaluation.severity import severity, worst_rows
from tests.evaluation.made_up import made_up_collected, made_up_predictions
from tests.evaluation.made_up_report import (
    FEW,
    FIT,
    Page,
    report_inputs,
    show,
)


def test_the_worst_errors_put_most_mass_farthest_away_one_per_patient_group() -> None:
    part = made_up_predictions(patients=40, frames=3, skill=0.5)
    rows = worst_rows(part, limit=10)
    assert len({part.groups[row] for row in rows}) == len(rows) == 10
    assert all(part.predicted[row] != part.truth[row] for row in rows)
    worst, truth = severity(part)[rows], part.truth[rows]
    assert list(truth) == sorted(truth)
    for stage in range(5):
        assert (np.diff(worst[truth == stage]) <= 0).all()
        wrong = (part.predicted != part.truth) & (part.truth == stage)
        assert worst[truth == stage][0] == severity(part)[wrong].max()
    by_hand = sum(part.probabilities[7, k] * abs(k - part.truth[7]) for k in range(5))
    assert severity(part)[7] == pytest.approx(by_hand)


@settings(max_examples=25)
@given(st.integers(0, 200), st.integers(1, 14), st.integers(2, 40))
def test_every_stage_with_an_error_takes_its_turn(seed: int, limit: int, patients: int) -> None:
    part = made_up_predictions(patients=patients, frames=2, skill=0.4, seed=seed)
    rows = worst_rows(part, limit)
    wrong = part.predicted != part.truth
    groups = np.array(part.groups)
    errors = {stage: len(set(groups[wrong & (part.truth == stage)])) for stage in range(5)}
    shown = {stage: int((part.truth[rows] == stage).sum()) for stage in range(5)}
    assert len(rows) == min(limit, sum(errors.values()))
    assert all(shown[stage] <= errors[stage] for stage in range(5))
    # Nobody has two pictures more than a stage that has errors left.
    assert all(shown[one] <= shown[other] + 1 for one in range(5) for other in range(5) if shown[other] < errors[other])


def test_every_true_stage_says_what_it_was_called_and_shows_its_own_errors() -> None:
    inputs = report_inputs()
    html = show(inputs, "errors")
    part = inputs.parts[0]
    for k, stage in enumerate(part.scale.names):
        own = part.truth == k
        counts = np.bincount(part.predicted[own], minlength=5)
        wrong = counts.sum() - counts[k]
        told = f"{wrong} of {counts.sum()} images called otherwise: " if wrong else "Every image called so."
        assert told in Page(html).text
        section = html[html.index(f"<h4>{stage}</h4>") :]
        section = section[: section.index("<h4>", 4) if "<h4>" in section[4:] else None]
        assert set(re.findall(r"<p><strong>(F\d)</strong> called", section[: section.find("<h3>")])) <= {stage}


def test_pictures_are_asked_for_only_where_they_are_shown_and_may_be_missing() -> None:
    asked: list[str] = []
    inputs = report_inputs()
    html = show(replace(inputs, picture=lambda image_id: asked.append(image_id)), "errors")
    shown = {part.image_ids[row] for part in inputs.parts for row in worst_rows(part, PICTURES_PER_NETWORK)}
    alike = {f"{7000 + rank:016x}" for rank in range(NEIGHBOURS_SHOWN)}
    assert set(asked) == shown | alike
    withheld = sum(image_id in shown for image_id in asked)
    assert html.count("No picture stored.") == withheld
    assert 'class="layer"' not in html, "a layer without its picture shows nothing"
    told = show(replace(inputs, picture=lambda image_id: None, no_picture="Picture withheld: <why>."), "errors")
    assert told.count("Picture withheld: &lt;why&gt;.") == withheld


def test_what_the_network_saw_and_whom_it_took_it_for_are_told_in_words_and_numbers(html: str) -> None:
    page = Page(html)
    assert re.search(
        r"For F\d rather than F\d: (centre|(upper|middle|lower) (left|centre|right)) \(\d+ %\); at most \d", page.text
    )
    shown = sum(len(worst_rows(part, PICTURES_PER_NETWORK)) for part in report_inputs().parts)
    assert html.count('class="layer"') == html.count('class="cells"') == html.count('class="neighbours"') == shown
    assert "Labels worth checking: network and nearest training images both put these at least 1 stage" in page.text
    assert "a doubted label is one to look at, not one to change" in page.text


def test_where_no_picture_may_be_shown_nothing_speaks_of_layers_or_small_pictures() -> None:
    text = Page(show(report_inputs(picture=lambda image_id: None), "errors")).text
    assert "Show the layers" not in text
    assert "Coloured layers" not in text
    assert "Small pictures" not in text
    assert "The stages below an error are of the training images" in text


def test_a_map_of_nothing_is_not_drawn_and_a_network_that_knows_nothing_doubts_no_label() -> None:
    parts = [
        made_up_predictions(name, 50, 2, skill=0.0, seed=seed) for name, seed in (("teacher", 8), ("student_kd", 9))
    ]
    faint = {
        name: replace(known, evidence=ImageArrays(known.evidence.image_ids, known.evidence.values / 100))
        for name, known in made_up_collected(parts).items()
        if known.evidence is not None
    }
    document = metrics_document(parts, {part.network: {"parameters": 1} for part in parts}, FIT, FEW)
    html = show(
        replace(report_inputs(robustness=None, rounds=None), predictions=parts, document=document, collected=faint),
        "errors",
    )
    text = Page(html).text
    assert 'class="layer"' not in html
    assert "No square by itself changes the answer." in text
    assert text.count("this network is not shown to stage better than chance") == 2
    assert "Labels worth checking" not in text


def test_without_maps_and_neighbours_nothing_is_said_of_them() -> None:
    html = render_report(report_inputs(collected={}, robustness=None))
    assert "How steady the answers are" not in html, "nor of pictures that nobody disturbed"
    for words in ("Show the layers", "Layer in numbers", "most alike", "Labels worth checking"):
        assert words not in Page(html).text, words
