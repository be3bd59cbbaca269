"""Step assess: clusters are resampled, no picture may carry burned-in text, and what relatives add is measured."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fibrokd.artifacts import read_record
from fibrokd.config import parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import InputError
from fibrokd.evaluation.image_facts import write_image_facts
from fibrokd.evaluation.predictions import Predictions, write_predictions
from fibrokd.files import read_json, write_json
from fibrokd.pipeline import assess, collect, prepare, teach
from fibrokd.pipeline.assess import AssessConfig
from fibrokd.pipeline.assess_numbers import NO_PICTURE, pictures
from fibrokd.pipeline.image_facts import image_facts
from fibrokd.pipeline.prepare import PrepareConfig
from fibrokd.stages import METAVIR
from fibrokd.training.networks import StagingNetwork
from tests.factories import write_prepared


@pytest.fixture
def prepared(tmp_path):
    found = Prepared.open(write_prepared(tmp_path / "prepared", patients=25, frames=2))
    table = found.table.assign(cropped=["1", "0"] * 25, group=found.table["image_id"])
    return replace(found, table=table, stamp=found.stamp | {"synthetic": False})


@pytest.mark.parametrize(("wanted", "shown"), [("masked", [True, False]), ("all", [True, True]), ("none", [False] * 2)])
def test_only_masked_pictures_are_shown_unless_asked_otherwise(prepared, wanted, shown):
    fetch = pictures(prepared, wanted)
    shown_ones = [fetch(image_id) for image_id in prepared.table["image_id"]]
    assert [picture is not None for picture in shown_ones] == shown * 25
    assert all(p is None or (p == prepared.pixels[row]).all() for row, p in enumerate(shown_ones))
    assert NO_PICTURE[wanted]


def test_synthetic_pictures_carry_nobodys_name(prepared):
    synthetic = replace(prepared, stamp=prepared.stamp | {"synthetic": True})
    assert all(pictures(synthetic, "masked")(image_id) is not None for image_id in prepared.table["image_id"])
    assert pictures(synthetic, "none")(prepared.table["image_id"][0]) is None


def test_pictures_are_withheld_by_default():
    config = parse_config({"prepared": "p", "networks": {"teacher": "t"}}, AssessConfig)
    assert config.pictures == "masked"
    assert "burned-in text" in NO_PICTURE[config.pictures]


def test_answers_carry_the_cluster_and_not_the_group_of_the_split(prepared, monkeypatch):
    monkeypatch.setattr(collect, "predict", lambda network, pixels, *rest: np.zeros((len(pixels), 5), np.float32))
    rows = prepared.rows("test")
    answers = collect.answers_of("teacher", StagingNetwork.__new__(StagingNetwork), prepared, rows, "test")
    assert list(answers.groups) == list(prepared.table["cluster"].iloc[rows])
    assert len(set(answers.groups)) < len(set(prepared.table["group"].iloc[rows])) == len(rows)


def test_images_are_told_by_numbers_and_facts_and_no_key_of_a_patient_leaves_the_prepared_folder(prepared):
    shown = prepared.pixels.copy()
    shown[3] = 0
    prepared.__dict__["pixels"] = shown
    facts = image_facts(prepared)
    assert facts.columns == ["scanner", "brightness", "contrast", "dark_share"]
    assert facts.table["patient"].tolist() == [str(k // 2 + 1) for k in range(50)]
    assert set(facts.table["study"]) == {""}
    assert not facts.table.astype(str).apply(lambda column: column.str.contains("P0")).any(axis=None)
    lit = shown[0][shown[0] > 8]
    assert float(facts.table["brightness"][0]) == pytest.approx(lit.mean(), rel=1e-4)
    assert facts.table.loc[3, ["brightness", "contrast", "dark_share"]].tolist() == ["0", "0", "1"]
    without = replace(prepared, table=prepared.table.assign(patient="", scanner=""))
    without.__dict__["pixels"] = shown
    anonymous = image_facts(without)
    assert set(anonymous.table["patient"]) == {""}
    assert "scanner" not in anonymous.columns


@pytest.mark.parametrize(("wanted", "absent"), [(["val"], None), (["val", "test"], "test")])
def test_without_test_images_nothing_is_asked(prepared, tmp_path, wanted, absent):
    config = parse_config({"prepared": "p", "networks": {"teacher": "t"}, "splits": wanted}, AssessConfig)
    held = replace(prepared, table=prepared.table[prepared.table["split"] != absent])
    with pytest.raises(InputError, match="Expected test images, which the report is about"):
        collect.collect(config, held, image_facts(prepared), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def copied(tmp_path):
    """Write 150 noise pictures; two of three lie in the same folder once more under an unrelated name."""
    root = tmp_path / "images"
    random = np.random.default_rng(0)
    for picture in range(150):
        folder = root / METAVIR.names[picture % 5]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(120, 130, (40, 48), dtype=np.uint8))  # too faint to look for a fan in
        image.save(folder / f"a{picture}q.png")
        if picture % 3:
            image.save(folder / f"k{700 + picture}r.png")
    return root


def memoriser(prepared, split):
    """Answer rightly exactly where the very pixels were learned from, and one stage too high elsewhere."""
    rows = prepared.rows(split)
    table = prepared.table.iloc[rows]
    learned = set(prepared.table.loc[prepared.table["split"].isin(["train", "val"]), "pixel_digest"])
    known = table["pixel_digest"].isin(learned).to_numpy()
    p = np.full((len(rows), 5), 0.1)
    p[np.arange(len(rows)), np.where(known, prepared.stages[rows], (prepared.stages[rows] + 1) % 5)] = 0.6
    ids, clusters = tuple(table["image_id"]), tuple(table["cluster"])
    return Predictions("teacher", split, ids, clusters, prepared.stages[rows], p, METAVIR), known


@pytest.mark.parametrize("grouping", ["stem", pytest.param("all", marks=pytest.mark.slow)])
def test_a_memoriser_is_unmasked_where_copies_were_split_and_has_nothing_to_hide_where_not(copied, tmp_path, grouping):
    near = {"enabled": False}  # noise has no likeness to find
    settings = {
        "data": {"root": str(copied)}, "preprocess": {"size": 32, "crop": "full"}, "grouping": grouping, "near": near,
        "controls": {"seeds": [0], "replicates": 100}, "accept_unfit": True, "synthetic": True, "workers": 1,
        "splits": {"shares": {"train": 0.5, "val": 0.1, "calibration": 0.1, "test": 0.3}}, "isolation": None,
    }  # fmt: skip
    prepare.run(parse_config(settings, PrepareConfig), tmp_path / "prepared")
    prepared = Prepared.open(tmp_path / "prepared")
    teacher, out = tmp_path / "teacher", tmp_path / "assess"
    write_json(teacher / "card.json", {"parameters": 1})
    (teacher / "metrics.jsonl").write_text('{"epoch": 1, "train_loss": 1.0}\n')
    part, known = memoriser(prepared, "test")
    out.mkdir()
    write_predictions(out / "predictions.csv", [part])
    write_image_facts(out / "images.csv", image_facts(prepared))
    config = parse_config({"prepared": str(tmp_path / "prepared"), "networks": {"teacher": str(teacher)}}, AssessConfig)
    assess.compute(config, prepared, {}, out)
    test = read_json(out / "metrics.json")["networks"]["teacher"]["test"]
    levels = test["inflation"]["levels"]
    assert list(levels) == ["random", "stem", "content", "all"]  # nobody says who the patients are
    report = (out / "report.html").read_text(encoding="utf-8")
    if grouping == "all":
        assert not known.any()
        assert all(row["accuracy"] == test["accuracy"] for row in levels.values())
        assert "at any level: nothing to inflate. Too few patients are known" in report
        return
    for level in ("content", "all"):
        row = levels[level]
        assert row["related"]["images"] == known.sum() > 20
        assert row["related"]["accuracy"]["value"] == 1.0
        assert row["accuracy"]["value"] == 0.0
        assert row["gap_points"]["accuracy"]["value"] == pytest.approx(100 * known.mean())
    assert levels["stem"]["accuracy"] == levels["random"]["accuracy"] == test["accuracy"]
    assert "without any relative there: Teacher 0.000 instead of" in report


WITHOUT_TORCH = """
import importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "timm", "torchvision"}:
            raise ImportError(f"{name} was asked for")

