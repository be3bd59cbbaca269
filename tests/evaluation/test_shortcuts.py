"""Shortcuts beside networks: paired differences, and a first line that names whoever is no better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from fibrokd.errors import TableError
from fibrokd.evaluation.shortcuts import judged, shortcuts_document
from tests.evaluation.made_up import made_up_predictions
from tests.evaluation.made_up_report import FEW, Page, made_up_shortcut, report_inputs, show

NETWORKS = [made_up_predictions("teacher", 50, 2, 2.0, seed=3), made_up_predictions("student_kd", 50, 2, 0.3, seed=3)]


def _told(*shortcuts, lookup=0.1):
    inputs = report_inputs(lookup=lookup)
    tested = [part for part in inputs.predictions if part.split == "test"]
    return replace(inputs, shortcuts=shortcuts_document(tested, shortcuts, FEW))


def test_figures_are_those_of_the_answers_and_differences_are_paired():
    shortcut = made_up_shortcut(NETWORKS[0], 0.4)
    found = shortcuts_document(NETWORKS, [shortcut], FEW)["shortcuts"]["metadata"]
    said = shortcut.probabilities.argmax(1)
    assert found["figures"]["accuracy"]["value"] == pytest.approx(accuracy_score(shortcut.truth, said))
    assert found["figures"]["balanced_accuracy"]["value"] == pytest.approx(
        balanced_accuracy_score(shortcut.truth, said)
    )
    for part in NETWORKS:
        difference = found["networks_less_this"][part.network]["accuracy"]
        own = accuracy_score(part.truth, part.probabilities.argmax(1))
        assert difference["value"] == pytest.approx(own - accuracy_score(shortcut.truth, said))
        assert difference["low"] < difference["value"] < difference["high"]
    same = shortcuts_document([replace(shortcut, network="copy")], [shortcut], FEW)["shortcuts"]["metadata"]
    assert same["networks_less_this"]["copy"]["accuracy"]["value"] == 0


def test_a_shortcut_that_answered_other_images_is_refused():
    other = made_up_shortcut(made_up_predictions(patients=10))
    with pytest.raises(TableError):
        shortcuts_document(NETWORKS, [other], FEW)


@pytest.mark.parametrize(
    ("value", "low", "verdict"),
    [(0.2, 0.1, "beats"), (0.2, 0.0, "not shown"), (0.2, None, "not shown"), (0.0, -0.1, "does not beat"),
     (-0.1, -0.2, "does not beat"), (None, None, "does not beat")],
)  # fmt: skip
def test_only_an_interval_above_zero_beats_a_shortcut(value, low, verdict):
    assert judged({"value": value, "low": low}) == verdict


def test_the_first_line_names_every_network_that_file_facts_equal(html):
    part = report_inputs().parts[0]
    assert "Every network beats a lookup table" in (text := Page(html).text)
    assert "and what format, size and name of the file tell (accuracy 0.200)." in text
    nearly_all = _told(made_up_shortcut(part, 0.98), made_up_shortcut(part, 0.0, "scanner"))
    text = Page(show(nearly_all, "controls")).text
    line = "do not beat what format, size and name of the file tell (accuracy 0.98"
    assert line in text[: text.index("In this report")]
    assert "Every network beats" not in text
    assert "Scanner and site alone, without a picture" in text
    assert "Teacher less it" in text[text.index("Shortcuts do not open the picture at all") :]


def test_a_network_that_is_higher_by_chance_is_not_said_to_beat_a_shortcut():
    inputs = report_inputs()
    accuracies = sorted(network["accuracy"]["value"] for network in inputs.networks.values())
    part = inputs.parts[0]
    a_little_less = max(share for share in np.linspace(0, 1, 51) if _accuracy(part, share) < accuracies[0])
    text = Page(show(_told(made_up_shortcut(part, float(a_little_less))))).text
    assert "is not shown to beat what format, size and name of the file tell" in text


def _accuracy(part, share):
    return accuracy_score(part.truth, made_up_shortcut(part, float(share)).probabilities.argmax(1))


def test_without_any_control_the_line_says_that_it_was_not_measured():
    nothing = replace(report_inputs(), shortcuts=None, integrity={"files": 1})
    assert "Whether a lookup table does as well was not measured" in Page(show(nothing)).text
