"""Every reason that a rule can give has its line on the page, and numbers are written so that they stay whole."""

import ast
import inspect
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.integrity import reasons_files, reasons_groups, reasons_shortcuts
from fibrokd.integrity.controls import CONTROLS
from fibrokd.integrity.levels import LEVELS
from fibrokd.integrity.page_words import HEADLINES, LEVEL_HEADS, LEVEL_WORDS, points, probability, unbroken, worded
from fibrokd.integrity.verdict import RULES


def codes_of(module):
    """Codes of the reasons that a module's text gives, controls apart."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Reason":
            code = node.args[0]
            if isinstance(code, ast.Constant):
                yield code.value
            elif hasattr(module, code.id):
                yield getattr(module, code.id)


def test_every_code_of_every_rule_has_a_line_and_no_line_is_left_over():
    modules = (reasons_files, reasons_groups, reasons_shortcuts)
    assert {inspect.getmodule(rule) for rule in RULES} == set(modules)
    given_codes = {code for module in modules for code in codes_of(module)}
    judged_alone = set(CONTROLS) - {"scanner"}  # judged together with the association
    assert len(given_codes) > 20
    assert given_codes | judged_alone == set(HEADLINES)


def test_a_code_without_a_line_is_shown_by_its_full_text():
    reason = {"code": "new_rule", "severity": "caution", "number": 3, "text": "Something new.", "todo": "Look."}
    told = worded(reason, 4, ["split"])
    assert (told["headline"], told["figure"], told["evidence"]) == ("Something new.", "", "")
    assert (told["place"], told["id"]) == (4, "reason-4")


@pytest.mark.parametrize(
    ("code", "number", "figure"),
    [("copies", 0.7571, "75.7 %"), ("copies", 0, "0.0 %"), ("wrong_extension", 1938, "1938"),
     ("scanner_stage", 0.7052, "0.71"), ("no_card", 0, "")],
)  # fmt: skip
def test_numbers_of_reasons_are_written_as_shares_counts_or_not_at_all(code, number, figure):
    reason = {"code": code, "severity": "caution", "number": number, "text": "", "todo": ""}
    assert worded(reason, 1, [])["figure"].replace("\u00a0", " ") == figure


def test_evidence_is_pointed_to_only_where_it_stands():
    reason = {"code": "copies", "severity": "caution", "number": 0.5, "text": "", "todo": ""}
    assert worded(reason, 1, ["example-most_copied"])["evidence"] == "example-most_copied"
    assert worded(reason, 1, ["split"])["evidence"] == ""


def test_every_split_level_has_words():
    assert set(LEVEL_WORDS) == set(LEVEL_HEADS) == set(LEVELS)


@given(st.floats(-200, 200))
def test_points_carry_a_sign_and_a_minus_that_is_read_aloud(gained):
    text = points(gained)
    assert text[0] in "+\u2212"
    assert math.isclose(float(text.replace("\u2212", "-")), gained, abs_tol=0.0501)


def test_small_probabilities_are_bounded_and_percent_signs_stay_with_their_numbers():
    assert probability(3.67e-41).replace("\u00a0", " ") == "p < 0.001"
    assert probability(0.175).replace("\u00a0", " ") == "p = 0.175"
    assert unbroken("in 5.1 % of 3") == "in 5.1\u00a0% of 3"
