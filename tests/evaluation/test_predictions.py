from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fibrokd.errors import ArtifactError, TableError
from fibrokd.evaluation.predictions import Predictions, read_predictions, write_predictions
from fibrokd.stages import METAVIR, StageScale
from tests.evaluation.made_up import made_up_predictions


def _write(folder: Path, change: dict[tuple[int, str], str] | None = None) -> Path:
    path = folder / "predictions.csv"
    write_predictions(path, [made_up_predictions(patients=10)])
    table = pd.read_csv(path, dtype=str)
    for (row, column), value in (change or {}).items():
        table.loc[row, column] = value
    table.to_csv(path, index=False)
    return path


def test_what_was_written_is_read_back_to_float32_precision_and_writes_the_same_bytes_again(tmp_path: Path) -> None:
    parts = [made_up_predictions(name, seed=seed) for seed, name in enumerate(("teacher", "student_kd"))]
    parts = [replace(part, probabilities=part.probabilities.astype(np.float32)) for part in parts]
    write_predictions(tmp_path / "a.csv", parts)
    read = read_predictions(tmp_path / "a.csv", METAVIR)
    write_predictions(tmp_path / "b.csv", read)
    assert [part.network for part in read] == ["teacher", "student_kd"]
    for before, after in zip(parts, read, strict=True):
        np.testing.assert_array_equal(before.probabilities, after.probabilities.astype(np.float32))
        np.testing.assert_array_equal(before.truth, after.truth)
        assert (before.image_ids, before.groups) == (after.image_ids, after.groups)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_every_kind_of_bad_row_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    change = {
        (0, "p_F0"): "nan",
        (1, "p_F1"): "much",
        (2, "p_F2"): "0.9999",
        (3, "stage"): "F9",
        (4, "image_id"): f"{5:016x}",
        (6, "group"): "",
        (7, "p_F0"): "-0.5",
        (8, "p_F4"): "7",
    }
    with pytest.raises(TableError) as caught:
        read_predictions(_write(tmp_path, change), METAVIR)
    problems = " | ".join(caught.value.problems)
    assert "probabilities are not numbers (lines 2, 3)" in problems
    assert "do not sum to 1 within 0.001 (line 4)" in problems
    assert "true stage is not one of F0, F1, F2, F3, F4 (line 5)" in problems
    assert "image_id occurs twice (lines 6, 7)" in problems
    assert "group is empty (line 8)" in problems
    assert "outside 0 … 1 (lines 9, 10)" in problems
    assert len(caught.value.problems) == 6
    assert all(problem.startswith("student_kd on test: ") for problem in caught.value.problems)


def test_another_scale_is_refused_by_its_columns(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="column 'p_none' is missing") as caught:
        read_predictions(_write(tmp_path), StageScale(("none", "mild", "severe"), (1, 2)))
    assert "column 'p_F4' is of no stage of the scale" in caught.value.problems


def test_a_missing_file_an_empty_file_and_a_table_without_rows_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="found nothing"):
        read_predictions(tmp_path / "none.csv", METAVIR)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(TableError, match="not a CSV table"):
        read_predictions(tmp_path / "empty.csv", METAVIR)
    path = _write(tmp_path)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(TableError, match="holds no predictions"):
        read_predictions(path, METAVIR)


def test_predictions_cannot_exist_half_valid() -> None:
    good = made_up_predictions(patients=5)
    bad = good.probabilities.copy()
    bad[1] = np.nan
    bad[2] *= 1.01
    with pytest.raises(TableError) as caught:
        replace(good, split="", probabilities=bad)
    assert caught.value.problems == ("split is empty",)
    with pytest.raises(TableError, match=r"not numbers \(row 1\); probabilities do not sum to 1 .*\(row 2\)"):
        replace(good, probabilities=bad)
    with pytest.raises(TableError, match="expected 3 probabilities per image, found 5"):
        replace(good, scale=StageScale(("a", "b", "c"), ()))
    with pytest.raises(TableError, match="differ in length"):
        replace(good, groups=good.groups[:-1])


def test_equally_probable_stages_count_as_the_least_severe() -> None:
    p = np.array([[0.0, 0.4, 0.4, 0.2, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]])
    part = Predictions("n", "test", ("a", "b"), ("g", "g"), np.array([2, 3]), p, METAVIR)
    assert part.predicted.tolist() == [1, 0]


def test_the_same_network_and_split_twice_or_nothing_at_all_is_not_written(tmp_path: Path) -> None:
    part = made_up_predictions(patients=5)
    with pytest.raises(TableError, match="student_kd on test comes twice"):
        write_predictions(tmp_path / "p.csv", [part, part])
    with pytest.raises(TableError, match="one stage scale"):
        write_predictions(tmp_path / "p.csv", [])
    assert not (tmp_path / "p.csv").exists()
