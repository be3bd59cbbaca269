"""Stage and scanner: the association is that of the textbook, groups count once, chance is not reproached."""

import numpy as np
import pytest
from scipy.stats.contingency import association

from fibrokd.data.margins import COUNT
from fibrokd.integrity.control_data import ControlData, scanner_codes
from fibrokd.integrity.identity import StemRules
from fibrokd.integrity.levels import build_levels
from fibrokd.integrity.scanners import recognisable, scanner_association, scanners_known
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
