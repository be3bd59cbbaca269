"""Claims: what is written is what is judged, against the same figures as a study's tables."""

import argparse
import dataclasses
import math

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks import calibration_size
from fibrokd.config import parse_config
from fibrokd.errors import TableError
from fibrokd.evaluation.claims.contrasts import contrast_figure
from fibrokd.evaluation.claims.findings import finding_figure
from fibrokd.evaluation.claims.judged import judge_claims
from fibrokd.evaluation.claims.page import claims_markdown
from fibrokd.evaluation.claims.register import ArmOf, ClaimsConfig, Contrast, Finding
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.study.families import Declaration, comparisons, spreads_of
from fibrokd.evaluation.study.pooled import Trial, difference, pools
from tests.evaluation.test_study import FACTS, answers

CONFIG = BootstrapConfig(resamples=400)
KD, NONE, TEACHER = ArmOf("medium", "kd"), ArmOf("medium", "none"), ArmOf("medium", "teacher:big")


def pool(arm, skills, facts=None, patients=60, first=0):
    trials = [
        Trial(arm, "tiny", 1.0, seed, answers(skill, 100 * seed + len(arm), patients), {**FACTS, **(facts or {})})
        for seed, skill in enumerate(skills, start=first)
    ]
    return next(iter(pools(trials, CONFIG).values()))


@pytest.fixture(scope="module")
def found():
    return {
        KD: pool("kd", (0.8, 0.9, 0.85)),
        NONE: pool("none", (0.3, 0.35, 0.25, 0.3)),
        TEACHER: pool("teacher:big", (0.82,)),
    }


SEEDS = (0, 1, 2)


def figure_of(wanted, found, level=0.95):
    return contrast_figure(wanted, found, spreads(found), SEEDS, level)


def spreads(found):
    """Of every study, how far trainings of its arms differ."""
    by_study = {}
    for arm, one in found.items():
        if not arm.arm.startswith("teacher:"):
            by_study.setdefault(arm.study, {})[arm.arm, "tiny", arm.fraction] = one
    return {study: spreads_of(own) for study, own in by_study.items()}


def judge(config, found):
    return judge_claims(config, found, spreads(found))


def contrast(**given):
    return parse_config({"plus": ["medium/kd"], "minus": ["medium/none"], "above": 0, **given}, Contrast)


def register(claims, **more):
    return parse_config({"registered": "now", "claims": claims, "resamples": 400, **more}, ClaimsConfig)


def claim(**given):
    return {"methods": ["kd"], "says": "It helps.", "regime": "all", **given}


# --------------------------------------------------------------------------- the register
@pytest.mark.parametrize(
    ("written", "arm"),
    [
        ("medium/kd", ArmOf("medium", "kd")),
        ("few/tf_kd at 0.25", ArmOf("few", "tf_kd", 0.25)),
        ("others/kd on resnet18", ArmOf("others", "kd", 1.0, "resnet18")),
        ("few/kd at 0.1 on resnet18", ArmOf("few", "kd", 0.1, "resnet18")),
        ("medium/teacher:teacher-r3", ArmOf("medium", "teacher:teacher-r3")),
    ],
)
def test_an_arm_is_read_as_it_is_written(written, arm):
    read = contrast(plus=[written])
    assert read.plus == (arm,)
    assert str(arm) == written
    assert read.as_json()["plus"] == [written]


@pytest.mark.parametrize(
    "wrong",
    [
        {"plus": ["kd"]},
        {"plus": ["medium/kd @ 0.1"]},
        {"plus": []},
        {"above": None},
        {"below": 0.1},
        {"metric": "accuracy"},
        {"combine": "product"},
    ],
)
def test_a_contrast_that_says_nothing_is_refused(wrong):
    with pytest.raises(Exception, match=r"plus|above|below|metric|combine"):
        contrast(**wrong)


def test_a_claim_that_nothing_could_show_is_refused():
    with pytest.raises(Exception, match="nothing else could show it"):
        register({"a": claim(elsewhere="trust me")})
    with pytest.raises(ValidationError):
        ClaimsConfig(registered="now", claims={})


# --------------------------------------------------------------------------- contrasts
@pytest.mark.parametrize("metric", ["balanced_accuracy", "quadratic_kappa", "mean_absolute_stage_error", "log_loss"])
def test_a_contrast_of_two_arms_is_the_difference_of_the_studys_tables(found, metric):
    figure = figure_of(contrast(metric=metric), found)
    wanted = difference(found[KD], found[NONE], metric)
    assert [figure.value, figure.low, figure.high] == pytest.approx([wanted[k] for k in ("value", "low", "high")])
    assert figure.p == pytest.approx(wanted["p"])
    declared = {name: Declaration() for name in ("none", "kd")}
    both = {(arm.arm, "tiny", 1.0): found[arm] for arm in (NONE, KD)}
    (entry,) = (e for e in comparisons(both, declared, ["none"]) if e["metric"] == metric)
    assert figure.p_trainings == pytest.approx(entry["p_arms"])
    assert len(figure.by_seed) == 3  # the fourth network of the other arm has no partner
    assert figure.value == pytest.approx(np.mean(figure.by_seed))


