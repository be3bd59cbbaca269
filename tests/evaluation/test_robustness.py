"""Disturbed pictures: what is done to them, how far answers move by hand and by law, and what the report says."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.evaluation.conformal.stage_sets import stage_sets
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.robustness.disturbances import DISTURBANCES, RENDERED, is_rendered, words_of
from fibrokd.evaluation.robustness.document import robustness_document
from tests.evaluation.made_up import made_up_predictions
from tests.evaluation.made_up_report import Page, report_inputs, show

FEW = BootstrapConfig(resamples=200)


def picture(side=64):
    pixels = np.random.default_rng(0).integers(1, 256, (side, side), dtype=np.uint8)
    pixels[np.tri(side, dtype=bool)] = 0
    return pixels


@pytest.mark.parametrize("item", DISTURBANCES, ids=lambda item: item.key)
def test_a_disturbance_changes_a_picture_always_alike_and_leaves_the_one_given_alone(item):
    pixels = picture()
    before = pixels.copy()
    changed = item.apply(pixels)
    np.testing.assert_array_equal(pixels, before)
    assert changed.shape == pixels.shape
    assert changed.dtype == np.uint8
    assert (changed != pixels).any()
    np.testing.assert_array_equal(changed, item.apply(pixels))


def test_what_is_outside_the_fan_stays_black_where_nothing_moves():
    pixels = picture()
    for item in DISTURBANCES:
        if item.key not in ("deeper", "shallower", "shift_down", "shift_right", "mirrored"):
            assert not item.apply(pixels)[pixels == 0].any(), item.key


def test_deeper_shows_more_about_the_probe_and_shallower_less():
    applied = {item.key: item.apply for item in DISTURBANCES}
    dot = np.zeros((101, 101), dtype=np.uint8)
    dot[53:56, 49:52] = 255  # 54 rows below the probe, in its middle
    for key, row in (("deeper", 54 / 1.08), ("shallower", 54 * 1.08)):
        rows, columns = np.nonzero(applied[key](dot) > 128)
        assert rows.mean() == pytest.approx(row, abs=0.6)
        assert columns.mean() == pytest.approx(50, abs=0.6)


def test_every_disturbance_has_one_key_and_words():
    keys = [item.key for item in DISTURBANCES] + list(RENDERED)
    assert len(set(keys)) == len(keys)
    assert all(words_of(key) for key in keys)
    assert words_of("scanner_handix") == "same patients on scanner handix"
    assert [is_rendered(key) for key in ("gain_lower", "scanner_handix", "rendered_gain")] == [False, True, True]


# --------------------------------------------------------------------------- figures
def disturbed(part, key, shift=0.0, rows=None):
    """Move a share of every stage's probability one stage up."""
    p = part.probabilities.copy()
    for stage in reversed(range(4)):
        moved = shift * p[:, stage]
        p[:, stage] -= moved
        p[:, stage + 1] += moved
    found = replace(part, split=key, probabilities=p)
    return found if rows is None else found.rows(np.arange(rows))


def test_answers_that_stay_have_not_moved():
    part = made_up_predictions("teacher", patients=20)
    found = robustness_document([part], [disturbed(part, "gain_lower")], FEW)["networks"]["teacher"]["gain_lower"]
    assert found["words"] == "gain 6 dB lower"
    assert found["kind"] == "recorded"
    assert [found[name]["value"] for name in ("shift", "moved", "changed", "balanced_accuracy")] == [0, 0, 0, 0]
    assert found["changed"]["high"] > 0.1, "that none of 20 patients changed is no proof that none would"


def test_figures_are_what_they_are_by_hand_on_the_images_that_were_disturbed():
    part = made_up_predictions("teacher", patients=30, skill=1.0)
    after = disturbed(part, "haze", 0.5, rows=60)
    found = robustness_document([part], [after], FEW)["networks"]["teacher"]["haze"]
    shift = (after.probabilities - part.probabilities[:60]) @ np.arange(5)
    assert found["images"] == 60
    assert found["shift"]["clusters"] == 20
    assert found["shift"]["value"] == found["moved"]["value"] == pytest.approx(shift.mean(), abs=1e-6)
    assert found["shift"]["low"] < shift.mean() < found["shift"]["high"]
    assert found["changed"]["value"] == pytest.approx((after.predicted != part.predicted[:60]).mean())
    recalls = [
        np.mean([(answers.predicted[:60] == k)[part.truth[:60] == k].mean() for k in range(5)])
        for answers in (after, part)
    ]
    assert found["balanced_accuracy"]["value"] == pytest.approx(recalls[0] - recalls[1], abs=1e-6)


def test_shifts_that_cancel_have_moved_all_the_same():
    part = made_up_predictions("teacher", patients=20, frames=2)
    moved = disturbed(part, "haze", 0.2).probabilities
    even = np.arange(40)[:, None] % 2 == 0
    before = replace(part, probabilities=np.where(even, part.probabilities, moved))
    after = replace(part, split="haze", probabilities=np.where(even, moved, part.probabilities))
    shift = (after.probabilities - before.probabilities) @ np.arange(5)
    assert (shift > 0).sum() == (shift < 0).sum() == 20
    entry = robustness_document([before], [after], FEW)["networks"]["teacher"]["haze"]
    assert entry["shift"]["value"] == pytest.approx(shift.mean(), abs=1e-6)
    assert entry["moved"]["value"] == pytest.approx(np.abs(shift).mean(), abs=1e-6)
    assert entry["moved"]["low"] > 2 * abs(entry["shift"]["value"])


