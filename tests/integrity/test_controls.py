"""Controls find shortcuts where there are some, and stay at chance where there are none."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from fibrokd.data.margins import BORDER, COUNT, GEOMETRY, OUTSIDE
from fibrokd.integrity.control_data import ControlData, name_pattern
from fibrokd.integrity.controls import CONTROLS, draw_groups, metadata_only, nearest_thumbnail, run_controls
from fibrokd.integrity.identity import StemRules
from fibrokd.integrity.levels import build_levels
from tests.integrity.builders import content, manifest

STAGES = np.repeat(np.arange(5), 40)
NAMES = ("F0", "F1", "F2", "F3", "F4")


def noise(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def collection(**columns):
    """Build 200 unrelated images, 40 per stage; ``columns`` override cells by row number."""
    order = np.random.default_rng(7).permutation(200)
    rows = [
        {"path": f"{NAMES[STAGES[n]]}/x{order[n]:04d}.png", "stage": NAMES[STAGES[n]],
         **{name: of(n) for name, of in columns.items()}}
        for n in range(200)
    ]  # fmt: skip
    return manifest(rows)


def margin_noise(seed=0):
    return np.random.default_rng(seed).random((200, COUNT)).astype(np.float32)


def measure(table, thumbnails, margins=None):
    levels = build_levels(table, STAGES, StemRules(), seeds=(0,), replicates=100)
    return run_controls(ControlData(table, thumbnails, STAGES, margins), levels)


def test_the_nearest_thumbnail_is_the_nearest_one():
    thumbnails = noise(200)
    test = np.arange(200) % 5 == 0
    answer = nearest_thumbnail(ControlData(collection(), thumbnails, STAGES), test)
    flat = thumbnails.reshape(200, -1).astype(np.float64)
    oracle = cdist(flat[test], flat[~test], "sqeuclidean").argmin(axis=1)
    assert answer.tolist() == STAGES[~test][oracle].tolist()


def test_copies_are_found_by_lookup_until_content_is_kept_together():
    thumbnails = noise(200)
    thumbnails[1::2] = thumbnails[::2]
    found = measure(collection(pixel_digest=lambda n: content(n // 2)), thumbnails)["thumbnail_1nn"]
    assert found["random"]["twin_in_train"] > 0.7
    assert found["random"]["accuracy"]["value"] > 0.75
    assert found["content"]["twin_in_train"] == 0
    assert found["content"]["accuracy"]["low"] < 0.3
    assert found["content"]["groups"] == 100
    assert "subject" not in found


def test_pictures_of_one_patient_are_found_until_patients_are_kept_together():
    thumbnails = np.repeat(noise(50), 4, axis=0)
    thumbnails = (thumbnails // 2 + noise(200, seed=1) // 4).astype(np.uint8)
    found = measure(collection(patient=lambda n: f"P{n // 4}"), thumbnails)["thumbnail_1nn"]
    assert found["content"]["accuracy"]["value"] > 0.95
    assert found["subject"]["balanced_accuracy"]["low"] < 0.3
    assert found["subject"]["groups"] == found["all"]["groups"] == 50


def test_a_format_that_follows_the_stage_is_found_without_opening_the_picture():
    found = measure(collection(format=lambda n: "PNG" if n >= 80 else "JPEG"), noise(200))["metadata"]
    assert found["all"]["balanced_accuracy"]["low"] > 0.3
    clean = measure(collection(width=lambda n: str(60 + n % 3)), noise(200))["metadata"]
    assert clean["all"]["balanced_accuracy"]["low"] < 0.25


def test_the_folder_which_is_the_label_is_no_metadata():
    answer = metadata_only(ControlData(collection(), noise(200), STAGES), np.arange(200) % 2 == 0)
    assert (answer == STAGES[::2]).mean() < 0.4


def test_a_name_is_reduced_to_its_make():
    assert name_pattern("P0001_C0_000") == name_pattern("Q9876_D1_123") != name_pattern("P1_C0_000")


def test_columns_about_the_file_count_where_a_manifest_has_them():
    table = collection().assign(mode=np.where(STAGES < 2, "RGB", "L"))
    assert measure(table, noise(200))["metadata"]["all"]["balanced_accuracy"]["low"] > 0.3


@pytest.mark.parametrize(
    ("part", "finds"),
    [(OUTSIDE, {"outside_fan"}), (BORDER, {"border"}), (GEOMETRY, {"outside_fan", "fan_shape"})],
)
def test_each_probe_finds_the_stage_in_its_own_numbers_only(part, finds):
    margins = margin_noise()
    margins[:, part.start] += STAGES
    found = measure(collection(), noise(200), margins)
    lows = {name: found[name]["all"]["balanced_accuracy"]["low"] for name in ("border", "outside_fan", "fan_shape")}
    assert {name for name, low in lows.items() if low > 0.4} == finds
    assert all(low < 0.25 for name, low in lows.items() if name not in finds)


def test_what_there_is_no_material_for_is_left_out():
    found = measure(collection(), noise(200))
    assert set(found) == {"thumbnail_1nn", "metadata"}
    half = measure(collection(scanner=lambda n: f"s{n % 3}" if n < 100 else ""), noise(200))
    assert "scanner" not in half


def test_a_scanner_that_follows_the_stage_is_found_by_its_name_and_one_that_does_not_is_not():
    following = measure(collection(scanner=lambda n: f"s{STAGES[n] // 2}"), noise(200))["scanner"]
    assert following["all"]["balanced_accuracy"]["value"] > 0.5
    mixed = measure(collection(scanner=lambda n: f"s{(n * 7919) % 3}"), noise(200))["scanner"]
    assert mixed["all"]["balanced_accuracy"]["low"] < 0.25


def test_scores_agree_with_scikit_learn_and_lie_inside_their_intervals():
    table = collection(patient=lambda n: f"P{n // 4}")
    (level,) = (x for x in build_levels(table, STAGES, StemRules(), seeds=(0,), replicates=300) if x.name == "subject")
    answers = np.random.default_rng(0).integers(0, 5, 200)
    answers[:90] = STAGES[:90]
    scores = level.score((answers == STAGES) * 1.0)
    assert scores["accuracy"]["value"] == pytest.approx(accuracy_score(STAGES, answers), abs=1e-4)
    assert scores["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(STAGES, answers), abs=1e-4)
    for score in scores.values():
        assert score["low"] < score["value"] < score["high"]


def test_intervals_at_every_level_know_the_clusters_whatever_the_level_keeps_together():
    correct = np.repeat(np.random.default_rng(1).random(50) < 0.5, 4) * 1.0

    def widths(table):
        levels = build_levels(table, STAGES, StemRules(), seeds=(0,), replicates=500)
        return {x.name: (s := x.score(correct)["accuracy"])["high"] - s["low"] for x in levels}

    clustered, alone = widths(collection(patient=lambda n: f"P{n // 4}")), widths(collection())
    assert set(clustered) == {"random", "stem", "content", "all", "subject"}
    assert all(width > 1.5 * alone["random"] for width in clustered.values())


def test_a_large_collection_is_thinned_by_whole_groups():
    codes = np.repeat(np.arange(100), 3)
    rows = draw_groups(codes, 60)
    assert len(rows) == 60
    assert all((codes[rows] == code).sum() == 3 for code in set(codes[rows]))
    assert draw_groups(codes, 300).tolist() == list(range(300))


@pytest.mark.parametrize("name", list(CONTROLS))
def test_every_control_answers_with_a_stage_for_every_test_image(name):
    test = np.arange(200) % 5 == 1
    table = collection(scanner=lambda n: f"s{n % 3}")
    answer = CONTROLS[name].answer(ControlData(table, noise(200), STAGES, margin_noise()), test)
    assert answer.shape == (40,)
    assert set(answer) <= set(range(5))


@pytest.mark.parametrize("name", list(CONTROLS))
def test_every_control_has_words_that_can_be_filled_in(name):
    control = CONTROLS[name]
    said = control.finding.format(value="41.0 %", chance="20.0 %")
    assert "41.0 %" in said
    assert "20.0 %" in said
    assert control.title
    assert control.todo.endswith(".")
