"""Step assess: clusters are what is resampled, and no picture is shown that may carry burned-in text."""

from dataclasses import replace

import numpy as np
import pytest

from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.pipeline import assess
from fibrokd.pipeline.assess import AssessConfig
from fibrokd.training.networks import StagingNetwork
from tests.factories import write_prepared


@pytest.fixture
def prepared(tmp_path):
    found = Prepared.open(write_prepared(tmp_path / "prepared", patients=25, frames=2))
    table = found.table.assign(cropped=["1", "0"] * 25, group=found.table["image_id"])
    return replace(found, table=table, stamp=found.stamp | {"synthetic": False})


@pytest.mark.parametrize(("wanted", "shown"), [("masked", [True, False]), ("all", [True, True]), ("none", [False] * 2)])
def test_only_masked_pictures_are_shown_unless_asked_otherwise(prepared, wanted, shown):
    fetch = assess._pictures(prepared, wanted)
    pictures = [fetch(image_id) for image_id in prepared.table["image_id"]]
    assert [picture is not None for picture in pictures] == shown * 25
    assert all(p is None or (p == prepared.pixels[row]).all() for row, p in enumerate(pictures))
    assert assess.NO_PICTURE[wanted]


def test_synthetic_pictures_carry_nobodys_name(prepared):
    synthetic = replace(prepared, stamp=prepared.stamp | {"synthetic": True})
    assert all(assess._pictures(synthetic, "masked")(image_id) is not None for image_id in prepared.table["image_id"])
    assert assess._pictures(synthetic, "none")(prepared.table["image_id"][0]) is None


def test_pictures_are_withheld_by_default():
    config = parse_config({"prepared": "p", "networks": {"teacher": "t"}}, AssessConfig)
    assert config.pictures == "masked"
    assert "burned-in text" in assess.NO_PICTURE[config.pictures]


def test_answers_carry_the_cluster_and_not_the_group_of_the_split(prepared, monkeypatch):
    monkeypatch.setattr(assess, "predict", lambda network, pixels, *rest: np.zeros((len(pixels), 5), np.float32))
    answers = assess._answers("teacher", StagingNetwork.__new__(StagingNetwork), prepared, "test")
    rows = prepared.rows("test")
    assert list(answers.groups) == list(prepared.table["cluster"].iloc[rows])
    assert len(set(answers.groups)) < len(set(prepared.table["group"].iloc[rows])) == len(rows)
