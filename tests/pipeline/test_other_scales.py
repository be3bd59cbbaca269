"""Other scales than METAVIR, from a label table to a released bundle: three grades, and one limit."""

from pathlib import Path

import pandas as pd
import pytest

from fibrokd.config import load_config, parse_config
from fibrokd.files import read_json
from fibrokd.pipeline import phantom, run
from fibrokd.pipeline.phantom import PhantomConfig
from fibrokd.pipeline.run import RunConfig
from fibrokd.serving.bundle import Bundle
from fibrokd.serving.predictor import Predictor
from tests.evaluation.made_up_report import Page

SMOKE = Path(__file__).parents[2] / "configs" / "smoke" / "run.yaml"
THREE = {"F0": "mild", "F1": "mild", "F2": "significant", "F3": "significant", "F4": "cirrhosis"}
TWO = {"F0": "below", "F1": "below", "F2": "below", "F3": "below", "F4": "cirrhosis"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "phantom"
    settings = {"patients": 60, "frames": 1, "size": 96, "difficulty": "easy", "workers": 1}
    phantom.run(parse_config(settings, PhantomConfig), folder)
    return folder


@pytest.mark.parametrize(("grades", "cutoffs"), [(THREE, [1, 2]), (TWO, [1])], ids=["three", "two"])
def test_another_scale_goes_the_whole_way(rendered, tmp_path, grades, cutoffs):
    names = list(dict.fromkeys(grades.values()))
    truth = pd.read_csv(rendered / "truth.csv", dtype=str)
    labels = truth.assign(stage=truth["stage"].map(grades))
    labels.to_csv(tmp_path / "labels.csv", index=False)
    data = {
        "root": str(rendered), "layout": "table", "labels": str(tmp_path / "labels.csv"),
        "stages": {"names": names, "cutoffs": cutoffs},
    }  # fmt: skip
    out = tmp_path / "run"
    overrides = ["phantom=null", f"data={data}", "accept_unfit=true", "assess.pictures=all"]
    assert run.run(load_config(SMOKE, RunConfig, overrides), out) == 0

    metrics = read_json(out / "assess" / "metrics.json")
    assert metrics["scale"] == names
    student = metrics["networks"]["student_kd"]["test"]
    assert set(student["per_stage"]) == set(names)
    assert {"quadratic_kappa", "mean_absolute_stage_error", "adjacent_accuracy"} <= set(student)
    assert list(student["end_points"]) == [f"≥{names[k]}" for k in cutoffs]
    text = Page((out / "assess" / "report.html").read_text()).text
    assert all(name in text for name in names)
    assert "F3" not in text

    bundle = Bundle.open(out / "bundle")
    assert list(bundle.scale.names) == names
    tested = pd.read_csv(out / "assess" / "predictions.csv").query("network == 'student_kd' and split == 'test'")
    named = pd.read_csv(out / "prepared" / "identities.csv").set_index("image_id")["path"]
    row = tested.iloc[0]
    [staging] = Predictor(bundle).predict_path(rendered / named[row["image_id"]])
    assert list(staging.probabilities) == names
    for name in names:
        assert staging.probabilities[name] == pytest.approx(row[f"p_{name}"], abs=1e-4)
