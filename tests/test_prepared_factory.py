"""The factory every other test leans on writes what the real reader accepts."""

from fibrokd.data.prepared import SPLITS, Prepared
from tests.factories import write_prepared


def test_the_factory_writes_a_folder_the_reader_accepts(tmp_path):
    prepared = Prepared.open(write_prepared(tmp_path / "prepared", patients=25, frames=2))
    assert len(prepared) == 50
    assert prepared.pixels.shape == (50, 32, 32)
    assert {int(s) for s in prepared.stages} == set(range(5))
    for split in SPLITS:
        assert {int(prepared.stages[r]) for r in prepared.rows(split)} == set(range(5))
