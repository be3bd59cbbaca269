"""Step external: another collection, nothing fitted anew, and nothing that networks have seen before."""

import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fibrokd.cli import cli
from fibrokd.config import load_config, parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, InputError
from fibrokd.evaluation.predictions import read_predictions
from fibrokd.files import read_json
from fibrokd.pipeline import external, phantom, prepare, run
from fibrokd.pipeline.assess_numbers import AssessPlan
from fibrokd.pipeline.external import _check
from fibrokd.pipeline.phantom import PhantomConfig
from fibrokd.pipeline.prepare import PrepareConfig
from fibrokd.pipeline.run import RunConfig
from tests.factories import write_prepared
from tests.pipeline.test_end_to_end import SMOKE

PLAN = parse_config({"bootstrap": {"resamples": 100}}, AssessPlan)


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A finished run, and another cohort with five of the run's training pictures among its own."""
    root = tmp_path_factory.mktemp("external")
    own = root / "run"
    run.run(load_config(SMOKE, RunConfig), own)
    cohort = {"patients": 30, "frames": 1, "size": 96, "difficulty": "easy", "seed": 7, "workers": 1}
    phantom.run(parse_config(cohort, PhantomConfig), root / "images")
    learned = Prepared.open(own / "prepared")
    taken = learned.table.iloc[learned.rows("train")[:5]]
    truth = pd.read_csv(root / "images" / "truth.csv", dtype=str, keep_default_na=False)
    for number, (path, stage) in enumerate(zip(taken["path"], taken["stage"], strict=True)):
        name = f"{stage}/new_name_{number}.png"
        shutil.copyfile(own / "phantom" / path, root / "images" / name)
        truth.loc[len(truth)] = {
            **dict.fromkeys(truth.columns, ""),
            "path": name,
            "stage": stage,
            "patient": f"N{number}",
        }
    truth.to_csv(root / "images" / "truth.csv", index=False)
    config = {
        "data": {"root": str(root / "images"), "layout": "table", "labels": "truth.csv"}, "synthetic": True,
        "preprocess": {"size": 32, "crop": "fan"}, "workers": 1,
        "splits": {"folds": 2, "shares": {"train": 0.0, "val": 0.0, "calibration": 0.0, "test": 1.0}},
    }  # fmt: skip
    prepare.run(parse_config(config, PrepareConfig), root / "prepared")
    return own, root / "prepared", taken


@pytest.mark.slow
def test_images_seen_before_are_left_out_and_thresholds_are_those_of_the_run(there, tmp_path):
    own, prepared, taken = there
    record = external.run(own, prepared, tmp_path / "out", PLAN)
    overlap = pd.read_csv(tmp_path / "out" / "overlap.csv", dtype=str)
    assert set(overlap.loc[overlap["reason"] == "content", "seen"]) == set(taken["image_id"])
    document = read_json(tmp_path / "out" / "metrics.json")
    asked = document["networks"]["student_kd"]["test"]["images"]
    assert asked + len(overlap) == len(Prepared.open(prepared))
    scale = Prepared.open(prepared).scale
    parts = {(part.network, part.split): part for part in read_predictions(tmp_path / "out" / "predictions.csv", scale)}
    before = {(p.network, p.split): p for p in read_predictions(own / "assess" / "predictions.csv", scale)}
    fixed = parts["student_kd", "val"]
    assert np.array_equal(fixed.probabilities, before["student_kd", "val"].probabilities)
    assert not set(parts["student_kd", "test"].image_ids) & set(overlap["image_id"])
    told = read_json(tmp_path / "out" / "external.json")["networks"]["student_kd"]["accuracy"]
    at_home = read_json(own / "assess" / "metrics.json")["networks"]["student_kd"]["test"]["accuracy"]["value"]
    assert told["own"]["value"] == at_home
    assert told["difference"]["value"] == pytest.approx(told["external"]["value"] - at_home)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Away from home" in report
    assert "Left out, as seen before:" in report
    assert "trained on another collection" in report
    assert external.run(own, prepared, tmp_path / "out", PLAN) == record


@pytest.mark.slow
def test_the_command_names_the_networks_own_collection_as_none(there, tmp_path):
    own, _, _ = there
    failed = CliRunner().invoke(cli, ["external", str(own), str(own / "prepared"), str(tmp_path / "out")])
    assert isinstance(failed.exception, InputError)
    assert "found the same" in str(failed.exception)


def test_collections_that_do_not_fit_are_refused(tmp_path):
    own = Prepared.open(write_prepared(tmp_path / "own", patients=10))
    small = Prepared.open(write_prepared(tmp_path / "small", patients=10, size=48))
    with pytest.raises(InputError, match="preprocessed as in the run"):
        _check(own, small)
    with pytest.raises(ArtifactError, match="folder of a run"):
        external.run(tmp_path, tmp_path / "own", tmp_path / "out", PLAN)
