"""Shortcuts learn from the training rows of a prepared folder alone, and answer its test rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from fibrokd.pipeline.own_shortcuts import own_shortcuts
from tests.factories import write_prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("shortcuts") / "prepared", patients=100))


def _with(prepared, **columns):
    return replace(prepared, table=prepared.table.assign(**columns))


def test_whoever_writes_the_stage_into_the_size_is_found_out(prepared):
    width = 100 + np.maximum(prepared.stages, 0)
    (found,) = own_shortcuts(_with(prepared, width=width.astype(str), scanner="one"))
    assert found.network == "metadata"
    rows = prepared.rows("test")
    assert found.image_ids == tuple(prepared.table["image_id"].iloc[rows])
    assert (found.probabilities.argmax(1) == found.truth).all()
    assert (found.truth == prepared.stages[rows]).all()
    (blind,) = own_shortcuts(_with(prepared, width="100", scanner="one"))
    assert (blind.probabilities.argmax(1) == blind.truth).mean() < 0.5


def test_labels_of_other_splits_teach_nothing(prepared):
    width = 100 + np.maximum(prepared.stages, 0)
    told = _with(prepared, width=width.astype(str))
    stage = told.table["stage"].where(told.table["split"] == "train", "F0")
    blinded = _with(told, stage=stage)
    for one, other in zip(own_shortcuts(told), own_shortcuts(blinded), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_scanner_and_site_are_asked_where_they_are_known(prepared):
    names = np.where(prepared.stages > 2, "new", "old")
    found = {part.network: part for part in own_shortcuts(_with(prepared, scanner=names))}
    assert set(found) == {"metadata", "scanner"}
    said = found["scanner"].probabilities.argmax(1)
    assert ((said > 2) == (found["scanner"].truth > 2)).all()


def test_without_training_or_test_images_there_is_no_shortcut(prepared):
    nothing = _with(prepared, split=np.where(prepared.table["split"] == "train", "", prepared.table["split"]))
    assert own_shortcuts(nothing) == []
    assert own_shortcuts(prepared, "elsewhere") == []


def test_of_some_stages_only_these_are_answered(prepared):
    part = select(prepared, Selection(stages=("F0", "F4")))
    for found in own_shortcuts(part):
        assert found.probabilities.shape[1] == 2
