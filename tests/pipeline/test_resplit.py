"""One collection split anew: later steps see an ordinary prepared folder, and nobody is tested on relatives."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from fibrokd.artifacts import require
from fibrokd.config import load_config, parse_config
from fibrokd.data.prepared import Prepared
from fibrokd.errors import ArtifactError, ConfigError, SplitError
from fibrokd.files import read_json
from fibrokd.pipeline import crossval, inflate
from fibrokd.pipeline.crossval import CrossvalConfig
from fibrokd.pipeline.inflate import InflateConfig
from fibrokd.pipeline.resplit import of_any_split, write_resplit
from tests.factories import write_prepared
from tests.pipeline.test_end_to_end import SMOKE


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return Prepared.open(write_prepared(tmp_path_factory.mktemp("resplit") / "prepared"))


def turned(prepared):
    """Test images become training images and the reverse."""
    other = {"train": "test", "test": "train"}
    return [other.get(split, split) for split in prepared.table["split"]]


def test_the_folder_is_one_of_prepare_with_other_splits_and_the_same_pixels(prepared, tmp_path):
    record = write_resplit(prepared, turned(prepared), tmp_path / "out", {"test": "x"})
    found = Prepared.open(tmp_path / "out")
    assert require(tmp_path / "out", "prepare").digest == record.digest != prepared.record.digest
    assert list(found.table["split"]) == turned(prepared)
    assert list(found.table["image_id"]) == list(prepared.table["image_id"])
    assert (found.pixels == prepared.pixels).all()
    assert (tmp_path / "out" / "pixels.npy").samefile(prepared.folder / "pixels.npy")
    assert set(found.table["patient"]) == {""}  # names of files and persons stay in one place
    assert not (tmp_path / "out" / "identities.csv").exists()
    assert found.stamp == prepared.stamp
    assert write_resplit(prepared, turned(prepared), tmp_path / "out", {"test": "x"}) == record  # left alone


def test_another_reason_is_another_folder(prepared, tmp_path):
    write_resplit(prepared, turned(prepared), tmp_path / "out", {"test": "x"})
    with pytest.raises(ArtifactError, match="another run"):
        write_resplit(prepared, turned(prepared), tmp_path / "out", {"test": "y"})


def test_a_split_at_another_level_is_stamped_so(prepared, tmp_path):
    names = list(prepared.table["image_id"])
    write_resplit(prepared, turned(prepared), tmp_path / "out", {"level": "random"}, "random", names)
    found = Prepared.open(tmp_path / "out")
    assert found.stamp["grouping"] == "random"
    assert list(found.table["group"]) == names
    assert list(found.table["cluster"]) == list(prepared.table["cluster"])  # what intervals resample
    assert found.stamp["verdict"] == "fit"  # whole patients were exchanged


def test_a_split_that_tears_patients_apart_is_unfit_and_says_why(prepared, tmp_path):
    torn = ["test" if k % 2 else "train" for k in range(len(prepared))]
    write_resplit(prepared, torn, tmp_path / "out", {"level": "random"}, "random", list(prepared.table["image_id"]))
    found = Prepared.open(tmp_path / "out")
    assert (found.stamp["verdict"], found.stamp["accepted_unfit"]) == ("unfit", True)
    assert found.stamp["reasons"][0].startswith("100.0 % of the test images belong together with images that")
    assert read_json(tmp_path / "out" / "integrity.json")["verdict"] == "unfit"


def test_what_was_said_of_the_old_split_is_left_out():
    controls = {"thumbnail_1nn": 1, "thumbnail_1nn_split": 2}
    reasons = [{"code": "twins_in_split"}, {"code": "few_groups"}]
    integrity = {"splits": {}, "leak": {}, "controls": controls, "reasons": reasons}
    assert of_any_split(integrity) == {"controls": {"thumbnail_1nn": 1}, "reasons": [{"code": "few_groups"}]}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda split, stage: "dev" if stage == "F0" else split, "found dev"),
        (lambda split, stage: "test" if stage == "F3" else split, "no image of F3 there"),
        (lambda split, stage: "train" if split == "test" else split, "images in test, found none"),
    ],
)
def test_a_split_that_cannot_be_trained_or_tested_is_refused(prepared, tmp_path, change, why):
    splits = [
        change(split, stage) for split, stage in zip(prepared.table["split"], prepared.table["stage"], strict=True)
    ]
    with pytest.raises(SplitError, match=why):
        write_resplit(prepared, splits, tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------- rounds
def relatives(prepared, splits):
    """Clusters that lie on both sides of a split."""
    clusters = prepared.table["cluster"].to_numpy()
    test = {c for c, split in zip(clusters, splits, strict=True) if split == "test"}
    learned = {c for c, split in zip(clusters, splits, strict=True) if split in ("train", "val")}
    return test & learned


def test_every_image_is_tested_once_and_no_relative_of_it_is_learned_from(prepared):
    rounds = dict(crossval._rounds(prepared, "fold"))
    assert list(rounds) == ["0", "1", "2", "3", "4"]
    tested = np.array([[split == "test" for split in splits] for splits in rounds.values()])
    assert (tested.sum(axis=0) == 1).all()
    assert not any(relatives(prepared, splits) for splits in rounds.values())
    chosen = np.array([[split == "val" for split in splits] for splits in rounds.values()])
    assert (chosen.sum(axis=0) == 1).all()


def test_a_scanner_is_left_out_with_all_images_of_its_patients(prepared):
    scanner = list(prepared.table["scanner"])
    scanner[0] = "echolab"  # one patient of sonova was seen on both
    mixed = replace(prepared, table=prepared.table.assign(scanner=scanner))
    rounds = dict(crossval._rounds(mixed, "scanner"))
    assert list(rounds) == ["echolab", "sonova"]
    splits = rounds["echolab"]
    assert all((split == "test") == (name == "echolab") for split, name in zip(splits, scanner, strict=True))
    assert splits[1] == ""  # the other image of that patient is learned from nowhere
    assert not relatives(mixed, splits)
    assert {"train", "val", "calibration", "test"} <= set(splits)
    clusters = prepared.table["cluster"]
    for one, other in combinations(("train", "val", "calibration", "test"), 2):
        sides = [{c for c, split in zip(clusters, splits, strict=True) if split == name} for name in (one, other)]
        assert not sides[0] & sides[1], (one, other)


def test_two_folds_choose_epochs_and_leave_nothing_to_calibrate(prepared):
    folds = ["0" if int(fold) % 2 else "1" for fold in prepared.table["fold"]]
    two = replace(prepared, table=prepared.table.assign(fold=folds))
    for splits in dict(crossval._rounds(two, "scanner")).values():
        assert set(splits) >= {"train", "val", "test"}
        assert "calibration" not in splits


def test_folds_that_tear_clusters_apart_are_refused(prepared):
    table = prepared.table.copy()
    table.loc[0, "fold"] = "4"
    with pytest.raises(SplitError, match="1 of 50 clusters in several folds"):
        dict(crossval._rounds(replace(prepared, table=table), "fold"))


def test_images_of_an_unknown_scanner_are_in_no_round(prepared):
    scanner = list(prepared.table["scanner"])
    scanner[6] = ""
    rounds = dict(crossval._rounds(replace(prepared, table=prepared.table.assign(scanner=scanner)), "scanner"))
    assert [splits[6] for splits in rounds.values()] == ["", ""]


def test_epochs_are_chosen_on_no_relative_of_a_training_image(prepared):
    folds = ["0" if k % 2 else "1" for k in range(len(prepared))]  # every patient in two folds
    torn = replace(prepared, table=prepared.table.assign(fold=folds))
    for splits in dict(crossval._rounds(torn, "scanner")).values():
        clusters = prepared.table["cluster"]
        sides = [{c for c, split in zip(clusters, splits, strict=True) if split == name} for name in ("train", "val")]
        assert not sides[0] & sides[1]


def test_rounds_without_test_images_are_refused_before_anything_is_trained():
    with pytest.raises(ConfigError, match=r"leave `test` among assess\.splits"):
        load_config(SMOKE, CrossvalConfig, ("assess.splits=[val]",))


def test_rounds_that_there_are_not_are_refused(prepared):
    two = replace(prepared, table=prepared.table.assign(fold=["0", "1"] * (len(prepared) // 2)))
    with pytest.raises(SplitError, match="at least 3 folds, found 2"):
        dict(crossval._rounds(two, "fold"))
    with pytest.raises(SplitError, match="several sites, found 0"):
        dict(crossval._rounds(prepared, "site"))


def test_a_level_that_the_data_do_not_allow_is_refused(prepared):
    config = parse_config({"data": {"root": "x"}, "students": {"student_kd": {}}, "levels": ["subject"]}, InflateConfig)
    assert prepared.levels == {}
    with pytest.raises(ConfigError, match="found subject"):
        inflate._levels(config, prepared)


# --------------------------------------------------------------------------- the whole way
FAST = ("splits.folds=3", "assess.bootstrap.resamples=100", "assess.stages=[F0, F1, F2, F3, F4]")


@pytest.mark.slow
def test_every_fold_is_tested_by_networks_that_never_saw_it(tmp_path, capsys):
    config = load_config(SMOKE, CrossvalConfig, FAST)
    record = crossval.run(config, tmp_path / "out")
    document = read_json(tmp_path / "out" / "assess" / "metrics.json")
    for network in ("teacher", "student_plain", "student_kd"):
        assert document["networks"][network]["test"]["images"] == 40
        assert "val" not in document["networks"][network]
    rounds = read_json(tmp_path / "out" / "assess" / "rounds.json")["networks"]["student_kd"]["accuracy"]
    right = sum(round(rounds["rounds"][name]["value"] * n) for name, n in fold_sizes(tmp_path / "out").items())
    assert document["networks"]["student_kd"]["test"]["accuracy"]["value"] == pytest.approx(right / 40)
    html = (tmp_path / "out" / "assess" / "report.html").read_text(encoding="utf-8")
    assert "Round by round" in html
    assert "was trained 3 times, each time without one fold" in html
    # Networks of one round agree or not on all images; those of two rounds were asked no image in common.
    assert [entry["images"] for entry in document["agreement"]] == [40, 40, 40]
    assert "no two rounds asked the same image" in html
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("record.json")}
    assert crossval.run(config, tmp_path / "out") == record  # nothing is trained twice
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("record.json")} == before


@pytest.mark.slow
def test_a_scanner_that_was_left_out_is_told_with_the_coverage_of_sets_calibrated_on_the_others(tmp_path):
    changes = (*FAST, "by=scanner", "phantom.patients=90", "assess.robustness=0")
    crossval.run(load_config(SMOKE, CrossvalConfig, changes), tmp_path / "out")
    prepared = Prepared.open(tmp_path / "out" / "prepared")
    told = read_json(tmp_path / "out" / "assess" / "rounds.json")
    assert told["by"] == "scanner"
    scanners = sorted(set(prepared.table["scanner"]))
    assert len(scanners) > 1
    for name, found in told["networks"].items():
        figures = found["coverage"]["rounds"]
        assert list(figures) == scanners
        for number, scanner in enumerate(scanners, start=1):
            folder = tmp_path / "out" / f"round_{number:02d}"
            part = Prepared.open(folder / "prepared")
            seen = set(part.table["scanner"][part.table["split"].isin(["train", "val", "calibration"])])
            assert scanner not in seen
            own = read_json(folder / "assess" / "metrics.json")["networks"][name]["test"]
            assert figures[scanner] == own["coverage"]
            assert 0 <= figures[scanner]["value"] <= 1
            assert own["stage_sets"]["calibration_clusters"] >= 9
    html = (tmp_path / "out" / "assess" / "report.html").read_text(encoding="utf-8")
    assert "Share of the clusters whose stage set holds the true stage (90 % wanted)" in html


def fold_sizes(out):
    folds = list(Prepared.open(out / "prepared").table["fold"])
    return {name: folds.count(name) for name in sorted(set(folds))}


@pytest.mark.slow
def test_networks_are_trained_anew_under_every_split_and_once_under_equal_ones(tmp_path):
    out = tmp_path / "out"
    changes = (*FAST, "phantom.frames=2", "levels=[random, all, subject]")
    inflate.run(load_config(SMOKE, InflateConfig, changes), out)
    document = read_json(out / "inflation" / "inflation.json")
    assert list(document["levels"]) == ["random", "all", "subject"]
    assert document["levels"]["subject"]["same_split_as"] == "all"
    assert not (out / "level_subject").exists()
    loose, strict = (Prepared.open(out / f"level_{name}" / "prepared") for name in ("random", "all"))
    assert relatives(loose, list(loose.table["split"]))
    assert not relatives(strict, list(strict.table["split"]))
    assert (loose.stamp["grouping"], loose.stamp["verdict"]) == ("random", "unfit")
    assert strict.stamp["verdict"] != "unfit"
    assert "gap_points" in document["levels"]["random"]["networks"]["teacher"]
    assert (out / "inflation" / "inflation.md").read_text(encoding="utf-8").count("\n| ") == 5
