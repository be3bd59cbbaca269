"""Several rounds of training: their answers put together, how far they differ, and what leakage adds."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from fibrokd.errors import TableError
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.inflation import inflation_document, inflation_markdown
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap
from fibrokd.evaluation.rounds import pooled, rounds_document
from tests.evaluation.made_up import made_up_predictions, of_split

QUICK = BootstrapConfig(resamples=200)
COSTS = {"student_kd": {"parameters": 1}}


def round_of(number, **options):
    part = made_up_predictions(seed=number, **options)
    ids = tuple(f"{number}{name}" for name in part.image_ids)
    return replace(part, image_ids=ids, groups=tuple(f"{number}{name}" for name in part.groups))


def test_answers_of_all_rounds_are_those_of_one_network():
    parts = [round_of(number, patients=15 + number) for number in range(3)]
    whole = pooled(parts)
    assert len(whole) == sum(len(part) for part in parts)
    truth, said = (np.concatenate([getattr(part, name) for part in parts]) for name in ("truth", "predicted"))
    document = metrics_document([whole], COSTS, config=QUICK)
    found = document["networks"]["student_kd"]["test"]["balanced_accuracy"]
    assert found["value"] == pytest.approx(balanced_accuracy_score(truth, said), abs=1e-9)
    assert found["clusters"] == 15 + 16 + 17


def test_an_image_that_two_rounds_tested_is_refused():
    with pytest.raises(TableError, match="image_id occurs twice"):
        pooled([made_up_predictions(), made_up_predictions(seed=1)])
    with pytest.raises(TableError, match="networks, splits or scales differ"):
        pooled([round_of(0), replace(round_of(1), network="other")])


def test_how_far_rounds_differ_is_told_with_every_round():
    documents = {f"fold {k}": metrics_document([round_of(k, skill=1 + k)], COSTS, config=QUICK) for k in range(3)}
    found = rounds_document(documents)["student_kd"]["accuracy"]
    values = [document["networks"]["student_kd"]["test"]["accuracy"]["value"] for document in documents.values()]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert (found["least"], found["most"]) == (min(values), max(values))
    assert [figure["value"] for figure in found["rounds"].values()] == values
    assert list(found["rounds"]) == list(documents)
    alone = rounds_document({"one": documents["fold 0"]})["student_kd"]["accuracy"]
    assert (alone["mean"], alone["deviation"]) == (values[0], None)


def test_rounds_of_other_stages_are_not_averaged():
    whole = round_of(0)
    ends = round_of(1)
    ends = ends.rows(np.flatnonzero(np.isin(ends.truth, [0, 4])))
    documents = {name: metrics_document([part], COSTS, config=QUICK) for name, part in (("a", whole), ("b", ends))}
    found = rounds_document(documents)["student_kd"]
    assert found["balanced_accuracy"]["mean"] is None
    assert "other stages" in found["balanced_accuracy"]["note"]
    assert found["balanced_accuracy"]["rounds"]["b"]["note"] == "without F1, F2, F3"
    assert found["accuracy"]["mean"] is not None


def inflated():
    samples = {
        "random": {"student_kd": bootstrap(round_of(1, skill=3.0), QUICK)},
        "all": {"student_kd": bootstrap(round_of(2, skill=1.0), QUICK.model_copy(update={"seed": 1}))},
    }
    sources = {"random": "random", "stem": "random", "all": "all", "subject": "all"}
    lookup = {"random": {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}}}
    lookup["random"]["balanced_accuracy"] = lookup["random"]["accuracy"]
    return samples, inflation_document(samples, sources, lookup)


def test_what_leakage_adds_is_the_figure_minus_that_of_the_honest_split():
    samples, document = inflated()
    values = {}
    for level, found in samples.items():
        part = found["student_kd"].predictions
        values[level] = balanced_accuracy_score(part.truth, part.predicted)
    levels = document["levels"]
    gap = levels["random"]["networks"]["student_kd"]["gap_points"]["balanced_accuracy"]
    assert gap["value"] == pytest.approx(100 * (values["random"] - values["all"]), abs=1e-9)
    assert 0 < gap["low"] < gap["value"] < gap["high"]
    assert "gap_points" not in levels["all"]["networks"]["student_kd"]


def test_levels_of_the_same_split_share_networks_and_say_so():
    _, document = inflated()
    levels = document["levels"]
    assert levels["stem"]["same_split_as"] == "random"
    assert levels["stem"]["networks"] == levels["random"]["networks"]
    assert "gap_points" not in levels["subject"]["networks"]["student_kd"]  # the honest split itself
    lines = inflation_markdown(document, {"synthetic": True}).splitlines()
    assert any(line.startswith("| stem (the split of random) | – |") for line in lines)
    assert any(line.startswith("| random | 0.900 (0.800 to 1.000) |") for line in lines)
    assert any("Simulated images (phantom), not patients." in line for line in lines)


def test_without_the_honest_level_nothing_is_a_gap():
    samples, _ = inflated()
    document = inflation_document({"random": samples["random"]}, {"random": "random"}, {})
    assert "gap_points" not in document["levels"]["random"]["networks"]["student_kd"]
    assert "| random | – | " in inflation_markdown(document, {})


def test_coverage_of_stage_sets_is_told_of_rounds_that_were_calibrated():
    def answered(number, *splits):
        parts = [of_split(round_of(10 * number + k, skill=0.6), split) for k, split in enumerate(splits)]
        return metrics_document([*parts, round_of(number, skill=0.6)], COSTS, config=QUICK)

    documents = {"a": answered(1, "val", "calibration"), "b": answered(2, "val")}
    found = rounds_document(documents)["student_kd"]["coverage"]
    told = documents["a"]["networks"]["student_kd"]["test"]["coverage"]
    assert found["rounds"]["a"] == told
    assert 0 < told["low"] < told["value"] <= 1
    assert found["rounds"]["b"]["value"] is None
    assert "no answers on calibration images" in found["rounds"]["b"]["note"]
    assert (found["mean"], found["deviation"]) == (told["value"], None)
