"""Wrong labels: of the asked share of training groups, whole groups alike, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from fibrokd.data.label_noise import LabelNoise, mislabelled
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select
from tests.factories import write_prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("noise") / "prepared", patients=300, frames=3))


def _changed(prepared, noise):
    """Rows whose label is another one, and by how many stages."""
    step = mislabelled(prepared, noise).stages - prepared.stages
    return np.flatnonzero(step), step[step != 0]


def test_no_share_is_the_folder_itself_and_leaves_no_trace_in_a_record(prepared):
    assert mislabelled(prepared, LabelNoise()) is prepared
    assert LabelNoise(seed=3).used == {}
    assert LabelNoise(share=0.1).used == {"label_noise": {"share": 0.1, "neighbours": False, "seed": 0}}


@pytest.mark.parametrize("neighbours", [False, True])
def test_whole_training_groups_are_wrong_about_as_many_as_asked_and_no_other_split(prepared, neighbours):
    noise = LabelNoise(share=0.3, neighbours=neighbours)
    rows, step = _changed(prepared, noise)
    assert set(rows) <= set(prepared.rows("train"))
    groups = prepared.table["group"].to_numpy()
    train = prepared.rows("train")
    wrong = set(groups[rows])
    assert set(rows) == {row for row in train if groups[row] in wrong}  # a group is wrong as a whole
    assert len(wrong) / len(set(groups[train])) == pytest.approx(0.3, abs=0.08)
    assert (set(step) == {-1, 1}) if neighbours else (set(step) == {-4, -3, -2, -1, 1, 2, 3, 4})
    told = mislabelled(prepared, noise).stages
    for group in wrong:
        assert len(set(told[[row for row in train if groups[row] == group]])) == 1


def test_smaller_shares_are_parts_of_larger_ones_and_another_seed_draws_others(prepared):
    small, large = (set(_changed(prepared, LabelNoise(share=share))[0]) for share in (0.1, 0.4))
    assert small
    assert small < large
    assert set(_changed(prepared, LabelNoise(share=0.4, seed=1))[0]) != large


def test_it_stays_within_the_stages_that_are_told_apart(prepared):
    part = select(prepared, Selection(stages=("F0", "F4"), fraction=0.5))
    wrong = mislabelled(part, LabelNoise(share=0.5))
    rows = np.flatnonzero(wrong.stages != part.stages)
    assert len(rows)
    assert set(rows) <= set(part.rows("train"))
    assert set(wrong.stages[part.rows("train")]) == {0, 1}


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_all_labels_or_less_than_none_are_refused(share):
    with pytest.raises(ValidationError):
        LabelNoise(share=share)
