"""What the report says first."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest
from sklearn.metrics import confusion_matrix

from fibrokd.evaluation.document import cluster_words, metrics_document
from fibrokd.evaluation.report import render_report
from tests.evaluation.made_up import made_up_predictions
from tests.evaluation.made_up_report import (
    FIT,
    UNFIT,
    Page,
    report_inputs,
    show,
)


def test_intervals_of_few_clusters_come_with_what_they_keep_of_their_promise() -> None:
    text = Page(show(report_inputs())).text
    assert (
        "Intervals rest on 50 clusters. In simulated cohorts of 50, those of nominal 95 % held the truth in 94.4 %"
        in text
    )
    assert "92.4 % at worst (Macro-F1). Read them as too narrow." in text


def test_headline_numbers_are_those_of_the_metrics_document(html: str) -> None:
    text = Page(html).text
    for network in report_inputs().networks.values():
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa"):
            found = network[name]
            assert f"{found['value']:.3f} {found['low']:.3f}–{found['high']:.3f}" in text


def test_a_phantom_report_says_that_it_is_no_clinical_accuracy(html: str) -> None:
    text = Page(html).text
    assert "simulated test images" in text
    assert "Phantom accuracy is not clinical accuracy" in text
    assert "Unfit" not in text


def test_unfit_data_are_called_unfit_first_and_reasons_are_escaped() -> None:
    html = render_report(report_inputs(UNFIT))
    text = Page(html).text
    assert text.index("cannot support any claim") < text.index("Balanced accuracy")
    assert "Nothing about liver fibrosis: the data were found unfit" in text
    assert "this was accepted explicitly" in text
    assert "does not keep patients apart" in text
    assert "twin in train &lt;b&gt;." in html
    assert "Phantom" not in text


def test_data_without_a_verdict_are_not_called_fit() -> None:
    assert "No integrity verdict came with these numbers" in show(report_inputs({}))


def test_networks_that_do_not_beat_the_lookup_are_named_in_the_first_line() -> None:
    accuracy = {name: metrics["accuracy"] for name, metrics in report_inputs().networks.items()}
    between = accuracy["student_plain"]["value"] + 0.001
    text = Page(show(report_inputs(lookup=between))).text
    line = "Student without teacher (control) does not beat a lookup table that learns nothing"
    assert text.index(line) < text.index("Clusters:")
    below = accuracy["student_plain"]["low"] + 0.001
    text = Page(show(report_inputs(lookup=below))).text
    assert "Student without teacher (control) is not shown to beat a lookup table" in text
    text = Page(show(report_inputs(lookup=0.1))).text
    assert "Every network beats a lookup table" in text
    assert "nothing learned – 0.100 0.090–0.110 0.123 0.113–0.133 – –" in text


def test_what_the_clusters_are_is_said_where_the_numbers_are() -> None:
    alone = made_up_predictions("teacher", patients=60, frames=1)
    document = metrics_document([alone], {"teacher": {"parameters": 1}}, FIT, known_patients=0.0)
    assert document["bootstrap"]["clusters"] == "images (no patient is known)"
    text = Page(render_report(replace(report_inputs(), predictions=[alone], document=document))).text
    assert "60 simulated test images in 60 clusters" in text
    assert text.lower().count("clusters: images (no patient is known)") == 3
    assert cluster_words([alone], 1.0) == "images (each is alone in its cluster)"
    tied = made_up_predictions(patients=10)
    assert cluster_words([tied], 1.0) == "images tied by any evidence (patient, study, file name, content, likeness)"
    assert cluster_words([tied], 0.25).endswith("the patient is known for 25.0 % of the images only")


def test_a_five_stage_accuracy_too_good_to_be_true_raises_an_alarm() -> None:
    inputs = report_inputs()
    document = copy.deepcopy(inputs.document)
    document["networks"]["teacher"]["test"]["accuracy"]["value"] = 0.982
    text = Page(show(replace(inputs, document=document))).text
    assert "Teacher stages 98.2 % of the images right" in text
    assert "look for leakage" in text


def test_the_first_screen_holds_the_confusion_matrix_of_the_last_network(html: str) -> None:
    first = html[: html.index("In this report")]
    part = report_inputs().parts[-1]
    counts = confusion_matrix(part.truth, part.probabilities.argmax(1))
    table = first[first.index('<table class="matrix">') :]
    told = [int(number) for number in re.findall(r"<b>(\d+)</b>", table)]
    assert told == counts.reshape(-1).tolist()
    assert Page(html).text.count("→ ") >= counts.size
    assert f"The last of the {len(report_inputs().parts)} networks" in Page(first).text


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_intervals_of_fewer_clusters_than_were_simulated_warn_at_every_level(level: float) -> None:
    inputs = report_inputs()
    document = copy.deepcopy(inputs.document) | {"level": level}
    for network in document["networks"].values():
        network["test"]["clusters"] = 12
    text = Page(show(replace(inputs, document=document))).text
    assert "Intervals rest on 12 clusters. In simulated cohorts of 20, those of nominal 95 %" in text
    assert "Of fewer they hold it less often. Read them as too narrow." in text
