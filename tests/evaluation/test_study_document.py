"""Families of comparisons, what a study's document warns of, and what its tables say."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrokd.evaluation.comparisons.p_values import holm
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.study.document import study_document
from fibrokd.evaluation.study.families import Declaration
from fibrokd.evaluation.study.pooled import Trial
from fibrokd.evaluation.study.restricted import restricted
from fibrokd.evaluation.study.table import study_markdown
from tests.evaluation.test_study import CONFIG, FACTS, answers

REFERENCES = ("none", "kd")
PLAIN = Declaration()
NONE = Declaration(unaided=True)


def trials(skills, seeds=(0, 1, 2)):
    """Networks by arm; every arm errs on images of its own."""
    return [
        Trial(arm, "tiny", 1.0, seed, answers(skill, 100 * seed + k), FACTS)
        for k, (arm, skill) in enumerate(skills.items())
        for seed in seeds
    ]


def document(skills, declared=None, config=CONFIG, teachers=(), seeds=(0, 1, 2)):
    arms = {name: (declared or {}).get(name, NONE if name == "none" else PLAIN) for name in skills}
    return study_document(trials(skills, seeds), arms, REFERENCES, config, teachers)


def entry(found, arm, reference, metric="quadratic_kappa"):
    (one,) = [e for e in found["comparisons"] if (e["arm"], e["reference"], e["metric"]) == (arm, reference, metric)]
    return one


def pairs(found):
    return {(e["arm"], e["reference"]) for e in found["comparisons"]}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_keeps_the_order_and_rejects_as_the_step_down_rule_does(values):
    adjusted = holm(values)
    assert all(a >= v - 1e-12 for a, v in zip(adjusted, values, strict=True))
    assert all(a <= 1 for a in adjusted)
    order = np.argsort(values, kind="stable")
    assert all(adjusted[i] <= adjusted[j] + 1e-12 for i, j in pairwise(order.tolist()))
    rejected, m = set(), len(values)
    for rank, position in enumerate(order):  # the definition: stop at the first that is not small enough
        if values[position] > 0.05 / (m - rank):
            break
        rejected.add(int(position))
    assert rejected == {k for k, a in enumerate(adjusted) if a <= 0.05} or any(
        abs((m - r) * values[p] - 0.05) < 1e-9 for r, p in enumerate(order)
    )


# --------------------------------------------------------------------------- families
def test_arms_that_declare_nothing_form_one_family_per_reference_and_a_pair_is_tested_once():
    found = document({"none": 0.3, "kd": 0.6, "x": 0.9})
    assert pairs(found) == {("kd", "none"), ("x", "none"), ("x", "kd")}
    assert entry(found, "x", "none")["family"] == "all against none"
    assert (entry(found, "x", "none")["family_size"], entry(found, "x", "kd")["family_size"]) == (2, 1)
    assert all(e["p_holm"] >= e["p"] for e in found["comparisons"] if e["p"] is not None)


def test_a_declared_pair_is_a_family_of_its_own_and_is_not_corrected():
    skills = {"none": 0.55, "kd": 0.6, "x": 0.6, "y": 0.55, "z": 0.6}
    common = document(skills)
    own = document(skills, {"x": Declaration(against=("kd",))})
    assert entry(common, "x", "kd")["family_size"] == 3
    one = entry(own, "x", "kd")
    assert (one["family"], one["family_size"]) == ("declared by x", 1)
    assert one["p_holm"] == one["p"] == entry(common, "x", "kd")["p"]
    assert entry(own, "y", "kd")["family_size"] == 2
    assert ("x", "none") not in pairs(own)


def test_declared_endpoints_are_corrected_together_and_nothing_else_is_tested():
    declared = {"x": Declaration(against=("kd", "y"), endpoints=("quadratic_kappa", "mean_absolute_stage_error"))}
    found = document({"kd": 0.5, "y": 0.55, "x": 0.6}, declared)
    tested = [e for e in found["comparisons"] if e["arm"] == "x" and e["p"] is not None]
    assert {e["metric"] for e in tested} == {"quadratic_kappa", "mean_absolute_stage_error"}
    assert [e["family_size"] for e in tested] == [4] * 4
    assert [e["p_holm"] for e in tested] == holm([e["p"] for e in tested])
    assert entry(found, "x", "kd", "log_loss")["low"] is not None
    assert entry(found, "x", "kd", "log_loss")["p_holm"] is None


def test_controls_enter_no_family_but_those_of_the_arms_that_name_them():
    declared = {"control": Declaration(control=True), "x": Declaration(against=("control",))}
    found = document({"none": 0.5, "kd": 0.5, "control": 0.5, "x": 0.5, "y": 0.5}, declared)
    assert pairs(found) == {("kd", "none"), ("y", "none"), ("y", "kd"), ("x", "control")}
    assert entry(found, "y", "none")["family_size"] == 2
    assert "`control` (control)" in study_markdown(found)


def test_by_default_arms_are_compared_on_the_same_backbone_and_stages_alone():
    two = [
        Trial(arm, "tiny", 1.0, 0, restricted(answers(0.6, k), ("F3", "F4")), FACTS)
        for k, arm in enumerate(("some", "none_some"))
    ]
    other = Trial("big", "resnet18", 1.0, 0, answers(0.6, 7), FACTS)
    arms = {"none": NONE, "some": Declaration(against=("none_some",)), "none_some": PLAIN, "big": PLAIN}
    found = study_document([*trials({"none": 0.5}), *two, other], arms, REFERENCES, CONFIG)
    assert pairs(found) == {("some", "none_some")}


# --------------------------------------------------------------------------- words
def test_better_and_worse_are_said_by_the_corrected_p_value():
    """One of many arms whose interval excludes 0 is not yet better."""
    skills = {"kd": 0.55, "x": 0.58} | {f"same_{k}": 0.55 for k in range(12)}
    found = document(skills, config=BootstrapConfig(resamples=4000))
    clear = entry(found, "x", "kd")
    assert clear["low"] > 0
    assert clear["p"] < 0.05 < clear["p_holm"]
    assert "better" not in cell_of(found, "| `x` | all against kd (13)")
    alone = document(skills, {"x": Declaration(against=("kd",))}, BootstrapConfig(resamples=4000))
    assert entry(alone, "x", "kd")["p_arms_holm"] == entry(alone, "x", "kd")["p_arms"] < clear["p_arms_holm"]


@pytest.mark.parametrize(
    ("seeds", "said"), [((0,), "networks p 0.005"), ((0, 1), "(too few seeds)"), ((0, 1, 2), "better")]
)
def test_nothing_is_called_better_by_patients_alone(seeds, said):
    found = document({"none": 0.2, "kd": 0.95}, seeds=seeds)
    assert entry(found, "kd", "none")["p_holm"] < 0.05
    assert cell_of(found, "| `kd` | all against none").strip().endswith(said)


def test_a_difference_that_trainings_of_one_arm_have_too_is_neither_better_nor_worse():
    skills = {"none": (0.4, 0.4, 0.6), "kd": (0.9, 0.9, 0.4)}
    drawn = [
        Trial(arm, "tiny", 1.0, seed, answers(skill, 100 * seed + k), FACTS)
        for k, (arm, each) in enumerate(skills.items())
        for seed, skill in enumerate(each)
    ]
    found = study_document(drawn, {"none": NONE, "kd": PLAIN}, REFERENCES, CONFIG)
    one = entry(found, "kd", "none")
    assert [value > 0 for value in one["by_seed"]] == [True, True, False]
    assert one["value"] == pytest.approx(np.mean(one["by_seed"]))
    assert one["p_holm"] < 0.05 < one["p_arms"] == one["p_arms_holm"]
    assert one["arms_low"] < 0 < one["low"] < one["value"] < one["high"] < one["arms_high"]
    assert cell_of(found, "| `kd` | all against none").strip().endswith(f"p {one['p_arms']:.3f}")
    (told,) = [t for t in found["trainings"] if t["metric"] == "quadratic_kappa"]
    assert (told["arms"], told["degrees"]) == (2, 4)
    line = f"(2 arms, 4 degrees of freedom): Balanced accuracy {found['trainings'][0]['deviation']:.3f}, "
    assert line in study_markdown(found)


def test_p_values_of_arms_are_corrected_in_the_families_of_those_of_networks():
    found = document({"none": 0.5, "kd": 0.6, "x": 0.65, "y": 0.7})
    for reference in ("none", "kd"):
        family = [e for e in found["comparisons"] if e["reference"] == reference and e["metric"] == "quadratic_kappa"]
        assert [e["p_arms_holm"] for e in family] == holm([e["p_arms"] for e in family])
    assert all(e["p_arms"] is None for e in found["comparisons"] if e["metric"] == "expected_calibration_error")


def test_arms_of_one_training_each_are_not_compared_as_arms():
    found = document({"none": 0.3, "kd": 0.9}, seeds=(0,))
    assert found["trainings"] == []
    assert entry(found, "kd", "none")["arms_low"] is None
    assert "Standard deviation between trainings" not in study_markdown(found)


def cell_of(found, start):
    """What the table says of quadratic kappa in the row that begins so."""
    (line,) = [line for line in study_markdown(found).splitlines() if line.startswith(start)]
    return line.split("|")[4]


def test_errors_are_better_when_they_are_lower():
    found = document({"none": 0.3, "kd": 0.6, "x": 0.9}, {"x": Declaration(note="new")})
    text = study_markdown(found)
    assert "`x` (new)" in text
    row = next(line for line in text.split("Difference from `kd`")[1].splitlines() if line.startswith("| `x`"))
    _, balanced, kappa, error, *_ = (cell.strip() for cell in row.split("|")[2:])
    assert all(cell.endswith("better") for cell in (balanced, kappa, error))
    assert balanced.startswith("+")
    assert error.startswith("-")


def test_too_few_resamples_for_the_number_of_comparisons_are_warned_of():
    skills = {"kd": 0.5} | {f"x{k}": 0.5 for k in range(6)}
    few = document(skills, config=BootstrapConfig(resamples=1000), seeds=(0,))
    assert "1000 resamples are too few for 6 comparisons" in few["warnings"][0]  # 2 · 6 / 1001 > 0.05 / 5
    assert "**Warning**: 1000 resamples are too few" in study_markdown(few)
    assert document(skills, config=BootstrapConfig(resamples=1200), seeds=(0,))["warnings"] == []


def test_rows_of_fewer_stages_stand_in_a_table_of_their_own():
    two = Trial("some", "tiny", 1.0, 0, restricted(answers(0.6, 1), ("F3", "F4")), FACTS)
    arms = {"none": NONE, "some": PLAIN}
    text = study_markdown(study_document([*trials({"none": 0.5}), two], arms, REFERENCES, CONFIG))
    whole, part = text.split("## tiny, 100 % of the training patients, F3 and F4 alone")
    assert "`none`" in whole.split("## tiny")[1]
    assert "| `some`" not in whole
    assert "| `none`" not in part


@pytest.mark.parametrize(("skill", "better"), [(0.95, True), (0.5, False), (0.2, False)])
def test_a_teacher_that_is_not_better_than_learning_without_it_is_warned_of(skill, better):
    teacher = Trial("big", "resnet50", 1.0, 0, answers(skill, 9), FACTS)
    declared = {"kd": Declaration(teachers=("big",))}
    found = document({"none": 0.5, "kd": 0.5}, declared, teachers=[teacher])
    (entry_of_it,) = [t for t in found["teachers"] if t["metric"] == "balanced_accuracy"]
    assert (entry_of_it["teacher"], entry_of_it["reference"]) == ("big", "none")
    assert entry_of_it["better"] is better
    assert any("cannot be interpreted" in warning for warning in found["warnings"]) is not better
    text = study_markdown(found)
    assert "| `teacher:big` | 1 |" in text
    line = next(line for line in text.splitlines() if line.startswith("| `teacher:big` − `none`"))
    assert ("**not better**" in line.split("|")[2]) is not better


def test_a_teacher_of_all_stages_is_compared_with_an_arm_of_some_on_their_images():
    teacher = Trial("big", "resnet50", 1.0, 0, answers(0.9, 9), FACTS)
    two = [
        Trial(arm, "tiny", 1.0, 0, restricted(answers(0.5, k), ("F3", "F4")), FACTS)
        for k, arm in enumerate(("none_some", "some"))
    ]
    arms = {"none_some": NONE, "some": Declaration(against=("none_some",), teachers=("big",))}
    found = study_document(two, arms, REFERENCES, CONFIG, [teacher])
    assert {t["reference"] for t in found["teachers"]} == {"none_some"}


def test_what_training_cost_stands_in_a_table_of_its_own_and_is_explained_once():
    backbones = [Trial("none", name, 1.0, 0, answers(0.5, 0), FACTS) for name in ("tiny", "resnet18")]
    text = study_markdown(study_document(backbones, {"none": NONE}, REFERENCES, CONFIG))
    assert text.count("### What training cost") == text.count("| `none` | 2 |") == 2
    assert text.count("Medians over seeds.") == 1


def test_the_tables_begin_with_the_question_and_with_what_it_was_asked_of():
    found = document({"none": 0.5, "kd": 0.5})
    images = "120 test images of 60 clusters: F0 24, F1 24, F2 24, F3 24, F4 24."
    assert study_markdown(found).startswith(f"# Study\n\n{images}\n\nMeans over seeds")
    origin = {"title": "Why?", "configuration": "c" * 64, "prepared": "d" * 64}
    cells = {"finished": 2, "planned": 5, "failed": 0}
    text = study_markdown({**found, **origin, "cells": cells, "synthetic": True}, "costs.svg")
    data = f"configuration `{'c' * 64}`, prepared data `{'d' * 64}`."
    simulated = f"**Simulated pictures of made-up patients**, {images} None of these figures transfers to persons."
    assert text.startswith(f"# Study: Why?\n\n2 of 5 cells; {data}\n\n{simulated}\n\nMeans over seeds")
    assert "](costs.svg)" in text


def test_readers_are_told_what_seeds_and_families_and_intervals_are():
    text = study_markdown(document({"none": 0.5, "kd": 0.5}))
    for words in (
        "All seeds share the teachers, the views",
        "initial weights and dropout",
        "family of its own",
        "symmetric bootstrap",
    ):
        assert words in text