def test_patients_rendered_otherwise_are_compared_with_their_unchanged_rendering():
    part = made_up_predictions("teacher", patients=20)
    lossy = disturbed(part, "rendered", 0.3)
    found = robustness_document([part], [lossy, replace(lossy, split="rendered_gain")], FEW)["networks"]["teacher"]
    assert found["rendered"]["moved"]["value"] > 0.1
    assert found["rendered_gain"]["moved"]["value"] == 0
    assert found["rendered_gain"]["kind"] == "rendered"


# --------------------------------------------------------------------------- stage sets
def of_split(split, patients, seed, **how):
    part = made_up_predictions("teacher", patients=patients, frames=1, skill=0.8, seed=seed, **how)
    return replace(
        part,
        split=split,
        image_ids=tuple(split + image_id for image_id in part.image_ids),
        groups=tuple(split + group for group in part.groups),
    )


FIXED_ON = [of_split("val", 60, 4), of_split("calibration", 60, 5)]


def sets_of(after, before=None):
    before = of_split("test", 80, 6) if before is None else before
    found = robustness_document([before], [after], FEW, FIXED_ON)
    return found["networks"]["teacher"][after.split]["stage_sets"]


def test_sets_of_pictures_that_stayed_hold_what_they_held():
    found = sets_of(replace(of_split("test", 80, 6), split="haze"))
    assert found["coverage"]["value"] == found["before"] > 0.7
    assert [found[name]["value"] for name in ("change", "grown")] == [0, 0]


def test_sets_of_disturbed_pictures_are_those_of_the_same_threshold_and_lose_the_truth_where_answers_move():
    before = of_split("test", 80, 6)
    surely_elsewhere = np.full((80, 5), 0.001)
    surely_elsewhere[np.arange(80), (before.truth + 2) % 5] = 0.996
    found = sets_of(replace(before, split="haze", probabilities=surely_elsewhere), before)
    own = stage_sets(before, {part.split: part for part in FIXED_ON})
    assert found["before"] == pytest.approx(own.covered.mean(), abs=1e-6)
    assert found["coverage"]["value"] == 0
    assert found["change"]["value"] == pytest.approx(-own.covered.mean(), abs=1e-6)
    assert found["change"]["high"] < 0
    assert found["grown"]["value"] == pytest.approx(1 - own.sizes.mean(), abs=1e-6), "sure, and wrong"
    unsure = sets_of(replace(before, split="haze", probabilities=np.full((80, 5), 0.2)), before)
    assert unsure["coverage"]["value"] > 0.5, "who is unsure adds stages"
    assert unsure["grown"]["value"] > 0.5


def test_without_calibration_images_sets_are_refused_and_the_reason_is_told():
    part = made_up_predictions("teacher", patients=20)
    found = robustness_document([part], [disturbed(part, "haze")], FEW)
    assert found["networks"]["teacher"]["haze"]["stage_sets"] == {
        "level": 0.9,
        "refused": "there are no answers on calibration images",
    }
    text = Page(show(report_inputs(robustness=found), "robustness")).text
    assert "Teacher: no sets, because there are no answers on calibration images." in text
    assert "Sets of the same patients" not in text


def test_a_lost_promise_is_said_on_the_first_screen_and_its_figures_stand_where_answers_are_steady():
    before = of_split("test", 80, 6)
    other = np.full((80, 5), 0.001)
    other[np.arange(80), np.where(before.truth < 4, before.truth + 1, 3)] = 0.996
    after = replace(before, split="haze", probabilities=other)
    page = Page(show(report_inputs(robustness=robustness_document([before], [after], FEW, FIXED_ON)), "robustness"))
    kept = sets_of(after, before)
    line = f"sets hold the true stage of 0.0 % of the patients instead of {100 * kept['before']:.1f} %, where 90 % are"
    assert page.text.count(line) == 2
    assert "Sets of the same patients, 90 % wanted" in page.text
    steady = robustness_document([before], [replace(before, split="haze")], FEW, FIXED_ON)
    text = Page(show(report_inputs(robustness=steady), "robustness")).text
    assert "instead of" not in text
    assert "Sets of the same patients, 90 % wanted" in text


# --------------------------------------------------------------------------- report
def test_a_network_that_moves_is_said_to_on_the_first_screen_and_where_it_is_shown():
    part = made_up_predictions("teacher", patients=20)
    moved = [disturbed(part, "haze", 0.9), disturbed(part, "rendered"), disturbed(part, "scanner_handix", 0.1)]
    page = Page(show(report_inputs(robustness=robustness_document([part], moved, FEW)), "robustness"))
    line = "Teacher, haze of 40 grey levels near the probe: moved by 0."
    assert page.text.count(line) == 2
    assert "Not steady" in page.text
    assert "Same patients on scanner handix" in page.text
    assert "Simulated patients were also examined again" in page.text


def test_a_network_that_stays_is_not_praised():
    part = made_up_predictions("teacher", patients=20)
    html = show(
        report_inputs(robustness=robustness_document([part], [disturbed(part, "haze", 0.1)], FEW)), "robustness"
    )
    text = Page(html).text
    assert "Nothing that was tried moves a network by more than 0.5 stages on average, or surely costs" in text
    assert "says nothing about whether it was right" in text
    assert "Simulated patients were also" not in text
