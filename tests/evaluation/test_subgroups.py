"""Subgroups: who belongs to which, what is said of them, and that a planted weakness is found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from fibrokd.errors import ArtifactError, TableError
from fibrokd.evaluation.comparisons.p_values import holm
from fibrokd.evaluation.document import SCHEMA, metrics_document
from fibrokd.evaluation.image_facts import Fact, ImageFacts, read_image_facts, write_image_facts
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap
from fibrokd.evaluation.subgroups.document import subgroups
from fibrokd.evaluation.subgroups.grouping import MOST_VALUES, grouping
from tests.evaluation.made_up import made_up_facts, made_up_predictions

CONFIG = BootstrapConfig(resamples=400)
PATIENTS, FRAMES = 200, 2


def cohort(weakness=0.0, seed=0):
    """Answers of 200 patients on two scanners; on one of them a share is answered by another patient's answer."""
    part = made_up_predictions(patients=PATIENTS, frames=FRAMES, skill=2.5, seed=seed)
    scanner = np.repeat(np.where(np.random.default_rng(9).uniform(size=PATIENTS) < 0.3, "old", "new"), FRAMES)
    random = np.random.default_rng(seed + 1)
    wrong = (scanner == "old") & (random.uniform(size=len(part)) < weakness)
    p = part.probabilities.copy()
    p[wrong] = p[random.permutation(np.flatnonzero(wrong))]
    return replace(part, probabilities=p), scanner.tolist()


def fact(values):
    names = sorted(set(values) - {""})
    return Fact(tuple(names), np.array([names.index(value) if value else -1 for value in values], dtype=np.int64))


def found_in(part, facts):
    return subgroups(bootstrap(part, CONFIG), facts)["subgroups"]


# --------------------------------------------------------------------------- which subgroups there are
def test_text_makes_one_subgroup_per_value_and_unknown_images_belong_to_none():
    found = grouping(fact(["b", "a", "", "b"]), [])
    assert (found.names, found.codes.tolist()) == (("a", "b"), [1, 0, -1, 1])


def test_numbers_are_cut_into_thirds_of_the_training_images_or_as_wanted():
    values = [f"{k / 100:g}" for k in range(100)]
    learned = [f"{k / 10:g}" for k in range(90)]
    found = grouping(fact(values), learned)
    assert found.cuts == pytest.approx(np.quantile(np.array(learned, dtype=float), [1 / 3, 2 / 3]), rel=1e-3)
    assert (found.cut_on, found.names[0]) == ("train", f"below {found.cuts[0]:g}")
    given = grouping(fact(values), learned, [0.05, 0.33, 0.66])
    assert given.names == ("below 0.05", "0.05 to 0.33", "0.33 to 0.66", "0.66 and more")
    assert np.bincount(given.codes).tolist() == [5, 28, 33, 34]
    assert given.cut_on == "given"


@pytest.mark.parametrize(
    ("values", "learned", "cuts", "why"),
    [
        (["", ""], [], None, "not known"),
        (["a", "a"], [], None, "the same for all"),
        ([f"name{k}" for k in range(MOST_VALUES + 1)], [], None, "13 values"),
        (["1.5"] * 3 + [f"{k}" for k in range(13)] + ["1.5"] * 90, [], None, "these images do not tell"),
        ([f"{k / 7:g}" for k in range(30)], ["1", "1", "1"], None, "training images do not tell"),
        (["a", "b"], [], [1.0], "no number"),
    ],
)
def test_what_parts_no_images_is_said(values, learned, cuts, why):
    assert why in grouping(fact(values), learned, cuts)


def test_few_numbers_are_names():
    assert grouping(fact(["1", "2", "2"]), []).names == ("1", "2")


# --------------------------------------------------------------------------- what is said of them
def test_a_subgroups_figures_are_those_of_its_images_and_the_gap_is_to_all_others():
    part, scanner = cohort(0.5)
    entry = found_in(part, made_up_facts([part], scanner=scanner))["scanner"]
    own, others = np.array(scanner) == "old", np.array(scanner) == "new"
    old, new = (balanced_accuracy_score(part.truth[rows], part.predicted[rows]) for rows in (own, others))
    assert entry["groups"]["old"]["balanced_accuracy"]["value"] == pytest.approx(old, abs=1e-9)
    assert entry["groups"]["old"]["images"] == own.sum()
    assert entry["groups"]["old"]["clusters"] == own.sum() // FRAMES
    assert entry["groups"]["old"]["gap"]["balanced_accuracy"]["value"] == pytest.approx(old - new, abs=1e-9)
    gaps = [entry["groups"][name]["gap"]["balanced_accuracy"] for name in ("new", "old")]
    assert gaps[0]["value"] == pytest.approx(-gaps[1]["value"], abs=1e-9)
    assert [gap["p_holm"] for gap in gaps] == [gap["p"] for gap in gaps]  # one comparison, told from both sides


