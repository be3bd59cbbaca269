"""Claims: what is written is what is judged, against the same figures as a study's tables."""

import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

from fibrokd.config import parse_config
from fibrokd.errors import ArtifactError, TableError
from fibrokd.evaluation.claims import ArmOf, ClaimsConfig, Contrast, Finding
from fibrokd.evaluation.claims_judged import contrast_figure, finding_figure, judge_claims
from fibrokd.evaluation.claims_page import claims_markdown
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.study import Trial, difference, pools
from fibrokd.evaluation.study_families import holm
from tests.evaluation.test_study import FACTS, answers

CONFIG = BootstrapConfig(resamples=400)
KD, NONE, TEACHER = ArmOf("medium", "kd"), ArmOf("medium", "none"), ArmOf("medium", "teacher:big")


def pool(arm, skills, facts=None, patients=60):
    trials = [
        Trial(arm, "tiny", 1.0, seed, answers(skill, 100 * seed + len(arm), patients), {**FACTS, **(facts or {})})
        for seed, skill in enumerate(skills)
    ]
    return next(iter(pools(trials, CONFIG).values()))


@pytest.fixture(scope="module")
def found():
    return {
        KD: pool("kd", (0.8, 0.9, 0.85)),
        NONE: pool("none", (0.3, 0.35, 0.25, 0.3)),
        TEACHER: pool("teacher:big", (0.82,)),
    }


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
    figure = contrast_figure(contrast(metric=metric), found, 0.95)
    wanted = difference(found[KD], found[NONE], metric)
    assert [figure.value, figure.low, figure.high] == pytest.approx([wanted[k] for k in ("value", "low", "high")])
    assert figure.p == pytest.approx(wanted["p"])
    assert len(figure.by_seed) == 3  # the fourth network of the other arm has no partner
    assert figure.value == pytest.approx(np.mean(figure.by_seed))


def test_the_interval_of_a_calibration_error_is_that_of_the_tables_and_its_p_agrees(found):
    metric = "expected_calibration_error"
    wanted = difference(found[KD], found[NONE], metric)
    figure = contrast_figure(contrast(metric=metric), found, 0.95)
    assert [figure.value, figure.low, figure.high] == pytest.approx([wanted[k] for k in ("value", "low", "high")])
    inside = figure.low + 1e-9
    assert contrast_figure(contrast(metric=metric, above=inside), found, 0.95).p >= 0.05
    outside = figure.low - 1e-2
    assert contrast_figure(contrast(metric=metric, above=outside), found, 0.95).p < 0.05


def test_a_teacher_stands_for_every_seed(found):
    figure = contrast_figure(contrast(minus=["medium/teacher:big"]), found, 0.95)
    wanted = difference(found[KD], found[TEACHER], "balanced_accuracy", by_seed=False)
    assert [figure.value, figure.low, figure.high] == pytest.approx([wanted[k] for k in ("value", "low", "high")])
    assert len(figure.by_seed) == 3


@pytest.mark.parametrize(("bound", "holds"), [({"above": 0.3}, True), ({"below": 0.3, "above": None}, False)])
def test_the_bound_is_what_is_tested(found, bound, holds):
    at_zero = contrast_figure(contrast(), found, 0.95)
    figure = contrast_figure(contrast(**bound), found, 0.95)
    assert figure.value == at_zero.value > 0.3
    assert (figure.holds, figure.fails) == (holds, not holds)
    beyond = contrast_figure(contrast(above=at_zero.high), found, 0.95)
    assert figure.p < beyond.p
    assert beyond.p == pytest.approx(0.05, abs=0.01)


def test_sums_and_ranges_are_of_the_arms_figures(found):
    value = {arm: one.values("balanced_accuracy")[:3].mean() for arm, one in found.items()}
    total = contrast(plus=["medium/kd", "medium/kd"], minus=["medium/none", "medium/teacher:big"], combine="sum")
    wanted = 2 * value[KD] - value[NONE] - found[TEACHER].values("balanced_accuracy")[0]
    assert contrast_figure(total, found, 0.95).value == pytest.approx(wanted)
    spread = contrast(plus=["medium/kd", "medium/none"], minus=[], combine="range")
    assert contrast_figure(spread, found, 0.95).value == pytest.approx(value[KD] - value[NONE])


def test_arms_of_other_test_images_cannot_be_compared(found):
    other = {**found, NONE: pool("none", (0.3, 0.3, 0.3), patients=50)}
    with pytest.raises(TableError, match="images"):
        contrast_figure(contrast(), other, 0.95)


# --------------------------------------------------------------------------- findings
def finding(**given):
    return parse_config({"fact": "method_facts.entropy", "of": "medium/kd", "above": 0, **given}, Finding)


def reporting(values):
    trials = [
        dataclasses.replace(trial, facts={"method_facts": {"entropy": value, "rounds": [{"f": 0.1}, {"f": value}]}})
        for trial, value in zip(pool("kd", (0.5,) * len(values)).trials, values, strict=True)
    ]
    return {KD: next(iter(pools(trials, CONFIG).values()))}


