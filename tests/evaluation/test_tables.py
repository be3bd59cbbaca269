from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.tables import confusion_table, share_copied_from_train, write_confusion
from fibrokd.stages import METAVIR
from tests.evaluation.made_up import made_up_predictions


def test_row_and_column_percentages_of_every_network_add_up_to_a_hundred() -> None:
    table = confusion_table([made_up_predictions("a"), made_up_predictions("b", skill=0.5)])
    assert len(table) == 2 * 25
    np.testing.assert_allclose(table.groupby(["network", "truth"])["row_percent"].sum(), 100)
    np.testing.assert_allclose(table.groupby(["network", "predicted"])["column_percent"].sum(), 100)
    assert table["count"].sum() == 2 * 180


def test_confusions_with_a_stage_that_nobody_has_leave_its_percentages_empty(tmp_path: Path) -> None:
    part = Predictions("n", "test", ("a", "b"), ("a", "b"), np.array([0, 0]), np.eye(5)[[0, 1]], METAVIR)
    write_confusion(tmp_path / "confusion.csv", [part])
    lines = (tmp_path / "confusion.csv").read_text().splitlines()
    assert lines[0] == "network,split,truth,predicted,count,row_percent,column_percent"
    assert lines[1:4] == ["n,test,F0,F0,1,50.00,100.00", "n,test,F0,F1,1,50.00,100.00", "n,test,F0,F2,0,0.00,"]
    assert lines[-1] == "n,test,F4,F4,0,,"


def test_copies_are_counted_from_the_split_towards_train_only() -> None:
    table = pd.DataFrame(
        [("train", "a"), ("train", "b"), ("val", "c"), ("test", "a"), ("test", "c"), ("test", "d"), ("test", "d")],
        columns=["split", "pixel_digest"],
    )
    assert share_copied_from_train(table) == pytest.approx(0.25)
    assert share_copied_from_train(table, "val") == 0