def test_the_interval_of_a_calibration_error_is_that_of_the_tables_and_its_p_agrees(found):
    metric = "expected_calibration_error"
    wanted = difference(found[KD], found[NONE], metric)
    figure = figure_of(contrast(metric=metric), found)
    assert [figure.value, figure.low, figure.high] == pytest.approx([wanted[k] for k in ("value", "low", "high")])
    inside = figure.low + 1e-9
    assert figure_of(contrast(metric=metric, above=inside), found).p >= 0.05
    outside = figure.low - 1e-2
    assert figure_of(contrast(metric=metric, above=outside), found).p < 0.05


@pytest.mark.slow  # a simulation
def test_a_calibration_error_is_rarely_called_different_from_what_it_is_and_often_from_what_it_is_not():
    """One arm is calibrated: without what stands before ``added`` in the bounds, 43 % of cohorts exclude the truth."""
    options = argparse.Namespace(cohorts=30, patients=350, resamples=200, population=30_000)
    found = calibration_size.size(np.random.default_rng(0), (1.5, 1.0), options)
    assert found["errors"][1] < 0.01 < 0.1 < found["errors"][0]
    assert found["mean_difference"] < found["true_difference"] - 0.02  # the noise of the bins hides a part of it
    assert found["size"]["0.05"][0] <= 0.1
    random = np.random.default_rng(1)
    unlike = [calibration_size.cohort(random, 350, (0.5, 1.0), 200) for _ in range(10)]
    assert np.mean([calibration_size.contrast(pair, 0.0).p <= 0.05 for pair in unlike]) >= 0.8


def test_a_teacher_stands_for_every_seed(found):
    figure = figure_of(contrast(minus=["medium/teacher:big"]), found)
    wanted = difference(found[KD], found[TEACHER], "balanced_accuracy", by_seed=False)
    assert [figure.value, figure.low, figure.high] == pytest.approx([wanted[k] for k in ("value", "low", "high")])
    assert len(figure.by_seed) == 3


@pytest.mark.parametrize(("bound", "holds"), [({"above": 0.3}, True), ({"below": 0.3, "above": None}, False)])
def test_the_bound_is_what_is_tested(found, bound, holds):
    at_zero = figure_of(contrast(), found)
    figure = figure_of(contrast(**bound), found)
    assert figure.value == at_zero.value > 0.3
    assert (figure.holds, figure.fails) == (holds, not holds)
    beyond = figure_of(contrast(above=at_zero.high), found)
    assert figure.p < beyond.p
    assert beyond.p == pytest.approx(0.05, abs=0.01)


