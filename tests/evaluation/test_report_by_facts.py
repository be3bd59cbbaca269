"""The report's sections about patients and subgroups."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.report import ReportInputs, render_report
from fibrokd.evaluation.sections.patients import patients
from fibrokd.evaluation.sections.subgroups import BETTER, SAME, UNKNOWN, WORSE, in_words, subgroups
from tests.evaluation.made_up import made_up_facts
from tests.evaluation.made_up_report import FEW, SKILLS, Page, report_answers, report_inputs, show


def inputs(**columns) -> ReportInputs:
    """A report on patients of fifty, the students weak on scanner "old", with facts of all images."""
    parts = [weakened(part) if part.network != "teacher" else part for part in report_answers(None)]
    own = [part for part in parts if part.network == "teacher"]
    scanner = ["old" if is_old(name) else "new" for part in own for name in part.groups]
    facts = made_up_facts(own, scanner=scanner, place=["north"] * len(scanner), **columns)
    costs = {name: {"parameters": 1_522_981} for name in SKILLS}
    document = metrics_document(parts, costs, report_inputs().stamp, FEW, facts=facts)
    return replace(report_inputs(), document=document, predictions=parts)


def is_old(group):
    return int(group[-3:]) % 2 == 0


def weakened(part):
    p = part.probabilities.copy()
    rows = [k for k, group in enumerate(part.groups) if is_old(group)]
    p[rows] = np.roll(p[rows], 2, axis=1)
    return replace(part, probabilities=p)


@pytest.fixture(scope="module")
def made():
    return inputs()


@pytest.fixture(scope="module")
def text(made):
    return Page(show(made, "patients", "subgroups")).text


def test_who_is_staged_worse_is_said_first_and_who_is_not_is_not(made, text):
    found = subgroups(made)
    assert found["findings"]
    assert all("scanner old" in line and "points" in line for line in found["findings"])
    assert not any("Teacher" in line for line in found["findings"])
    assert all(line in text for line in found["findings"])
    (table,) = found["tables"]
    assert [row.head for row in table.rows] == ["new", "old"]
    assert len(table.rows[0].cells) == len(table.columns) - 1 == 2 * len(SKILLS)
    assert "Not shown: Place: it is the same for all images." in text


def test_patients_have_figures_of_their_own_and_how_they_came_about_is_told(made, text):
    found = patients(made)
    assert [table.label for table in found["tables"]] == ["Patients"]  # studies are single images
    student = made.networks["student_kd"]["units"]["patient"]
    assert f"{student['accuracy']['value']:.3f}" in text
    assert "50 patients, 2 images each" in text
    chosen = found["choices"][0].rows[2]
    reached = student["chosen_on"]["balanced_accuracy"]
    assert chosen.cells[0] == f"{reached['mean']:.3f}"
    assert chosen.aside == "50 validation units"


def test_without_facts_neither_section_is_there():
    document = metrics_document(report_answers(None), {name: {"parameters": 1} for name in SKILLS}, config=FEW)
    without = replace(report_inputs(), document=document)
    text = Page(render_report(without)).text
    assert patients(without) is None
    assert subgroups(without) is None
    assert "Patients and studies" not in text
    assert "Who is staged worse" not in text


def test_where_nothing_is_worse_that_is_no_evidence():
    own = [part for part in report_answers(None) if (part.network, part.split) == ("teacher", "test")]

    def report(scanner):
        facts = made_up_facts(own, scanner=scanner)
        document = metrics_document(own, {"teacher": {"parameters": 1}}, report_inputs().stamp, FEW, facts=facts)
        return replace(report_inputs(rounds=None), document=document, predictions=own)

    fair = report(["a" if k % 4 < 2 else "b" for k in range(100)])  # patients have two images each
    assert subgroups(fair)["findings"] == []
    assert "no evidence that all are staged alike" in Page(show(fair, "patients", "subgroups")).text
    small = report(["a" if k < 6 else "b" for k in range(100)])
    assert subgroups(small)["compared"] == 0
    assert "No subgroup is large enough" in Page(show(small, "patients", "subgroups")).text


@pytest.mark.parametrize(
    ("gap", "words"),
    [
        ({"value": -0.1, "p_holm": 0.01}, WORSE),
        ({"value": 0.1, "p_holm": 0.01}, BETTER),
        ({"value": -0.1, "p_holm": 0.05}, SAME),
        ({"value": -0.1}, UNKNOWN),
        ({"value": None}, ""),
    ],
)
def test_only_a_corrected_p_value_says_worse(gap, words):
    assert in_words(gap, 0.05) == words
