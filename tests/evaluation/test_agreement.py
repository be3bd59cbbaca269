"""How far networks agree: against references, by hand, and by what must always hold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

from fibrokd.errors import TableError
from fibrokd.evaluation.agreement.document import agreements
from fibrokd.evaluation.agreement.figures import BEING_SURE, ERRING, FIGURES, OUTCOMES
from fibrokd.evaluation.intervals import BootstrapConfig, bootstrap
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.report_inputs import ReportInputs
from fibrokd.evaluation.rounds import agreement_of_rounds
from fibrokd.evaluation.sections.agreement import agreement, in_words
from fibrokd.stages import METAVIR
from tests.evaluation.made_up import made_up_predictions

QUICK = BootstrapConfig(resamples=200)
TITLES = {"a": "First", "b": "Second"}


def between(*parts, config=QUICK):
    return agreements([bootstrap(part, config) for part in parts])


def stated(truth, stages, network, sure=0.8):
    """Answers that name given stages, every image a cluster of its own."""
    N, K = len(stages), len(METAVIR)
    p = np.full((N, K), (1 - sure) / (K - 1))
    p[np.arange(N), stages] = sure
    ids = tuple(f"i{row}" for row in range(N))
    return Predictions(network, "test", ids, ids, np.array(truth), p, METAVIR)


def by_hand(first, second):
    """Every figure as its definition says, image by image."""
    one, other, truth = first.predicted, second.predicted, first.truth
    right, also = one == truth, other == truth
    found = {
        "same_stage": accuracy_score(one, other),
        "quadratic_kappa": cohen_kappa_score(one, other, weights="quadratic", labels=range(len(first.scale))),
        "mean_absolute_difference": mean_absolute_error(one, other),
        "total_variation": np.diag(cdist(first.probabilities, second.probabilities, "cityblock")).mean() / 2,
        "both_right": np.mean(right & also),
        "only_first_right": np.mean(right & ~also),
        "only_second_right": np.mean(~right & also),
        "both_wrong_same_stage": np.mean(~right & ~also & (one == other)),
        "both_wrong_other_stages": np.mean(~right & ~also & (one != other)),
    }
    sure, surer = first.probabilities.max(axis=1), second.probabilities.max(axis=1)
    found["overconfidence_gap"] = (surer.mean() - also.mean()) - (sure.mean() - right.mean())
    found["error_overlap"] = np.mean(~right & ~also) / (np.mean(~right) * np.mean(~also))
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_every_figure_is_that_of_its_reference(seed):
    first, second = made_up_predictions("a", seed=seed), made_up_predictions("b", skill=0.8, seed=seed + 5)
    (found,) = between(first, second)
    assert set(FIGURES) == set(by_hand(first, second))
    for name, value in by_hand(first, second).items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-9), name
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name
        assert found[name]["clusters"] == 60


def test_a_case_counted_on_ten_fingers():
    truth = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    first = stated(truth, [0, 1, 2, 3, 4, 1, 2, 2, 3, 0], "a")
    second = stated(truth, [0, 1, 2, 4, 4, 1, 3, 3, 2, 4], "b")
    (found,) = between(first, second)
    values = {name: found[name]["value"] for name in FIGURES}
    # The first is right on 7 of 10, the second on 5, both on 4; both are wrong on the sixth, alike, and the seventh.
    assert values["both_right"] == pytest.approx(0.4)
    assert values["only_first_right"] == pytest.approx(0.3)
    assert values["only_second_right"] == pytest.approx(0.1)
    assert values["both_wrong_same_stage"] == pytest.approx(0.1)
    assert values["both_wrong_other_stages"] == pytest.approx(0.1)
    assert values["same_stage"] == pytest.approx(0.5)
    assert values["mean_absolute_difference"] == pytest.approx((1 + 1 + 1 + 1 + 4) / 10)
    assert values["error_overlap"] == pytest.approx(0.2 / (0.3 * 0.5))
    # Of two answers that name other stages, 0.75 of the probability would have to move.
    assert values["total_variation"] == pytest.approx(0.5 * 0.75)


def test_intervals_are_those_of_resampled_patients():
    first, second = (made_up_predictions(name, patients=20, skill=0.7, seed=k) for k, name in enumerate("ab"))
    config = BootstrapConfig(resamples=100, seed=4)
    (found,) = between(first, second, config=config)
    random = np.random.default_rng(config.seed)
    drawn = []
    for _ in range(config.resamples):
        chosen = random.integers(20, size=20)
        rows = np.concatenate([np.arange(3) + 3 * patient for patient in chosen])
        ids = tuple(f"x{k}" for k in range(len(rows)))
        parts = [
            Predictions(p.network, "test", ids, ids, p.truth[rows], p.probabilities[rows], METAVIR)
            for p in (first, second)
        ]
        drawn.append(by_hand(*parts))
    for name in FIGURES:
        low, high = np.quantile([values[name] for values in drawn], [0.025, 0.975])
        assert (found[name]["low"], found[name]["high"]) == pytest.approx((low, high), abs=1e-9), name


def test_a_network_agrees_with_itself_entirely():
    part = made_up_predictions("a", skill=1.0)
    (found,) = between(part, replace(part, network="b"))
    assert (found["same_stage"]["value"], found["quadratic_kappa"]["value"]) == (1.0, 1.0)
    assert (found["mean_absolute_difference"]["value"], found["total_variation"]["value"]) == (0.0, 0.0)
    errors = np.mean(part.predicted != part.truth)
    assert found["both_wrong_same_stage"]["value"] == pytest.approx(errors)
    assert found["error_overlap"]["value"] == pytest.approx(1 / errors)
    assert 0.9 < found["same_stage"]["low"] < 1.0  # the exact bound, not certainty
    assert found["mean_absolute_difference"]["low"] is None


@settings(max_examples=12)
@given(seed=st.integers(0, 1000), skill=st.floats(0, 3))
def test_agreement_is_the_same_from_either_side_and_outcomes_are_all_there_are(seed, skill):
    first = made_up_predictions("a", patients=12, frames=2, seed=seed)
    second = made_up_predictions("b", patients=12, frames=2, skill=skill, seed=seed + 1)
    config = BootstrapConfig(resamples=100)
    (one,), (turned,) = between(first, second, config=config), between(second, first, config=config)
    swapped = {"only_first_right": "only_second_right", "only_second_right": "only_first_right"}
    gap, back = one["overconfidence_gap"], turned["overconfidence_gap"]
    assert [back["value"], back["low"], back["high"]] == pytest.approx([-gap["value"], -gap["high"], -gap["low"]])
    for name in FIGURES.keys() - BEING_SURE.keys():
        assert turned[swapped.get(name, name)] == one[name], name
    assert sum(one[name]["value"] for name in OUTCOMES) == pytest.approx(1)
    alike = one["same_stage"]["value"]
    assert one["total_variation"]["value"] <= 1
    assert one["both_right"]["value"] + one["both_wrong_same_stage"]["value"] == pytest.approx(alike)


def test_errors_that_have_nothing_to_do_with_each_other_overlap_as_chance_has_it():
    random = np.random.default_rng(0)
    truth = random.integers(5, size=6000)
    parts = [
        stated(truth, np.where(random.uniform(size=6000) < 0.3, (truth + 1) % 5, truth), name) for name in ("a", "b")
    ]
    (found,) = between(*parts)
    assert found["error_overlap"]["low"] < 1 < found["error_overlap"]["high"]
    assert "not told apart from errors without any connection" in in_words(found, TITLES)


def test_the_sentence_says_whether_a_second_network_is_a_second_opinion():
    first = made_up_predictions("a", skill=1.0)
    (alike,) = between(first, replace(first, network="b"))
    assert "First and Second give the same stage to 100.0 %" in in_words(alike, TITLES)
    assert "no independent second opinion" in in_words(alike, TITLES)
    (few,) = between(*(made_up_predictions(name, patients=8, skill=0.5, seed=k) for k, name in enumerate("ab")))
    assert "there is no interval, so this may be chance" in in_words(few, TITLES)
    truth = [k % 5 for k in range(40)]
    apart = [
        stated(truth, [(t + (k % 2 == odd or k % 8 == 0)) % 5 for k, t in enumerate(truth)], "ab"[odd])
        for odd in (0, 1)
    ]
    (never,) = between(*apart)
    assert "where one errs, the other is rather right" in in_words(never, TITLES)
    (flawless,) = between(stated(truth, truth, "a"), apart[1])
    assert flawless["error_overlap"]["note"] == "not estimable: one of the two made no error"
    assert "One of the two made no error here" in in_words(flawless, TITLES)


def report_on(*parts):
    document = {"networks": {part.network: {"test": {}} for part in parts}, "agreement": between(*parts), "level": 0.95}
    return ReportInputs("", document, parts, lambda _: None, titles=TITLES)


def test_the_report_has_three_tables_of_all_pairs_and_sentences_where_there_are_few():
    few = agreement(report_on(*(made_up_predictions(name, seed=k) for k, name in enumerate("ab"))))
    assert [[row.head for row in table.rows] for table in few["tables"]] == [["First and Second"]] * 3
    assert [len(table.columns) - 1 for table in few["tables"]] == [4, 6, 1]
    assert len(few["words"]) == 1
    many = agreement(report_on(*(made_up_predictions(name, patients=12, seed=k) for k, name in enumerate("abcde"))))
    assert [len(table.rows) for table in many["tables"]] == [10] * 3
    assert many["words"] == []
    assert agreement(report_on(made_up_predictions("a"))) is None


def test_what_cannot_be_estimated_says_why():
    (few,) = between(*(made_up_predictions(name, patients=8, seed=k) for k, name in enumerate("ab")))
    for name in FIGURES:
        assert few[name]["low"] is None
        assert "8 clusters" in few[name]["note"] or "not estimable" in few[name]["note"]
    constant = [stated([0, 1] * 10, [2] * 20, name) for name in "ab"]
    (found,) = between(*constant)
    assert found["quadratic_kappa"]["value"] is None
    assert "one and the same stage" in found["quadratic_kappa"]["note"]


def test_every_pair_of_every_split_is_told_in_the_order_of_networks():
    parts = [made_up_predictions(name, seed=k) for k, name in enumerate("abc")]
    found = between(*parts, *(replace(part, split="val") for part in parts[:2]))
    assert [(item["split"], item["first"], item["second"]) for item in found] == [
        ("test", "a", "b"), ("test", "a", "c"), ("test", "b", "c"), ("val", "a", "b"),
    ]  # fmt: skip
    assert between(parts[0]) == []


def test_the_order_of_images_is_of_no_account_and_other_images_are_refused():
    first, second = made_up_predictions("a"), made_up_predictions("b", skill=1.0, seed=2)
    turned = second.rows(np.random.default_rng(0).permutation(len(second)))
    assert between(first, turned) == between(first, second)
    with pytest.raises(TableError, match="images"):
        between(first, replace(second, image_ids=tuple(f"x{k}" for k in range(len(second)))))
    with pytest.raises(TableError, match="180 have another truth"):
        between(first, replace(second, truth=(second.truth + 1) % 5))


def test_rounds_that_share_no_image_have_no_agreement_and_others_have_it_on_what_they_share():
    whole = [made_up_predictions("student_kd", seed=k) for k in (1, 2)]
    halves = [
        part.rows(np.arange(len(part))[rows]) for part, rows in zip(whole, (slice(90), slice(90, 180)), strict=True)
    ]
    apart = agreement_of_rounds({"0": [halves[0]], "1": [halves[1]]}, QUICK)
    assert apart == {"student_kd": {"note": "not estimable: no two rounds share an image", "pairs": []}}
    shared = agreement_of_rounds({"0": [whole[0]], "1": [halves[1]]}, QUICK)["student_kd"]
    (pair,) = shared["pairs"]
    assert shared["note"] == ""
    assert (pair["first"], pair["second"], pair["images"]) == ("0", "1", 90)
    wanted = by_hand(whole[0].rows(np.arange(90, 180)), halves[1])
    assert {name: pair[name]["value"] for name in ERRING} == pytest.approx({name: wanted[name] for name in ERRING})
