"""What is planted in a cohort is what its report says: a scanner that tells the stage, and patients filed wrongly.

Networks are tiny and trained for seconds; what they find is the plainest there is.
"""

import numpy as np
import pandas as pd
import pytest

from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared, read_table
from fibrokd.files import read_json
from fibrokd.pipeline import assess, phantom, prepare, teach
from fibrokd.pipeline.phantom import PhantomConfig
from fibrokd.pipeline.prepare import PrepareConfig
from fibrokd.stages import METAVIR
from tests.evaluation.made_up_report import Page

pytestmark = pytest.mark.slow

CLEAN = {"effect": 1.0, "appearance_noise": 0.15, "label_noise": 0.08, "nuisance": 0.5}
SHARES = {"train": 0.5, "val": 0.1, "calibration": 0.0, "test": 0.4}
TRAIN = {
    "epochs": 14, "batch_size": 16, "learning_rate": 0.003, "schedule": {"kind": "one_cycle"}, "early_stopping": None,
    "keep": "last", "average_decay": 0.9, "runtime": {"precision": "fp32", "memory_format": "nchw"},
}  # fmt: skip


def render(folder, **changes):
    settings = {"patients": 400, "frames": 1, "size": 128, "seed": 3, "workers": 1} | changes
    phantom.run(parse_config(settings, PhantomConfig), folder / "phantom")


def assessed(folder, labels="truth.csv", **changes):
    """Prepare, train and assess in a folder that holds a rendered cohort."""
    settings = {
        "data": {"root": str(folder / "phantom"), "layout": "table", "labels": labels}, "workers": 1,
        "preprocess": {"size": 64}, "near": {"enabled": False}, "isolation": None, "accept_unfit": True,
        "controls": {"seeds": [0], "replicates": 100}, "splits": {"shares": SHARES},
    }  # fmt: skip
    prepare.run(parse_config(settings, PrepareConfig), folder / "prepared")
    plan = {"prepared": str(folder / "prepared"), "backbone": "tiny", "pretrained": False, "train": TRAIN}
    teach.run(parse_config(plan, teach.TeachConfig), folder / "teacher")
    networks = {"teacher": str(folder / "teacher")}
    plan = {"prepared": str(folder / "prepared"), "networks": networks, "bootstrap": {"resamples": 500}} | changes
    assess.run(parse_config(plan, assess.AssessConfig), folder / "assess")
    return folder


@pytest.fixture(scope="module", params=[0.9, 0.0], ids=["confounded", "clean"])
def cohort(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    render(folder, knobs=CLEAN | {"site_confound": request.param})
    return request.param > 0, assessed(folder, phantom=str(folder / "phantom"), robustness=30)


def test_a_scanner_that_tells_the_stage_is_found_as_control_as_gap_and_as_counterfactual(cohort):
    confounded, folder = cohort
    codes = {
        reason["code"]: reason["severity"] for reason in read_json(folder / "prepared" / "integrity.json")["reasons"]
    }
    assert (codes.get("scanner_stage") == "unfit") is confounded

    scanners = read_json(folder / "assess" / "metrics.json")["networks"]["teacher"]["test"]["subgroups"]["scanner"][
        "groups"
    ]
    gaps = {name: group["gap"]["accuracy"] for name, group in scanners.items()}
    assert any(gap["p_holm"] < 0.05 for gap in gaps.values()) is confounded

    robustness = read_json(folder / "assess" / "robustness.json")
    moved = [entry["moved"] for key, entry in robustness["networks"]["teacher"].items() if key.startswith("scanner_")]
    assert len(moved) == 4
    if confounded:
        assert min(entry["low"] for entry in moved) > robustness["limit"], "the scanner is what it stages"
    else:
        assert max(entry["value"] for entry in moved) < robustness["limit"]


def test_the_report_says_so_where_it_is_read_first(cohort):
    confounded, folder = cohort
    text = Page((folder / "assess" / "report.html").read_text()).text
    first = text[: text.index("Could a lookup table do this?", text.index("Result at a glance"))]
    assert ("same patients on scanner" in first and "moved by" in first) is confounded
    assert ("in accuracy, with other stages than they hold" in text) is confounded


def test_patients_filed_two_stages_off_lead_the_list_of_labels_worth_checking(tmp_path):
    render(tmp_path, difficulty="easy")
    truth = pd.read_csv(tmp_path / "phantom" / "truth.csv", dtype=str)
    random = np.random.default_rng(0)
    filed = dict(zip(truth["patient"], truth["stage"], strict=True))
    wrong = random.choice(sorted(filed), 32, replace=False).tolist()
    for patient in wrong:
        own = METAVIR.names.index(filed[patient])
        filed[patient] = METAVIR.names[random.choice([k for k in range(5) if abs(k - own) >= 2])]
    labels = truth[["path", "patient"]].assign(stage=truth["patient"].map(filed))
    labels.to_csv(tmp_path / "phantom" / "labels.csv", index=False)
    folder = assessed(tmp_path, "labels.csv", robustness=0)

    table = Prepared.open(folder / "prepared").table
    patients = truth.set_index("path")["patient"]
    planted = set(table["image_id"][table["path"].map(patients).isin(wrong) & (table["split"] == "test")])
    html = (folder / "assess" / "report.html").read_text()
    listed = html[html.index("Labels worth checking") :]
    listed = [image_id for image_id in read_table(folder / "assess" / "images.csv")["image_id"] if image_id in listed]
    assert len(planted) > 8
    assert len(listed) == 10
    assert sum(image_id in planted for image_id in listed) >= 7, "eight in a hundred are planted"
