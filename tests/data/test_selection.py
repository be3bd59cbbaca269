"""A selection leaves out what it says, keeps splits, and draws by key."""

import numpy as np
import pytest
from pydantic import ValidationError

from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection, select, stage_indices
from fibrokd.errors import ConfigError
from tests.factories import write_prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("selection") / "prepared", patients=100, frames=3))


def _groups(prepared, split="train"):
    return set(prepared.table["group"].to_numpy()[prepared.rows(split)])


def test_everything_is_the_folder_itself(prepared):
    assert select(prepared, Selection()) is prepared


def test_other_stages_belong_to_no_split_and_the_scale_shrinks(prepared):
    part = select(prepared, Selection(stages=("F2", "F4")))
    assert part.scale.names == ("F2", "F4")
    assert part.scale.cutoffs == (1,)
    assert stage_indices(prepared.scale, part.scale) == (2, 4)
    for split in ("train", "val", "calibration", "test"):
        rows = part.rows(split)
        names = prepared.table["stage"].to_numpy()[rows]
        assert set(names) == {"F2", "F4"}
        assert [part.scale.names[k] for k in part.stages[rows]] == list(names)
        assert set(rows) == {r for r in prepared.rows(split) if prepared.table["stage"].iloc[r] in {"F2", "F4"}}
    assert (
        np.delete(part.stages, np.concatenate([part.rows(s) for s in ("train", "val", "calibration", "test")])) == -1
    ).all()


def test_smaller_fractions_are_parts_of_larger_ones_and_touch_nothing_but_training(prepared):
    quarter, half = (select(prepared, Selection(fraction=share)) for share in (0.25, 0.5))
    assert _groups(quarter) < _groups(half) < _groups(prepared)
    for part, share in ((quarter, 0.25), (half, 0.5)):
        assert len(_groups(part)) == pytest.approx(share * len(_groups(prepared)), abs=3)
        assert set(part.stages[part.rows("train")]) == set(range(5))
        assert list(part.rows("test")) == list(prepared.rows("test"))
        assert list(part.rows("val")) == list(prepared.rows("val"))
    other = select(prepared, Selection(fraction=0.25, seed=1))
    assert _groups(other) != _groups(quarter)


def test_shots_are_counted_in_images_and_come_from_as_many_groups_as_there_are(prepared):
    part = select(prepared, Selection(shots=4))
    assert np.bincount(part.stages[part.rows("train")]).tolist() == [4] * 5
    assert len(_groups(part)) == 20
    one, four = (set(select(prepared, Selection(shots=n)).rows("train")) for n in (1, 4))
    assert one < four


@pytest.mark.parametrize("names", [("F2", "F9"), ("F4", "F2")])
def test_unknown_and_disordered_stages_are_refused(prepared, names):
    with pytest.raises(ConfigError, match="Expected"):
        select(prepared, Selection(stages=names))


@pytest.mark.parametrize("names", [("F2",), ("F2", "F2"), ()])
def test_one_stage_is_no_task(names):
    with pytest.raises(ValidationError, match="two different"):
        Selection(stages=names)