def test_a_finding_holds_where_every_seed_does():
    assert finding_figure(finding(), reporting([0.1, 0.2, 0.3])).holds
    mixed = finding_figure(finding(), reporting([0.1, -0.2, 0.3]))
    assert (mixed.holds, mixed.fails) == (False, False)
    assert mixed.value == pytest.approx(0.2 / 3)
    assert finding_figure(finding(), reporting([-0.1, -0.2, -0.3])).fails


def test_a_finding_may_be_a_mean_of_a_list_or_one_of_its_places_less_another():
    assert finding_figure(finding(), reporting([[0.1, 0.3]])).value == pytest.approx(0.2)
    change = finding(fact="method_facts.rounds.-1.f", less_fact="method_facts.rounds.0.f")
    assert finding_figure(change, reporting([0.4, 0.3])).by_seed == pytest.approx((0.3, 0.2))


@pytest.mark.parametrize("fact", ["method_facts.nothing", "method_facts.rounds.7.f", "method_facts.rounds.x", "cost.a"])
def test_a_figure_that_nobody_reports_is_an_error(fact):
    with pytest.raises(ArtifactError, match="found none"):
        finding_figure(finding(fact=fact), reporting([0.1]))


# --------------------------------------------------------------------------- verdicts
SURE = {"plus": ["medium/kd"], "minus": ["medium/none"], "above": 0}
WRONG = {"plus": ["medium/none"], "minus": ["medium/kd"], "above": 0}
UNSURE = {"plus": ["medium/kd"], "minus": ["medium/teacher:big"], "below": 0}
ABSENT = {"plus": ["medium/absent"], "minus": ["medium/kd"], "above": 0}


@pytest.mark.parametrize(
    ("contrasts", "outcome"),
    [
        ([SURE], "reproduced"),
        ([WRONG], "contradicted"),
        ([SURE, WRONG], "contradicted"),
        ([ABSENT], "not tested yet"),
        ([SURE, ABSENT], "not tested yet"),
    ],
)
def test_every_part_is_needed_and_one_that_fails_contradicts(found, contrasts, outcome):
    judged = judge_claims(register({"a": claim(contrasts=contrasts)}), found)["a"]
    assert judged.outcome == outcome
    assert bool(judged.missing) == (outcome == "not tested yet")


def test_without_three_networks_nothing_is_judged(found):
    few = {**found, KD: pool("kd", (0.8, 0.9))}
    judged = judge_claims(register({"a": claim(contrasts=[SURE])}), few)["a"]
    assert judged.missing == ("medium/kd (2 of 3)",)
    assert judge_claims(register({"a": claim(contrasts=[SURE])}, seeds=2), few)["a"].outcome == "reproduced"


def test_p_values_are_corrected_for_the_whole_register_what_is_missing_included(found):
    alone = judge_claims(register({"a": claim(contrasts=[SURE])}), found)["a"].p
    many = register({"a": claim(contrasts=[SURE])} | {f"b{k}": claim(contrasts=[ABSENT]) for k in range(14)})
    judged = judge_claims(many, found)
    assert judged["a"].p == pytest.approx(holm([alone] + [1.0] * 14)[0]) == pytest.approx(15 * alone)
    assert judged["a"].outcome == "not shown"  # 400 resamples cannot tell so much


def test_a_finding_decides_with_the_contrasts(found):
    facts = {"fact": "parameters", "of": "medium/kd", "below": 11}
    both = claim(contrasts=[SURE], findings=[facts])
    assert judge_claims(register({"a": both}), found)["a"].outcome == "reproduced"
    both["findings"][0]["below"] = 9
    assert judge_claims(register({"a": both}), found)["a"].outcome == "contradicted"
    alone = judge_claims(register({"a": claim(findings=[{**facts, "below": 11}])}), found)["a"]
    assert (alone.outcome, alone.p) == ("reproduced", None)


def test_the_page_says_of_every_claim_what_was_wanted_what_was_found_and_what_is_missing(found):
    config = register(
        {
            "helps": claim(contrasts=[SURE], findings=[{"fact": "parameters", "of": "medium/kd", "below": 11}]),
            "later": claim(contrasts=[ABSENT], elsewhere="A benchmark measures it."),
        }
    )
    page = claims_markdown(config, judge_claims(config, found))
    assert "| It helps. | `kd` | all | reproduced |" in page
    assert "* balanced accuracy: `medium/kd` − `medium/none` above 0: +0." in page
    assert "* `medium/kd` parameters below 11: +10.000 (seeds +10.000 / +10.000 / +10.000)" in page
    assert "**Not tested yet**" in page
    assert "* Missing: `medium/absent (0 of 3)`." in page
    assert "A benchmark measures it." in page
    assert "for the\n2 claims" in page
    assert page == claims_markdown(config, judge_claims(config, found))
