"""Patients and studies: one answer made of many, by a rule that validation images chose."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from fibrokd.evaluation.aggregation import RULES, of_units
from fibrokd.evaluation.fixed_beforehand import NONE_THERE
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.units.document import units
from tests.evaluation.made_up import made_up_facts, made_up_predictions, of_split

CONFIG = BootstrapConfig(resamples=200)


def one_patient(*rows, truth=2):
    part = made_up_predictions(patients=1, frames=len(rows))
    p = np.array(rows, dtype=np.float64)
    return replace(part, truth=np.full(len(rows), truth), probabilities=p)


ROWS = ([0.5, 0.2, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.05, 0.05], [0.4, 0.3, 0.2, 0.05, 0.05])


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("mean", np.mean(ROWS, axis=0)),
        ("product", np.prod(ROWS, axis=0) ** (1 / 3) / (np.prod(ROWS, axis=0) ** (1 / 3)).sum()),
        ("median", np.median(ROWS, axis=0) / np.median(ROWS, axis=0).sum()),
        ("votes", np.array([2, 0, 1, 0, 0]) / 3),
        ("surest", np.array(ROWS[1])),
    ],
)
def test_three_answers_become_one(rule, wanted):
    made = of_units(one_patient(*ROWS), ["a"] * 3, RULES[rule])
    assert made.answers.probabilities[0] == pytest.approx(wanted, abs=1e-12)
    assert (made.answers.image_ids, made.answers.groups, made.left_out) == (("a",), ("P000",), 0)


@pytest.mark.parametrize("rule", RULES)
@given(order=st.permutations(range(12)), data=st.integers(0, 10_000))
@settings(max_examples=25)
def test_the_order_of_images_and_copies_of_all_of_them_change_nothing(rule, order, data):
    p = np.random.default_rng(data).dirichlet(np.ones(5), 12)
    part = replace(made_up_predictions(patients=12, frames=1), probabilities=p, truth=np.repeat([0, 1, 2], 4))
    names = np.repeat(["a", "b", "c"], 4)
    wanted = of_units(part, list(names), RULES[rule]).answers.probabilities
    turned = of_units(part.rows(np.array(order)), list(names[list(order)]), RULES[rule]).answers.probabilities
    assert turned == pytest.approx(wanted, abs=1e-12)
    assert wanted.sum(axis=1) == pytest.approx(1, abs=1e-9)
    twice = replace(
        part,
        image_ids=tuple(f"{name}{k}" for k in range(2) for name in part.image_ids),
        groups=part.groups * 2,
        truth=np.tile(part.truth, 2),
        probabilities=np.tile(p, (2, 1)),
    )
    assert of_units(twice, list(names) * 2, RULES[rule]).answers.probabilities == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_single_image_stands_for_itself(rule):
    part = made_up_predictions(patients=9, frames=1)
    made = of_units(part, part.image_ids, RULES[rule]).answers
    assert made.predicted.tolist() == part.predicted.tolist()
    if rule != "votes":
        assert made.probabilities == pytest.approx(part.probabilities, abs=1e-9)


def test_units_of_several_stages_have_none():
    part = one_patient(*ROWS)
    mixed = replace(part, truth=np.array([1, 2, 2]))
    assert of_units(mixed, ["a", "a", "a"], RULES["mean"]).left_out == 1
    assert of_units(mixed, ["a", "a", "a"], RULES["mean"]).answers is None
    found = of_units(mixed, ["a", "a", "b"], RULES["mean"])
    assert (found.left_out, found.answers.image_ids) == (1, ("b",))


def split_of(split, **options):
    return of_split(made_up_predictions(**options), split)


@pytest.fixture(scope="module")
def found():
    test, val = split_of("test", frames=4, skill=0.8), split_of("val", frames=4, skill=0.8, seed=1)
    facts = made_up_facts([test, val])
    return test, val, facts, units(test, val, facts, CONFIG)["units"]


def test_figures_of_patients_are_those_of_their_answers(found):
    test, _, _, document = found
    entry = document["patient"]
    rule = RULES[entry["rule"]]
    answers = of_units(test, test.groups, rule).answers
    assert (entry["units"], entry["left_out"], entry["unknown_images"]) == (60, 0, 0)
    assert entry["images_per_unit"] == {"least": 4, "median": 4.0, "most": 4}
    assert entry["accuracy"]["value"] == pytest.approx(accuracy_score(answers.truth, answers.predicted), abs=1e-9)
    area = roc_auc_score(answers.truth >= 3, answers.probabilities[:, 3:].sum(axis=1))
    assert entry["auroc"]["≥F3"]["value"] == pytest.approx(area, abs=1e-9)
    assert entry["per_stage"]["F0"]["units"] == 12
    single = accuracy_score(test.truth, test.predicted)
    assert entry["accuracy"]["value"] > single  # frames of a patient err apart, too
    assert "operating_points" in entry["end_points"]["≥F3"]


def test_the_rule_is_that_of_validation_and_never_that_of_test(found):
    test, val, facts, document = found
    reached = document["patient"]["chosen_on"]["balanced_accuracy"]
    for name, rule in RULES.items():
        answers = of_units(val, val.groups, rule).answers
        assert reached[name] == pytest.approx(balanced_accuracy_score(answers.truth, answers.predicted), abs=1e-9)
    assert document["patient"]["rule"] == max(RULES, key=lambda name: reached[name])
    worse = replace(test, probabilities=test.probabilities[::-1])
    assert units(worse, val, facts, CONFIG)["units"]["patient"]["rule"] == document["patient"]["rule"]


def test_a_rule_other_than_the_mean_is_taken_where_validation_says_so():
    """One frame in three is sure and right, the others are blind and agree on a wrong stage."""
    test, val = split_of("test", frames=3), split_of("val", frames=3)
    for part in (test, val):
        blind = np.full(5, 0.02)
        p = np.tile(blind, (len(part), 1))
        p[np.arange(len(part)), (part.truth + 1) % 5] = 0.92
        sure = np.arange(len(part)) % 3 == 0
        p[sure] = 0.001
        p[sure, part.truth[sure]] = 0.996
        part.probabilities[:] = p
    entry = units(test, val, made_up_facts([test, val]), CONFIG)["units"]["patient"]
    assert entry["rule"] == "surest"
    assert entry["accuracy"]["value"] == 1.0


def test_studies_are_the_studies_of_a_patient(found):
    _, _, _, document = found
    assert document["study"]["units"] == 120  # two of sixty patients; "1" and "2" are no studies by themselves
    assert list(document) == ["study", "patient"]


def test_one_study_of_every_patient_is_not_told_twice(found):
    test, val, facts, _ = found
    once = replace(facts, table=facts.table.assign(study="1"))
    assert list(units(test, val, once, CONFIG)["units"]) == ["patient"]


def test_without_validation_the_rule_is_the_mean_and_says_so(found):
    test, val, facts, _ = found
    for others in (NONE_THERE, val.rows(np.arange(16))):
        entry = units(test, others, facts, CONFIG)["units"]["patient"]
        assert entry["rule"] == "mean"
        assert "chosen_on" not in entry


def test_images_of_unknown_patients_are_counted_and_single_images_are_no_units(found):
    test, val, facts, _ = found
    table = facts.table.copy()
    table.loc[table.index[:8], "patient"] = ""
    known = replace(facts, table=table)
    entry = units(test, val, known, CONFIG)["units"]["patient"]
    assert (entry["unknown_images"], entry["units"]) == (8, 58)
    assert units(test, val, replace(facts, table=table.assign(patient="")), CONFIG) == {}
    alone = split_of("test", frames=1)
    assert units(alone, NONE_THERE, made_up_facts([alone]), CONFIG) == {}


def test_patients_of_several_stages_only_are_not_estimable(found):
    test, _, facts, _ = found
    mixed = replace(test, truth=np.tile([0, 1, 2, 3], 60))
    entry = units(mixed, NONE_THERE, facts, CONFIG)["units"]["patient"]
    assert (entry["left_out"], "accuracy" in entry) == (60, False)