def test_p_values_are_corrected_for_the_subgroups_of_a_fact():
    part, scanner = cohort(0.5)
    third = ["other" if k % 7 < 3 else name for k, name in enumerate(scanner)]
    groups = found_in(part, made_up_facts([part], scanner=third))["scanner"]["groups"]
    gaps = [groups[name]["gap"]["balanced_accuracy"] for name in ("new", "old", "other")]
    assert [gap["p_holm"] for gap in gaps] == pytest.approx(holm([gap["p"] for gap in gaps]))


def test_a_planted_weakness_is_found_and_its_absence_mostly_is_not():
    part, scanner = cohort(0.6)
    entry = found_in(part, made_up_facts([part], scanner=scanner))["scanner"]
    gap = entry["groups"]["old"]["gap"]["balanced_accuracy"]
    assert gap["high"] < 0
    assert gap["p_holm"] < 0.05
    assert entry["worst"] == {"group": "old", "of": 2}
    false = 0
    for seed in range(30):
        part, scanner = cohort(0.0, seed)
        fair = found_in(part, made_up_facts([part], scanner=scanner))["scanner"]["groups"]["old"]
        false += fair["gap"]["balanced_accuracy"].get("p_holm", 1) < 0.05
    assert false <= 5


def test_images_of_which_the_fact_is_unknown_are_neither_in_nor_out():
    part, scanner = cohort(0.5)
    hidden = ["" if k < 40 else name for k, name in enumerate(scanner)]
    entry = found_in(part, made_up_facts([part], scanner=hidden))["scanner"]
    rows = np.array(hidden) == "old"
    others = np.array(hidden) == "new"
    wanted = [balanced_accuracy_score(part.truth[r], part.predicted[r]) for r in (rows, others)]
    assert entry["unknown_images"] == 40
    assert entry["groups"]["old"]["gap"]["balanced_accuracy"]["value"] == pytest.approx(wanted[0] - wanted[1], abs=1e-9)


def test_subgroups_that_do_not_compare_say_why():
    part, _ = cohort()
    few = ["rare" if k < 10 else "usual" for k in range(len(part))]
    stage = ["mild" if k < 2 else "severe" for k in part.truth]
    found = found_in(part, made_up_facts([part], few=few, stage_like=stage))
    rare = found["few"]["groups"]["rare"]
    assert rare["gap"]["accuracy"]["note"] == "not estimable: only 5 clusters on one side (at least 20 needed)"
    assert rare["accuracy"]["low"] is None
    assert "worst" not in found["few"]
    mild = found["stage_like"]["groups"]["mild"]
    assert mild["gap"]["balanced_accuracy"]["note"] == "not estimable: its stages are others (F2, F3, F4)"
    assert mild["gap"]["accuracy"]["value"] is not None
    assert mild["absent_stages"] == ["F2", "F3", "F4"]


def test_a_small_subgroup_that_is_all_right_makes_the_others_no_worse():
    """Percentiles of twelve right answers take 1 for certain: most such cohorts would be called different."""
    random = np.random.default_rng(0)
    verdicts = 0
    for _ in range(60):
        part = made_up_predictions(patients=240, frames=1)
        right = random.uniform(size=240) < 0.93
        p = np.full((240, 5), 0.05)
        p[np.arange(240), np.where(right, part.truth, (part.truth + 1) % 5)] = 0.8
        site = ["small" if k < 20 else "large" for k in range(240)]
        entry = found_in(replace(part, probabilities=p), made_up_facts([part], site=site))["site"]["groups"]
        gaps = [entry[name]["gap"]["balanced_accuracy"] for name in ("small", "large")]
        assert ("p" in gaps[0]) == ("p" in gaps[1])
        verdicts += any(gap.get("p_holm", 1) < 0.05 for gap in gaps)
    assert verdicts <= 6


