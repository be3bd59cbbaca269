"""With any one defect switched on, a cohort is judged worse than fit and the defect is named; without, it is fit.

Synthetic cohorts whose truth is known: 100 patients of two frames, each hazard alone. Frames are rendered once and
remembered, since most hazards change files only.
"""

import itertools
import json

import pytest

from fibrokd.config import parse_config
from fibrokd.phantom import writing
from fibrokd.phantom.clip import Clip
from fibrokd.phantom.cohort import CohortConfig
from fibrokd.pipeline.prepare import PrepareConfig, run

pytestmark = pytest.mark.slow

PATIENTS, FRAMES = 100, 2
QUICK = {"seeds": [0], "folds": 3, "replicates": 200}
_rendered = {}


class RememberedClip:
    """A clip that renders every frame once in the life of the process."""

    def __init__(self, patient, number):
        self.key = (patient, number)

    def frame(self, number, size, overlay):
        key = (*self.key, number, size, overlay)
        if key not in _rendered:
            _rendered[key] = Clip(*self.key).frame(number, size, overlay)
        return _rendered[key].copy()


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """Make a cohort, prepare it, and return what integrity.json says."""
    monkeypatch.setattr(writing, "Clip", RememberedClip)
    count = itertools.count()

    def judged(patients=PATIENTS, known=True, controls=QUICK, **changes):
        number = next(count)
        settings = {"patients": patients, "frames": FRAMES, "difficulty": "easy", "seed": 4, "workers": 1, **changes}
        root, out = tmp_path / f"cohort{number}", tmp_path / f"prepared{number}"
        writing.write_cohort(parse_config(settings, CohortConfig), root)
        labels = {"layout": "table", "labels": "truth.csv"} if known else {}
        config = {
            "data": {"root": str(root), **labels}, "preprocess": {"size": 96}, "controls": controls, "synthetic": True,
            "mixed_stage_groups": "keep", "workers": 1, "isolation": None,
        }  # fmt: skip
        run(parse_config(config, PrepareConfig), out)
        return json.loads((out / "integrity.json").read_text())

    return judged


def codes(integrity):
    return {reason["code"] for reason in integrity["reasons"]}


def test_the_clean_cohort_is_fit(judged):
    integrity = judged()
    assert codes(integrity) == set()
    assert integrity["verdict"] == "fit"
    assert integrity["near"]["merges"] == 0
    assert integrity["near"]["largest_images"] == FRAMES


@pytest.mark.parametrize(
    ("changes", "named", "tolerated"),
    [
        ({"hazards": {"exact_copies": [1, 1, 1, 1, 1]}}, {"copies"}, set()),
        ({"hazards": {"resaved": 0.4}}, {"near_copies"}, set()),
        ({"hazards": {"tampered": 0.4}}, {"near_copies"}, {"uncropped"}),
        ({"hazards": {"names": "random"}}, {"random_names"}, set()),
        ({"hazards": {"straddle": 0.1}}, {"mixed_stage_groups", "near_across_stages"}, set()),
        ({"hazards": {"broken": 4}}, {"unreadable"}, set()),
        ({"hazards": {"wrong_extension": 0.3}}, {"wrong_extension"}, set()),
        (
            {"knobs": {"site_confound": 0.8}},
            {"scanner_stage", "fan_shape", "outside_fan"},
            {"border", "metadata", "thumbnail_1nn"},
        ),
        ({"knobs": {"overlay_leak": 1.0}}, {"outside_fan"}, {"border"}),
    ],
    ids=[
        "exact copies", "re-saves", "tampered copies", "random names", "straddling patients", "broken files",
        "wrong extensions", "scanner confound", "overlay leak",
    ],
)  # fmt: skip
def test_each_hazard_alone_is_named_and_no_other(judged, changes, named, tolerated):
    integrity = judged(**changes)
    assert integrity["verdict"] in ("caution", "unfit")
    assert named <= codes(integrity) <= named | tolerated


def test_random_names_are_named_where_nobody_names_the_patients_and_likeness_alone_ties(judged):
    integrity = judged(known=False, hazards={"names": "random"})
    assert {"random_names", "unknown_patients"} <= codes(integrity)
    assert integrity["near"]["merges"] == PATIENTS  # every clip of two frames
    without = judged(known=False)
    assert not {"random_names", "label_order"} & codes(without)


@pytest.mark.timeout(1200)
def test_two_thousand_clean_patients_are_fit_and_none_are_merged(judged):
    integrity = judged(patients=2000, controls={})
    assert codes(integrity) == set()
    assert integrity["near"]["merges"] == integrity["near"]["across_patients"] == 0
    assert integrity["near"]["largest_images"] == FRAMES
