import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app import views
from fibrokd.errors import BundleError
from fibrokd.serving.predictor import Staging
from fibrokd.serving.verify import verify
from fibrokd.stages import METAVIR
from tests.serving.bundles import bundle_in_memory

STAGED = Staging(
    path="scan.png",
    outcome="stage",
    stage="F3",
    probabilities={"F0": 0.01, "F1": 0.04, "F2": 0.2, "F3": 0.6, "F4": 0.15},
    fan_confidence=0.97,
    network_view=np.zeros((64, 64), np.uint8),
    original=np.zeros((300, 400), np.uint8),
)
REFUSED = Staging("scan.txt", "re-acquire", reasons=("This file is not an image.",))


def test_the_outcome_comes_in_words_with_stage_meaning_and_probability():
    words = views.headline(STAGED)
    assert words.staged
    assert words.title == "Most probable stage: F3 — numerous septa without cirrhosis"
    assert "60.0 %" in words.detail


@pytest.mark.parametrize("outcome", ["re-acquire", "refer", "something new"])
def test_a_refusal_names_no_stage(outcome):
    words = views.headline(Staging("a", outcome))
    assert not words.staged
    assert words.title.startswith("No stage")
    assert not any(name in words.title + words.detail for name in METAVIR.names)


def test_a_stage_is_never_said_where_the_outcome_is_another():
    assert not views.headline(Staging("a", "refer", stage="F4", probabilities={"F4": 1.0})).staged
    assert not views.headline(Staging("a", "stage", stage=None)).staged


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1e-9, "< 0.1 %"), (0.0006, "0.1 %"), (0.5, "50.0 %"), (0.9999, "> 99.9 %"), (1, "100.0 %")],
)
def test_a_percentage_never_rounds_doubt_away(share, text):
    assert views.percent(share) == text


def test_the_table_and_the_chart_and_its_text_say_the_same_numbers():
    rows = views.probability_rows(STAGED)
    values = views.chart(STAGED)["data"]["values"]
    assert [row["Stage"] for row in rows] == [value["stage"] for value in values] == list(METAVIR.names)
    assert [value["probability"] for value in values] == list(STAGED.probabilities.values())
    for row, value in zip(rows, values, strict=True):
        assert value["text"].startswith(row["Probability"])
        assert f"{row['Stage']} {row['Probability']}" in views.chart_text(STAGED)
    assert views.chart(STAGED)["description"] == views.chart_text(STAGED)


def test_the_most_probable_stage_is_marked_by_more_than_colour():
    marked = [row["Stage"] for row in views.probability_rows(STAGED) if row["Note"]]
    written = [value["stage"] for value in views.chart(STAGED)["data"]["values"] if "◀" in value["text"]]
    assert marked == written == ["F3"]


def test_the_chart_is_plain_json():
    chart = views.chart(STAGED)
    assert json.loads(json.dumps(chart)) == chart


def test_end_points_add_the_stages_above_the_cutoff():
    rows = views.end_point_rows(STAGED, METAVIR)
    assert [row["End point"] for row in rows] == ["≥F2", "≥F3", "F4"]
    assert [row["Probability"] for row in rows] == ["95.0 %", "75.0 %", "15.0 %"]


def test_frames_are_named_only_where_there_are_several():
    assert views.frame_title(STAGED, 1) == ""
    assert views.frame_title(STAGED, 3) == "Frame 1"
    assert views.frame_title(replace(STAGED, part=1), 2) == "Frame 1, picture 2"


def test_a_phantom_trained_or_unfit_bundle_is_said_so():
    synthetic = views.warnings_of(bundle_in_memory())
    assert len(synthetic) == 1
    assert "phantoms" in synthetic[0]
    unfit = bundle_in_memory(stamp={"verdict": "unfit", "reasons": ["twins in train and test"], "synthetic": False})
    assert views.warnings_of(unfit) == [
        "The integrity check of its training data says “unfit”: twins in train and test."
    ]
    assert views.warnings_of(bundle_in_memory(stamp={"verdict": "fit", "synthetic": False})) == []


def test_a_stamp_that_says_nothing_is_taken_for_the_worst():
    texts = " ".join(views.warnings_of(bundle_in_memory(stamp={"grouping": "all"})))
    assert "phantoms" in texts
    assert "unknown" in texts


def test_the_bundles_facts_show_network_self_test_and_metrics_with_intervals():
    bundle = bundle_in_memory()
    rows = {row["Fact"]: row["Value"] for row in views.bundle_rows(bundle, verify(bundle))}
    assert rows["Test accuracy"] == "0.50 (0.40 – 0.60)"
    assert rows["Self-test here"].startswith("passed")
    assert bundle.digest[:12] in rows["Bundle"]
    assert "phantoms" in views.trained_on(bundle)


def test_captions_say_what_the_pictures_are():
    assert "400 × 300" in views.original_caption(STAGED)
    assert "64 × 64" in views.view_caption(STAGED)
    assert views.original_caption(REFUSED) == views.view_caption(REFUSED) == ""


def test_an_error_is_told_without_paths_of_the_machine():
    folder = Path("/srv/secret/bundle")
    text = views.public_message(BundleError(f"Expected a bundle at {folder}.", f"Look into {folder}."), folder)
    assert "secret" not in text