def test_the_worst_is_the_lowest_of_those_that_compare():
    part, scanner = cohort(0.3)
    stage = ["ends" if k in (0, 4) else scanner[row] for row, k in enumerate(part.truth)]
    entry = found_in(part, made_up_facts([part], kind=stage))["kind"]
    assert all(group["gap"]["balanced_accuracy"]["value"] is None for group in entry["groups"].values())
    assert "worst" not in entry


def test_without_training_images_numbers_are_cut_into_thirds_of_all():
    part, _ = cohort()
    values = [f"{k / 7:g}" for k in range(len(part))]
    entry = found_in(part, made_up_facts([part], fat=values))["fat"]
    assert entry["cut_on"] == "all"
    sizes = [group["images"] for group in entry["groups"].values()]
    assert max(sizes) - min(sizes) <= 1


def test_a_class_of_numbers_without_images_is_not_told():
    part, _ = cohort()
    facts = replace(
        made_up_facts([part], age=[f"{20 + k % 50}" for k in range(len(part))]), cuts={"age": (10.0, 45.0, 90.0)}
    )
    assert list(found_in(part, facts)["age"]["groups"]) == ["10 to 45", "45 to 90"]


def test_the_document_holds_them_for_test_images_alone_and_obeys_its_schema():
    jsonschema = pytest.importorskip("jsonschema")
    part, scanner = cohort(0.4)
    val = replace(
        part, split="val", image_ids=tuple(f"v{k}" for k in part.image_ids), groups=tuple(f"v{g}" for g in part.groups)
    )
    facts = made_up_facts([part, val], scanner=scanner * 2, nothing=["x"] * (2 * len(part)))
    document = metrics_document([part, val], {"student_kd": {"parameters": 1}}, config=CONFIG, facts=facts)
    jsonschema.validate(
        json.loads(json.dumps(document, allow_nan=False)), json.loads(SCHEMA.read_text(encoding="utf-8"))
    )
    network = document["networks"]["student_kd"]
    assert network["test"]["subgroups"]["nothing"] == {"refused": "it is the same for all images"}
    assert set(network["test"]["units"]) == {"patient"}
    assert not {"subgroups", "units"} & set(network["val"])
    assert (
        "subgroups"
        not in metrics_document([part], {"student_kd": {"parameters": 1}}, config=CONFIG)["networks"]["student_kd"][
            "test"
        ]
    )


# --------------------------------------------------------------------------- the table of images
def test_the_table_is_read_back_as_it_was_written(tmp_path):
    part, scanner = cohort()
    facts = made_up_facts([part], scanner=scanner, steatosis=["0.1"] * len(part))
    write_image_facts(tmp_path / "images.csv", facts)
    again = read_image_facts(tmp_path / "images.csv", {"steatosis": (0.05, 0.33)})
    assert again.columns == ["scanner", "steatosis"]
    some = again.fact("scanner").at(again.rows(part.rows(np.array([5, 3]))))
    assert [some.names[code] for code in some.codes] == [scanner[5], scanner[3]]
    assert again.in_split("test", "scanner") == scanner
    assert again.in_split("train", "scanner") == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.drop(columns="patient"), "column 'patient' is missing"),
        (lambda t: t.assign(image_id="same"), "occurs twice"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(change, why):
    part, _ = cohort()
    with pytest.raises(TableError, match=why):
        ImageFacts(change(made_up_facts([part]).table))


def test_images_that_it_lacks_and_limits_that_are_none_are_refused(tmp_path):
    part, _ = cohort()
    facts = made_up_facts([part], steatosis=["0.1"] * len(part))
    other = replace(part, image_ids=tuple(f"x{k}" for k in range(len(part))))
    with pytest.raises(TableError, match="lacks image x0"):
        facts.rows(other)
    with pytest.raises(TableError, match="limits are given for 'fat', facts are steatosis"):
        replace(facts, cuts={"fat": (0.1,)})
    for limits in ((), (0.3, 0.3), (0.5, 0.1)):
        with pytest.raises(TableError, match="no ascending numbers"):
            replace(facts, cuts={"steatosis": limits})
    with pytest.raises(ArtifactError, match="fibrokd assess"):
        read_image_facts(tmp_path / "none.csv")