def test_a_sum_is_that_of_the_arms_figures_resample_by_resample(found):
    metric = "balanced_accuracy"
    value = {arm: one.values(metric)[:3].mean() for arm, one in found.items()}
    drawn = {arm: one.resampled(metric)[:3].mean(axis=0) for arm, one in found.items()}
    total = contrast(plus=["medium/kd", "medium/kd"], minus=["medium/none", "medium/teacher:big"], combine="sum")
    figure = figure_of(total, found)
    assert figure.value == pytest.approx(2 * value[KD] - value[NONE] - value[TEACHER])
    draws = 2 * drawn[KD] - drawn[NONE] - drawn[TEACHER]
    assert [figure.low, figure.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]).tolist())
    assert figure.p == pytest.approx(2 * (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / 401)


def test_an_arm_by_itself_may_be_held_against_a_number(found):
    assert figure_of(contrast(minus=[], above=0.5), found).value == pytest.approx(
        found[KD].values("balanced_accuracy").mean()
    )


def test_arms_of_other_test_images_cannot_be_compared(found):
    other = {**found, NONE: pool("none", (0.3, 0.3, 0.3), patients=50)}
    with pytest.raises(TableError, match="images"):
        figure_of(contrast(), other)


# --------------------------------------------------------------------------- findings
def finding(**given):
    return parse_config({"fact": "method_facts.entropy", "of": "medium/kd", "above": 0, **given}, Finding)


NONE_AT_ALL = {"empty": [], "undefined": math.nan}


def reporting(values):
    trials = [
        dataclasses.replace(
            trial, facts={"method_facts": {"entropy": value, "rounds": [{"f": 0.1}, {"f": value}], **NONE_AT_ALL}}
        )
        for trial, value in zip(pool("kd", (0.5,) * len(values)).trials, values, strict=True)
    ]
    return {KD: next(iter(pools(trials, CONFIG).values()))}


def test_a_finding_holds_where_every_seed_does():
    assert finding_figure(finding(), reporting([0.1, 0.2, 0.3]), SEEDS).holds
    mixed = finding_figure(finding(), reporting([0.1, -0.2, 0.3]), SEEDS)
    assert (mixed.holds, mixed.fails) == (False, False)
    assert mixed.value == pytest.approx(0.2 / 3)
    assert finding_figure(finding(), reporting([-0.1, -0.2, -0.3]), SEEDS).fails
    even = finding_figure(finding(), reporting([0.0, 0.0, 0.0]), SEEDS)
    assert (even.holds, even.fails) == (False, False)


def test_a_finding_may_be_a_mean_of_a_list_or_one_of_its_places_less_another():
    assert finding_figure(finding(), reporting([[0.1, 0.3]]), (0,)).value == pytest.approx(0.2)
    change = finding(fact="method_facts.rounds.-1.f", less_fact="method_facts.rounds.0.f")
    assert finding_figure(change, reporting([0.4, 0.3]), (0, 1)).by_seed == pytest.approx((0.3, 0.2))


@pytest.mark.parametrize(
    "fact",
    [
        "method_facts.nothing",
        "method_facts.rounds.7.f",
        "method_facts.rounds.x",
        "method_facts.empty",
        "method_facts.undefined",
        "cost.a",
    ],
)
def test_a_figure_that_a_cell_does_not_report_is_missing_and_stops_no_other_claim(found, fact):
    config = register(
        {"a": claim(findings=[{"fact": fact, "of": "medium/kd", "above": 0}]), "b": claim(contrasts=[SURE])}
    )
    judged = judge(config, {**found, **reporting([0.1, 0.2, 0.3]), NONE: found[NONE]})
    assert judged["a"].outcome == "not tested yet"
    assert judged["a"].missing == (f"{fact} in the result of kd, seed 0 (train it anew: an earlier version wrote it)",)
    assert judged["b"].outcome != "not tested yet"


# --------------------------------------------------------------------------- verdicts
SURE = {"plus": ["medium/kd"], "minus": ["medium/none"], "above": 0}
WRONG = {"plus": ["medium/none"], "minus": ["medium/kd"], "above": 0}
UNSURE = {"plus": ["medium/kd"], "minus": ["medium/teacher:big"], "above": 0}
ABSENT = {"plus": ["medium/absent"], "minus": ["medium/kd"], "above": 0}


@pytest.mark.parametrize(
    ("contrasts", "outcome"),
    [
        ([SURE], "reproduced"),
        ([WRONG], "contradicted"),
        ([SURE, WRONG], "contradicted"),
        ([UNSURE], "not shown"),
        ([SURE, UNSURE], "not shown"),
        ([ABSENT], "not tested yet"),
        ([SURE, ABSENT], "not tested yet"),
    ],
)
def test_every_part_is_needed_and_one_that_fails_contradicts(found, contrasts, outcome):
    judged = judge(register({"a": claim(contrasts=contrasts)}), found)["a"]
    assert judged.outcome == outcome
    assert bool(judged.missing) == (outcome == "not tested yet")


def test_one_seed_on_the_other_side_is_enough_for_no_verdict(found):
    """Patients are sure of the mean, but another training of the same method says the contrary."""
    lucky = {**found, KD: pool("kd", (0.9, 0.95, 0.2))}
    judged = judge(register({"a": claim(contrasts=[SURE])}), lucky)["a"]
    (figure,) = judged.contrasts
    assert judged.p < 0.05
    assert min(figure.by_seed) < 0 < figure.value
    assert judged.outcome == "not shown"
    turned = judge(register({"a": claim(contrasts=[WRONG])}), lucky)["a"]
    assert (turned.p < 0.05, turned.outcome) == (True, "not shown")


def test_what_trainings_may_have_done_is_said_of_these_networks_alone(found):
    """Every seed agrees and patients are sure, but other arms show how far trainings of one arm differ."""
    erratic = {ArmOf("medium", name): pool(name, (0.9, 0.1, 0.5)) for name in ("one", "two", "three")}
    for wanted, outcome in ((SURE, "reproduced"), (WRONG, "contradicted")):
        config = register({"a": claim(contrasts=[wanted])})
        steady, judged = judge(config, found)["a"], judge(config, {**found, **erratic})["a"]
        assert judged.contrasts[0].by_seed == steady.contrasts[0].by_seed
        assert (judged.p, steady.outcome) == (steady.p, outcome)
        assert steady.p_trainings < 0.05 < judged.p_trainings
        assert judged.outcome == f"{outcome} by these networks"


def test_an_arm_that_counts_twice_counts_twice_over_trainings(found):
    once = figure_of(contrast(minus=[], above=0.5), found)
    twice = figure_of(contrast(plus=["medium/kd"] * 2, minus=[], above=1.0, combine="sum"), found)
    assert twice.p_trainings == pytest.approx(once.p_trainings)
    assert figure_of(contrast(plus=["medium/kd"] * 2, minus=[], above=0.5), found) == once


def test_where_every_arm_was_trained_once_trainings_tell_nothing():
    once = {KD: pool("kd", (0.9,)), NONE: pool("none", (0.1,))}
    judged = judge(register({"a": claim(contrasts=[SURE])}, seeds=1), once)["a"]
    assert (judged.contrasts[0].p_trainings, judged.p_trainings) == (None, 1.0)
    assert judged.outcome == "reproduced by these networks"


def test_without_three_networks_nothing_is_judged(found):
    few = {**found, KD: pool("kd", (0.8, 0.9))}
    judged = judge(register({"a": claim(contrasts=[SURE])}), few)["a"]
    assert judged.missing == ("3 seeds that medium/kd (2 networks), medium/none (4 networks) have in common",)
    assert judge(register({"a": claim(contrasts=[SURE])}, seeds=2), few)["a"].outcome == "reproduced"


def test_networks_of_other_seeds_are_no_pairs(found):
    other = {**found, KD: pool("kd", (0.8, 0.9, 0.85), first=2)}
    facts = [{"fact": "parameters", "of": "medium/kd", "less": "medium/none", "below": 1}]
    for part in ({"contrasts": [SURE]}, {"findings": facts}):
        assert judge(register({"a": claim(**part)}), other)["a"].outcome == "not tested yet"


def test_p_values_are_corrected_for_the_whole_register_what_is_missing_included(found):
    alone = judge(register({"a": claim(contrasts=[SURE])}), found)["a"].p
    many = register({"a": claim(contrasts=[SURE])} | {f"b{k}": claim(contrasts=[ABSENT]) for k in range(14)})
    judged = judge(many, found)
    assert judged["a"].p == pytest.approx(15 * alone)
    assert judged["a"].outcome == "not shown"  # 400 resamples cannot tell so much
    others = register({name: claim(contrasts=[SURE]) for name in many.claims})
    assert judge(others, found)["a"].p == judged["a"].p  # whatever else is judged


def test_a_finding_decides_with_the_contrasts_and_is_no_test_by_itself(found):
    facts = {"fact": "parameters", "of": "medium/kd", "below": 11}

    def outcome(**part):
        judged = judge(register({"a": claim(**part)}), found)["a"]
        return judged.outcome, judged.p is None

    assert outcome(contrasts=[SURE], findings=[facts]) == ("reproduced", False)
    assert outcome(contrasts=[SURE], findings=[{**facts, "below": 9}]) == ("not shown", False)
    assert outcome(findings=[facts]) == ("seen in every seed", True)
    assert outcome(findings=[{**facts, "below": 9}]) == ("seen in no seed", True)
    assert outcome(findings=[{**facts, "below": 10}]) == ("not shown", True)


def test_too_few_patients_are_no_ground_for_a_verdict():
    few = {KD: pool("kd", (0.9, 0.9, 0.9), patients=8), NONE: pool("none", (0.1, 0.1, 0.1), patients=8)}
    judged = judge(register({"a": claim(contrasts=[SURE])}), few)["a"]
    assert judged.missing == ("patients enough to estimate balanced accuracy",)


def test_the_page_says_of_every_claim_what_was_wanted_what_was_found_and_what_is_missing(found):
    config = register(
        {
            "helps": claim(contrasts=[SURE], findings=[{"fact": "parameters", "of": "medium/kd", "below": 11}]),
            "later": claim(contrasts=[ABSENT], elsewhere="A benchmark measures it."),
        }
    )
    page = claims_markdown(config, judge(config, found))
    assert "| It helps. | `kd` | all | reproduced |" in page
    assert "* balanced accuracy: `medium/kd` − `medium/none` above 0: +0." in page
    assert "* `medium/kd` parameters below 11: +10.000 (seeds +10.000 / +10.000 / +10.000)" in page
    assert "It helps. Of `kd`: **reproduced** (" in page
    assert "**not tested yet**" in page
    assert "`kd` (our reading)" not in page
    assert "* Missing: 3 seeds that medium/absent (0 networks), medium/kd (3 networks) have in common." in page
    assert "A benchmark measures it." in page
    assert "multiplied by the 2 claims" in page
    assert page == claims_markdown(config, judge(config, found))
    ours = claims_markdown(config, judge(config, found), {"kd"})
    assert "| It helps. | `kd` (our reading) | all | reproduced |" in ours
    assert "It helps. Of `kd` (our reading): **reproduced** (" in ours
