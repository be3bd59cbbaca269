"""Reading a prepared folder: the group of every image at every split level."""

from dataclasses import replace

import pandas as pd
import pytest

from fibrokd.data.prepared import LEVELS_FILE, Prepared
from fibrokd.errors import ArtifactError
from tests.factories import write_prepared


def with_levels(folder, change):
    """Open a folder as if ``prepare`` had written a levels.csv into it, altered by ``change``."""
    prepared = Prepared.open(folder)
    ids = prepared.table["image_id"]
    table = pd.DataFrame({"image_id": ids, "stem": ids, "content": [ids[row // 5 * 5] for row in range(len(ids))]})
    change(table).to_csv(folder / LEVELS_FILE, index=False)
    outputs = {**prepared.record.outputs, LEVELS_FILE: "0" * 64}
    return replace(prepared, record=replace(prepared.record, outputs=outputs))


@pytest.fixture
def folder(tmp_path):
    return write_prepared(tmp_path / "prepared", patients=25, frames=2)


def test_levels_come_in_the_order_of_the_manifest_whatever_that_of_the_file(folder):
    prepared = with_levels(folder, lambda table: table.iloc[::-1])
    assert list(prepared.levels) == ["random", "stem", "content", "all"]
    ids = tuple(prepared.table["image_id"])
    assert prepared.levels["random"] == prepared.levels["stem"] == ids
    assert prepared.levels["content"] == tuple(ids[row // 5 * 5] for row in range(50))
    assert prepared.levels["all"] == tuple(prepared.table["cluster"])


def test_the_subject_level_exists_where_it_was_written(folder):
    prepared = with_levels(folder, lambda table: table.assign(subject="s"))
    assert list(prepared.levels) == ["random", "stem", "content", "all", "subject"]
    assert set(prepared.levels["subject"]) == {"s"}


def test_a_folder_of_before_levels_were_written_has_none_and_a_stray_file_is_not_believed(folder):
    assert Prepared.open(folder).levels == {}
    (folder / LEVELS_FILE).write_text("image_id,stem\n")
    assert Prepared.open(folder).levels == {}


def test_levels_that_lack_images_are_refused(folder):
    prepared = with_levels(folder, lambda table: table.iloc[1:])
    with pytest.raises(ArtifactError, match="lacks images"):
        prepared.levels  # noqa: B018  # reading it is the test
