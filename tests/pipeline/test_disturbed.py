"""Phantoms rendered anew: the same patients, on other scanners and with other settings, and nobody else's."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import InputError
from fibrokd.pipeline import phantom, prepare
from fibrokd.pipeline.disturbed import SETTINGS, chosen_rows, recorded, rendered
from fibrokd.pipeline.phantom import PhantomConfig
from fibrokd.pipeline.prepare import PrepareConfig

# What it costs is rendering; the smoke run, in the fast suite, renders five patients anew.
pytestmark = pytest.mark.slow

SCANNERS = ["sonova", "handix"]


def cohort(folder, **changes):
    settings = {"patients": 40, "frames": 1, "size": 64, "scanners": SCANNERS, "workers": 1} | changes
    phantom.run(parse_config(settings, PhantomConfig), folder)
    return folder


@pytest.fixture(scope="module")
def rendered_cohort(tmp_path_factory):
    return cohort(tmp_path_factory.mktemp("phantom") / "phantom", seed=5)


@pytest.fixture(scope="module")
def prepared(rendered_cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "prepared"
    settings = {
        "data": {"root": str(rendered_cohort), "layout": "table", "labels": "truth.csv"},
        "preprocess": {"size": 32}, "near": {"enabled": False}, "isolation": None, "workers": 1,
        "controls": {"seeds": [0], "replicates": 100}, "accept_unfit": True,
    }  # fmt: skip
    prepare.run(parse_config(settings, PrepareConfig), out)
    return Prepared.open(out)


@pytest.fixture(scope="module")
def again(prepared, rendered_cohort):
    rows = chosen_rows(prepared, "test", 3)
    return rows, {item.key: item for item in rendered(prepared, rows, rendered_cohort)}


def test_an_unchanged_rendering_is_the_stored_picture_bit_for_bit(prepared, again):
    rows, found = again
    np.testing.assert_array_equal(found["rendered"].pixels, prepared.pixels[rows])


def test_every_patient_is_examined_on_every_scanner_but_their_own(prepared, again):
    rows, found = again
    own = prepared.table["scanner"].to_numpy()
    for name in SCANNERS:
        expected = [row for row in rows if own[row] != name]
        taken = found.get(f"scanner_{name}")
        assert (taken.rows.tolist() if taken else []) == expected
    assert sum(len(found[key].rows) for key in found if key.startswith("scanner_")) == len(rows)


def test_every_setting_changes_every_picture(again):
    rows, found = again
    for key in SETTINGS:
        assert found[key].rows.tolist() == rows.tolist()
        assert (found[key].pixels != found["rendered"].pixels).any(axis=(1, 2)).all(), key
    assert found["rendered_gain"].pixels.mean() > found["rendered"].pixels.mean() + 5


def test_one_picture_of_each_cluster_is_taken_up_to_the_number_asked_for(prepared):
    every = chosen_rows(prepared, "test", 1000)
    clusters = prepared.table["cluster"].to_numpy()
    assert sorted(clusters[every]) == sorted(set(clusters[prepared.rows("test")]))
    assert set(chosen_rows(prepared, "test", 2)) < set(every)
    assert not len(chosen_rows(prepared, "test", 0))
    assert all(item.pixels.shape == (2, 32, 32) for item in recorded(prepared, every[:2]))


def test_another_cohort_is_refused(prepared, rendered_cohort, tmp_path):
    rows = chosen_rows(prepared, "test", 2)
    renamed = replace(prepared, table=prepared.table.assign(path="nowhere.png"))
    others = replace(prepared)
    others.__dict__["pixels"] = prepared.pixels[::-1]
    for data, folder, found in (
        (renamed, rendered_cohort, "a file that it does not have"),
        (others, rendered_cohort, "another picture"),
        (prepared, cohort(tmp_path / "dicom", seed=5, format="dicom", patients=5), "DICOM files, or planted defects"),
    ):
        with pytest.raises(InputError, match=f"found {found}"):
            list(rendered(data, rows, folder))


def test_a_cluster_is_not_taken_the_more_for_having_more_images(prepared):
    count = np.array([1] * 50 + [20] * 50)
    clusters = np.repeat([f"c{number:03d}" for number in range(100)], count)
    ids = [f"{value:016x}" for value in np.random.default_rng(0).permutation(len(clusters))]
    table = prepared.table.iloc[np.zeros(len(clusters), dtype=int)].reset_index(drop=True)
    many = replace(prepared, table=table.assign(image_id=ids, cluster=clusters, split="test"))
    taken = clusters[chosen_rows(many, "test", 40)]
    assert len(set(taken)) == 40
    assert 12 <= sum(name < "c050" for name in taken) <= 28
