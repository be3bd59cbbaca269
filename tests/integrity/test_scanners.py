"""Stage and scanner: the association is that of the textbook, groups count once, chance is not reproached."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats.contingency import association

from fibrokd.data.margins import COUNT
from fibrokd.integrity import reasons_shortcuts
from fibrokd.integrity.control_data import ControlData, scanner_codes
from fibrokd.integrity.groups import group_images
from fibrokd.integrity.identity import StemRules
from fibrokd.integrity.levels import Level, build_levels
from fibrokd.integrity.reasons_shortcuts import ASSOCIATED, SHORTCUT_CAUTION, SURELY, SURELY_SPREADS
from fibrokd.integrity.scanners import from_scanner, recognisable, scanner_association, scanners_known
from fibrokd.integrity.verdict import judge
from tests.integrity import cohorts
from tests.integrity.builders import manifest


def cohort(scanners, frames=2, stages=None):
    stages = np.arange(len(scanners)) % 5 if stages is None else stages
    rows = [
        {"path": f"F0/p{p}x{f}.png", "patient": f"P{p}", "stage": f"F{stages[p]}", "scanner": scanners[p]}
        for p in range(len(scanners))
        for f in range(frames)
    ]
    return manifest(rows), np.repeat(stages, frames), np.repeat(np.arange(len(scanners)), frames)


def test_every_patient_counts_once_however_many_frames():
    random = np.random.default_rng(0)
    names = [f"s{n}" for n in random.integers(0, 3, 200)]
    few, many = (scanner_association(*cohort(names, frames)) for frames in (1, 7))
    assert few == many
    assert (few["groups"], few["scanners"]) == (200, 3)


def test_a_scanner_for_every_stage_is_a_perfect_association():
    found = scanner_association(*cohort([f"s{p % 5}" for p in range(200)]))
    assert found["cramers_v"]["value"] == pytest.approx(1, abs=1e-6)
    assert found["p"] < 1e-100


def test_the_value_is_cramers_v_less_what_chance_adds():
    random = np.random.default_rng(3)
    stages = np.arange(4000) % 5
    draws = np.where(random.random(4000) < 0.4, stages % 4, random.integers(0, 4, 4000))
    found = scanner_association(*cohort([f"s{d}" for d in draws], 1))
    counts = np.zeros((4, 5), dtype=int)
    np.add.at(counts, (draws, stages), 1)
    assert found["cramers_v"]["value"] == pytest.approx(association(counts, "cramer"), abs=0.01)
    assert found["cramers_v"]["low"] < found["cramers_v"]["value"] < found["cramers_v"]["high"]


@pytest.mark.parametrize("patients", [60, 150, 2000])
def test_chance_is_not_taken_for_association(patients):
    # What a verdict asks for: p below 1e-4 and a lower bound above 0.1.
    for seed in range(20):
        draws = np.random.default_rng(seed).integers(0, 4, patients)
        found = scanner_association(*cohort([f"s{d}" for d in draws], 1), replicates=200)
        assert found["p"] > 1e-4 or found["cramers_v"]["low"] < 0.1


def test_one_scanner_one_stage_or_none_known_say_nothing():
    assert scanner_association(*cohort(["s"] * 20)) == {}
    assert scanner_association(*cohort([""] * 20)) == {}
    assert scanner_association(*cohort(["s", "t"] * 10, stages=np.zeros(20, dtype=np.int64))) == {}


def test_site_and_scanner_together_make_the_machine():
    table = manifest(
        [{"scanner": "s", "site": "north"}, {"scanner": "s", "site": "south"}, {"scanner": "", "site": ""}]
    )
    assert scanner_codes(table).tolist() == [0, 1, -1]


def test_a_scanner_is_recognised_where_it_shows_and_not_where_it_does_not():
    table, stages, _ = cohort([f"s{d}" for d in np.random.default_rng(5).integers(0, 3, 120)])
    scanners = scanner_codes(table)
    random = np.random.default_rng(6)
    margins = random.random((240, COUNT)).astype(np.float32)
    margins[:, 3] += scanners
    thumbnails = random.integers(0, 256, (240, 48, 48), dtype=np.uint8)
    data = ControlData(table, thumbnails, stages, margins)
    assert scanners_known(data)
    (level,) = (x for x in build_levels(table, stages, StemRules(), (0,), 5, 100) if x.name == "all")
    found = recognisable(data, level)
    assert found["margins"]["value"] > 0.7
    assert found["thumbnails"]["low"] < 0.4
    assert set(recognisable(ControlData(table, thumbnails, stages), level)) == {"thumbnails"}


# --------------------------------------------------------------------------- what the verdict makes of it
@cache
def clean():
    return cohorts.findings_of(cohorts.cohort(), controls=cohorts.OFF)


def found_in(scanners, stages, frames):
    """What is found in a cohort of these patients, the control that knows the scanner alone included."""
    table, _, _ = cohort(scanners, 1, stages)
    table = table.loc[np.repeat(np.arange(len(table)), frames)].reset_index(drop=True)
    codes, each = (np.repeat(values, frames) for values in (np.arange(len(scanners)), stages))
    folds = np.repeat(np.arange(len(scanners)) // (int(stages.max()) + 1) % 3, frames)
    data = ControlData(table, np.zeros((len(table), 48, 48), dtype=np.uint8), each)
    level = Level("all", codes, codes, each, (folds,), 200)
    correct = np.zeros(len(table))
    for test, _ in level.rounds():
        correct[test] = from_scanner(data, test) == each[test]
    return replace(
        clean(),
        collection=replace(clean().collection, table=table),
        evidence_groups=group_images(table, "subject"),
        controls={"scanner": {"all": level.score(correct)}},
        scanner=scanner_association(table, each, codes, replicates=200),
    )


def severity(findings):
    """How badly the rule thinks of the scanners; "" where it has nothing to say."""
    return "".join(reason.severity for reason in reasons_shortcuts.scanner(findings))


def with_score(findings, value, low):
    score = {"value": value, "low": low, "high": 1.0}
    return replace(findings, controls={"scanner": {"all": {"accuracy": score, "balanced_accuracy": score}}})


@pytest.mark.parametrize("uneven", [False, True])
def test_scanners_drawn_by_lot_are_not_reproached_in_small_cohorts_though_the_interval_alone_would(uneven):
    tempted = 0
    for seed in range(80):
        random = np.random.default_rng(seed)
        patients = (12, 20)[seed % 2]
        frames = random.choice([1, 1, 1, 2, 12], patients) if uneven else np.full(patients, 2)
        findings = found_in([f"s{n}" for n in random.integers(0, 2, patients)], np.arange(patients) % 2, frames)
        assert severity(findings) == ""
        tempted += findings.controls["scanner"]["all"]["balanced_accuracy"]["low"] - 1 / 2 > SHORTCUT_CAUTION
    assert tempted >= 2


@pytest.mark.parametrize(("patients", "stages"), [(14, 2), (20, 2), (40, 2), (30, 5), (60, 5)])
def test_a_scanner_for_every_stage_is_named_in_small_cohorts_too(patients, stages):
    each = np.arange(patients) % stages
    findings = found_in([f"s{stage}" for stage in each], each, np.full(patients, 2))
    assert severity(findings) == "unfit"
    (reason,) = (reason for reason in judge(findings).reasons if reason.code == "scanner_stage")
    assert reason.number == pytest.approx(1, abs=1e-6)
    assert f"over {patients} groups on {stages} scanners" in reason.text
    assert "finds 100.0 % of the stages" in reason.text


def test_a_scanner_that_only_leans_to_a_stage_is_named_where_there_are_patients_enough_to_tell():
    each = np.arange(200) % 2
    leaning = [f"s{stage if patient % 10 < 7 else 1 - stage}" for patient, stage in enumerate(each)]
    assert severity(found_in(leaning, each, np.full(200, 2))) == "caution"
    assert severity(found_in(leaning[:20], each[:20], np.full(20, 2))) == ""


def test_twelve_patients_may_fall_to_two_scanners_stage_by_stage_through_luck_and_are_called_too_few():
    each = np.arange(12) % 2
    findings = found_in([f"s{stage}" for stage in each], each, np.full(12, 2))
    assert severity(findings) == ""
    assert "few_groups" in {reason.code for reason in judge(findings).reasons}


@pytest.mark.parametrize("patients", [16, 40, 150, 400])
def test_an_accuracy_counts_from_three_and_a_half_deviations_of_guessing_on(patients):
    random = np.random.default_rng(0)
    mixed = found_in([f"s{n}" for n in random.integers(0, 2, patients)], np.arange(patients) % 2, np.full(patients, 3))
    assert mixed.scanner["p"] > SURELY
    assert SURELY_SPREADS == 3.5
    limit = 1 / 2 + 3.5 * 0.5 / patients**0.5  # two stages of half the patients each, every patient right or wrong
    assert severity(with_score(mixed, limit + 0.001, 0.7)) == "caution"
    assert severity(with_score(mixed, limit - 0.001, 0.7)) == ""
    assert severity(with_score(mixed, limit + 0.001, 0.8)) == "unfit"
    assert severity(with_score(mixed, limit + 0.001, 0.59)) == ""


def test_many_pictures_of_few_patients_make_no_guess_surer():
    each, names = np.arange(16) % 2, [f"s{n}" for n in np.random.default_rng(0).integers(0, 2, 16)]
    few, many, lopsided = (
        with_score(found_in(names, each, frames), 0.95, 0.7)
        for frames in (np.full(16, 1), np.full(16, 50), np.where(np.arange(16) < 2, 50, 1))
    )
    assert severity(few) == severity(many) == "caution"
    assert severity(lopsided) == ""  # two patients hold nearly all pictures: one flip of a coin each


@pytest.mark.parametrize(
    ("p", "low", "told"),
    [(SURELY / 2, ASSOCIATED + 0.01, "caution"), (SURELY * 2, ASSOCIATED + 0.01, ""), (SURELY / 2, ASSOCIATED, "")],
)
def test_an_association_beyond_chance_is_named_even_where_the_scanner_finds_no_stage(p, low, told):
    each = np.arange(40) % 2
    findings = with_score(found_in(["s", "t"] * 20, each, np.full(40, 2)), 0.5, 0.45)
    scanner = findings.scanner | {"p": p, "cramers_v": {"value": 0.3, "low": low, "high": 0.5}}
    assert severity(replace(findings, scanner=scanner)) == told
