"""The order of names: stages cut from a sorted list are found, neighbouring frames of one patient are no shortcut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrokd.integrity.names import label_order, name_kinship
from tests.integrity.builders import manifest


def table_of(paths):
    return manifest([{"path": path} for path in paths])


def alone(count):
    return np.arange(count)


def patients(stages_of_patients, frames, name):
    """Build paths, stages and patient numbers of a cohort of several frames per patient."""
    paths = [f"F0/{name.format(p=p, f=f)}" for p in range(len(stages_of_patients)) for f in range(frames)]
    return table_of(paths), np.repeat(stages_of_patients, frames), np.repeat(np.arange(len(stages_of_patients)), frames)


def test_stages_cut_from_a_sorted_list_are_found_by_their_names():
    stages = np.repeat(np.arange(5), 40)
    found = label_order(table_of([f"F{s}/img{n}.png" for n, s in enumerate(stages)]), stages, alone(200))
    assert (found["units"], found["changes"]) == (200, 4)
    assert found["ratio"] < 0.1
    assert found["z"] < -10


def test_names_dealt_out_at_random_show_nothing():
    stages = np.repeat(np.arange(5), 40)
    order = np.random.default_rng(7).permutation(200)
    found = label_order(table_of([f"F{s}/x{order[n]:04d}.png" for n, s in enumerate(stages)]), stages, alone(200))
    assert found["ratio"] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["P{p:04d}_C0_{f:03d}.png", "case{p}-{f}.png", "{p:03d}_1_{f}.png"])
@pytest.mark.parametrize("known", [True, False])
def test_frames_of_one_patient_are_one_unit_whether_or_not_anybody_named_the_patient(name, known):
    table, stages, codes = patients(np.random.default_rng(1).permutation(np.arange(60) % 5), 6, name)
    found = label_order(table, stages, codes if known else alone(360))
    assert found["units"] == 60
    assert found["ratio"] == pytest.approx(1, abs=0.25)
    assert found["z"] > -3


@pytest.mark.parametrize("known", [True, False])
def test_patients_cut_from_a_sorted_list_are_found_although_frames_do_not_count(known):
    table, stages, codes = patients(np.repeat(np.arange(5), 20), 4, "P{p:04d}_C0_{f:03d}.png")
    found = label_order(table, stages, codes if known else alone(400))
    assert found["changes"] == 4
    assert found["z"] < -4
    assert found["ratio"] < 0.1


def test_copies_under_neighbouring_names_are_no_shortcut():
    stages = np.random.default_rng(3).permutation(np.arange(100) % 5)
    table = table_of([f"F0/v{n}x{c}.png" for n in range(100) for c in range(3)])
    assert label_order(table, np.repeat(stages, 3), np.repeat(np.arange(100), 3))["z"] > -3


@given(st.integers(0, 2**32 - 1))
def test_false_alarms_are_rare_whatever_the_deal(seed):
    random = np.random.default_rng(seed)
    table, stages, codes = patients(random.integers(0, 5, 60), 3, "P{p:04d}_{f:03d}.png")
    found = label_order(table, stages, codes, draws=60)
    assert found["z"] > -6  # beyond what a verdict asks for, six standard deviations do not happen by chance


def test_one_group_or_one_stage_says_nothing():
    assert label_order(table_of(["F0/a.png", "F0/b.png"]), np.array([0, 0]), np.array([0, 0]))["z"] == 0
    assert label_order(table_of(["F0/a.png"]), np.array([2]), np.array([0]))["z"] == 0


def test_names_in_a_scheme_have_kin_as_neighbours_and_random_names_do_not():
    table, _, codes = patients(np.zeros(60, dtype=np.int64), 4, "P{p:04d}_C0_{f:03d}.png")
    assert name_kinship(table, codes)["kinship"] == 1
    order = np.random.default_rng(2).permutation(240)
    shuffled = table_of([f"F0/a{n:04d}.png" for n in order])
    assert name_kinship(shuffled, codes)["kinship"] == pytest.approx(0, abs=0.1)


def test_a_folder_per_patient_or_too_few_ties_cannot_tell():
    paths = [f"F0/patient{p}/{n:08x}.png" for p, n in enumerate(np.random.default_rng(0).integers(0, 2**31, 60))]
    assert name_kinship(table_of(paths), np.repeat(np.arange(30), 2)) == {}
    assert name_kinship(table_of([f"F0/a{n}.png" for n in range(50)]), alone(50)) == {}
    inside = [f"F0/patient{p}/{n}.png" for p in range(40) for n in range(4)]
    assert name_kinship(table_of(inside), np.repeat(np.arange(40), 4)) == {}


def test_digests_and_unique_identifiers_are_pseudonyms_on_purpose():
    random = np.random.default_rng(4)
    for write in (lambda n: f"{n:016x}", lambda n: f"1.2.840.{n}.3"):
        paths = [f"F0/{write(int(n))}.dcm" for n in random.integers(2**40, 2**62, 200)]
        assert name_kinship(table_of(paths), np.repeat(np.arange(50), 4))["pseudonyms"] > 0.95
    short = [f"F0/k{n:04d}.png" for n in random.permutation(9999)[:200]]
    assert name_kinship(table_of(short), np.repeat(np.arange(50), 4))["pseudonyms"] == 0


def test_frames_of_one_file_count_once():
    table = manifest([{"path": f"F0/c{n}.dcm", "frame": f} for n in range(50) for f in range(3)])
    assert name_kinship(table, np.repeat(np.arange(50), 3)) == {}


def test_files_of_one_name_in_every_patients_folder_have_no_order_of_names():
    random = np.random.default_rng(0)
    stages, numbers = random.integers(0, 5, 200), random.permutation(9000)[:200]
    rows = sorted(zip(stages.tolist(), numbers.tolist(), range(200), strict=True))
    found = np.array([s for s, _, _ in rows])
    assert label_order(table_of([f"F{s}/P{n:04d}/IM0001.dcm" for s, n, _ in rows]), found, alone(200)) == {}
    paths = [f"F{s}/P{n:04d}/{file}.png" for s, n, _ in rows for file in (1, 2, 3)]
    assert label_order(table_of(paths), np.repeat(found, 3), np.repeat(alone(200), 3)) == {}


def test_names_that_many_files_share_are_not_walked_stage_by_stage():
    stages = np.sort(np.random.default_rng(0).integers(0, 5, 200))
    order = np.random.default_rng(1).permutation(200)
    paths = [f"F{s}/P{n}/{file}.png" for s, n in zip(stages, order, strict=True) for file in (f"P{n}", "report")]
    found = label_order(table_of(paths), np.repeat(stages, 2), np.repeat(alone(200), 2))
    assert found["z"] > -3
    assert found["ratio"] == pytest.approx(1, abs=0.15)


def test_the_order_of_the_rows_does_not_change_the_walk():
    stages = np.random.default_rng(2).integers(0, 5, 60)
    paths = [f"F{s}/{n // 3 if n < 9 else n}/v{n if n >= 6 else 0}.png" for n, s in enumerate(stages)]
    table, other = table_of(paths), np.random.default_rng(3).permutation(60)
    shuffled = table.iloc[other].reset_index(drop=True)
    assert label_order(table, stages, alone(60))["changes"] == label_order(shuffled, stages[other], other)["changes"]