sys.meta_path.insert(0, Refuse())
from pathlib import Path
from fibrokd.artifacts import read_record
from fibrokd.config import parse_config
from fibrokd.pipeline import assess
assess.run(parse_config(json.loads(sys.argv[1]), assess.AssessConfig), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_numbers_and_report_can_be_made_again_of_stored_answers_without_torch(tmp_path):
    folder = write_prepared(tmp_path / "prepared", patients=60)
    train = {"epochs": 1, "batch_size": 8, "runtime": {"precision": "fp32", "memory_format": "nchw"}}
    plan = {"prepared": str(folder), "backbone": "tiny", "pretrained": False, "train": train}
    teach.run(parse_config(plan, teach.TeachConfig), tmp_path / "teacher")
    told = {"prepared": str(folder), "networks": {"teacher": str(tmp_path / "teacher")}}
    first = assess.run(parse_config(told, AssessConfig), tmp_path / "first")

    def again(name, **changes):
        settings = json.dumps({**told, "answers": str(tmp_path / "first"), **changes})
        command = [sys.executable, "-c", WITHOUT_TORCH, settings, str(tmp_path / name)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    done = again("same")
    assert done.returncode == 0, done.stderr
    for name in ("metrics.json", "report.html", "sets.csv", "robustness.json", "shortcuts.json", "timings.json"):
        assert (tmp_path / "same" / name).read_bytes() == (tmp_path / "first" / name).read_bytes(), name
    assert read_record(tmp_path / "same").digest == first.digest
    assert again("other", bootstrap={"resamples": 200}).returncode == 0
    other = read_json(tmp_path / "other" / "metrics.json")
    assert other["bootstrap"]["resamples"] == 200
    one, two = (
        found["networks"]["teacher"]["test"]["accuracy"]
        for found in (other, read_json(tmp_path / "same" / "metrics.json"))
    )
    assert one["value"] == two["value"]
    assert one["low"] != two["low"]
    refused = again("refused", robustness=7)
    assert refused.returncode == 1
    assert "found another robustness" in refused.stderr
    assert not (tmp_path / "refused" / "metrics.json").exists()
