from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from fibrokd.errors import TableError
from fibrokd.evaluation.document import SCHEMA, metrics_document
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.stages import StageScale
from tests.evaluation.made_up import made_up_predictions, of_split

NETWORKS = ("teacher", "student_plain", "student_kd")
COSTS = {name: {"parameters": 1000 + rank} for rank, name in enumerate(NETWORKS)}

SOME = frozenset(f"{number:016x}" for number in range(90))
TIED = {"test": {"random": frozenset(), "stem": frozenset(), "content": SOME, "all": SOME | {f"{100:016x}"}}}


def _parts(**options):
    return [made_up_predictions(name, skill=skill, seed=skill, **options) for skill, name in enumerate(NETWORKS, 1)]


def test_the_document_holds_what_other_programs_rely_on() -> None:
    parts = _parts()
    document = metrics_document(parts, COSTS, {"verdict": "fit"})
    assert list(document["networks"]) == list(NETWORKS)
    assert document["networks"]["student_plain"]["parameters"] == 1001
    for part in parts:
        test = document["networks"][part.network]["test"]
        assert (test["images"], test["clusters"]) == (180, 60)
        for name in HEADLINE:
            assert test[name]["low"] <= test[name]["value"] <= test[name]["high"]
        assert test["accuracy"]["value"] == pytest.approx(accuracy_score(part.truth, part.predicted), abs=1e-9)
        kappa = cohen_kappa_score(part.truth, part.predicted, weights="quadratic")
        assert test["quadratic_kappa"]["value"] == pytest.approx(kappa, abs=1e-9)
        assert np.sum(test["confusion"]) == 180
        assert test["per_stage"]["F3"]["images"] == 36
        assert test["per_stage"]["F3"]["clusters"] == 12


def test_the_document_obeys_its_published_schema_also_where_nothing_can_be_estimated() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    few = made_up_predictions(patients=3)
    binary = made_up_predictions("binary", scale=StageScale(("below", "cirrhosis"), (1,)))
    for document in (
        metrics_document(_parts(), COSTS),
        metrics_document([few], COSTS),
        metrics_document([binary], {"binary": {"parameters": 1}}),
        metrics_document(_parts(), COSTS, tied=TIED),
        metrics_document([few], COSTS, tied=TIED),
        metrics_document([of_split(few, "val"), few], COSTS),
        metrics_document([of_split(binary, "val"), binary], {"binary": {"parameters": 1}}),
    ):
        jsonschema.validate(json.loads(json.dumps(document, allow_nan=False)), schema)
    assert set(METRICS) <= set(schema["$defs"]["split"]["properties"])


def test_comparisons_are_paired_differences_of_later_minus_earlier_networks() -> None:
    document = metrics_document(_parts(), COSTS)
    pairs = [(item["first"], item["second"]) for item in document["comparisons"] if item["metric"] == "accuracy"]
    assert pairs == [("student_plain", "teacher"), ("student_kd", "teacher"), ("student_kd", "student_plain")]
    for item in document["comparisons"]:
        tests = [document["networks"][item[side]]["test"] for side in ("first", "second")]
        figures = [test[item["metric"]] for test in tests]
        if item["metric"] == "auroc":
            figures = [areas[item["end_point"]] for areas in figures]
        values = [figure["value"] for figure in figures]
        assert item["difference"]["value"] == pytest.approx(values[0] - values[1], abs=1e-9)


def test_the_same_predictions_give_the_same_bytes() -> None:
    once, again = (json.dumps(metrics_document(_parts(), COSTS)) for _ in range(2))
    assert once == again


def test_stages_without_images_are_named() -> None:
    part = made_up_predictions()
    keep = np.flatnonzero(part.truth != 3)
    part = replace(
        part,
        image_ids=tuple(part.image_ids[row] for row in keep),
        groups=tuple(part.groups[row] for row in keep),
        truth=part.truth[keep],
        probabilities=part.probabilities[keep],
    )
    test = metrics_document([part], COSTS)["networks"]["student_kd"]["test"]
    assert test["absent_stages"] == ["F3"]
    assert test["per_stage"]["F3"]["recall"]["note"] == "not estimable: no image has this true stage"


def test_missing_costs_repeated_parts_and_nothing_at_all_are_refused_together() -> None:
    part = made_up_predictions("other")
    with pytest.raises(TableError) as caught:
        metrics_document([part, part], COSTS)
    assert caught.value.problems == ("other on test comes twice", "costs of other lack 'parameters'")
    with pytest.raises(TableError, match="there are none"):
        metrics_document([], COSTS)


def test_every_network_gets_its_figures_at_every_level_with_the_gap_in_points() -> None:
    parts = _parts()
    document = metrics_document(parts, COSTS, tied=TIED)
    for part in parts:
        test = document["networks"][part.network]["test"]
        assert test["inflation"]["learned_from"] == ["train", "val"]
        levels = test["inflation"]["levels"]
        assert list(levels) == list(TIED["test"])
        left = accuracy_score(part.truth[90:], part.predicted[90:])
        content = levels["content"]
        assert (content["images"], content["related"]["images"]) == (90, 90)
        assert content["accuracy"]["value"] == pytest.approx(left)
        assert content["gap_points"]["accuracy"]["value"] == pytest.approx(100 * (test["accuracy"]["value"] - left))
        assert levels["stem"]["accuracy"] == test["accuracy"]
        assert levels["all"]["images"] == 89


def test_nothing_is_said_about_inflation_where_levels_or_the_split_are_unknown() -> None:
    assert "inflation" not in metrics_document(_parts(), COSTS)["networks"]["teacher"]["test"]
    elsewhere = metrics_document(_parts(), COSTS, tied={"val": TIED["test"], "test": {}})
    assert "inflation" not in elsewhere["networks"]["teacher"]["test"]


def test_an_image_in_two_splits_is_refused_by_its_id() -> None:
    part = made_up_predictions()
    with pytest.raises(TableError, match=r"student_kd: val and test hold the same images \(0000000000000000, .* more"):
        metrics_document([replace(part, split="val"), part], COSTS)


def test_nothing_is_fixed_on_clusters_that_are_assessed_too() -> None:
    part = made_up_predictions(skill=0.5)
    twice = replace(of_split(made_up_predictions(skill=0.5, seed=3), "val"), groups=part.groups)
    told = metrics_document([twice, part], COSTS)["networks"]["student_kd"]["test"]
    why = "60 clusters hold validation and test images alike, so that nothing is fixed beforehand"
    assert told["calibration"]["no_temperature"] == why
    assert "temperature" not in told["calibration"]
    for entry in told["end_points"].values():
        assert entry["operating_points"] == {}
        assert set(entry["no_threshold"].values()) == {why}
    apart = metrics_document([of_split(twice, "val"), part], COSTS)["networks"]["student_kd"]["test"]
    assert "temperature" in apart["calibration"]
    assert apart["end_points"]["≥F3"]["operating_points"]


def test_stage_sets_take_no_temperature_from_clusters_they_are_calibrated_on() -> None:
    test = made_up_predictions(skill=0.5)
    known = of_split(made_up_predictions(skill=0.5, seed=1), "calibration")
    own = of_split(made_up_predictions(skill=0.5, seed=2), "val")
    tied = replace(own, groups=known.groups)
    found = {
        name: metrics_document([val, known, test], COSTS)["networks"]["student_kd"]["test"]["stage_sets"]
        for name, val in (("apart", own), ("tied", tied))
    }
    assert "no_temperature" not in found["apart"]
    assert found["tied"]["no_temperature"].startswith("60 clusters hold validation and calibration images alike")
    assert found["tied"]["temperature"] == 1
