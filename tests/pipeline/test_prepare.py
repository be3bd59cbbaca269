"""Step prepare: every file accounted for, the same folder whatever the workers, and no work done twice."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fibrokd.artifacts import require
from fibrokd.config import load_config, parse_config
from fibrokd.data import shards
from fibrokd.data.ingest import IngestJob, ingest
from fibrokd.data.prepared import Prepared, read_table
from fibrokd.data.sources import DataConfig, find_files
from fibrokd.errors import ArtifactError, ConfigError, InputError, SplitError
from fibrokd.pipeline.prepare import PrepareConfig, run
from fibrokd.stages import METAVIR

PATIENTS, FRAMES = 40, 2
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def secret(tmp_path, monkeypatch):
    """Keep the secret of the tests out of the home folder."""
    monkeypatch.setenv("FIBROKD_IDENTITY_KEY", str(tmp_path / "identity.key"))
    return tmp_path / "identity.key"


@pytest.fixture
def images(tmp_path):
    """Write 80 noise pictures of 40 patients in stage and patient folders, one broken file and one stray file.

    The noise is too faint for an outline, so that no time goes into the search for a fan that is not there.
    """
    root = tmp_path / "images"
    random = np.random.default_rng(0)
    for patient in range(PATIENTS):
        folder = root / METAVIR.names[patient % 5] / f"patient{patient}"
        folder.mkdir(parents=True)
        for frame in range(FRAMES):
            grey = random.integers(120, 130, (40, 48), dtype=np.uint8)
            Image.fromarray(grey).save(folder / f"v{patient}{'ab'[frame]}.png")
    (root / "F0" / "patient0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (root / "stray.png").write_bytes(b"x")
    return root


def config(root, **changes):
    base = {
        "data": {"root": str(root)},
        "preprocess": {"size": 32, "crop": "full"},
        "without_fan": "keep",
        "controls": {"seeds": [0], "replicates": 100},
        "workers": 1,
        "isolation": None,
    }
    return parse_config(base | changes, PrepareConfig)


def test_the_folder_holds_what_the_reader_and_other_programs_rely_on(images, tmp_path):
    record = run(config(images), tmp_path / "out")
    prepared = Prepared.open(tmp_path / "out")
    assert len(prepared) == PATIENTS * FRAMES
    assert prepared.pixels.shape == (80, 32, 32)
    assert prepared.stamp["grouping"] == "all"
    assert prepared.stamp["synthetic"] is False
    assert set(prepared.table["split"]) == {"train", "val", "calibration", "test"}
    assert (prepared.table.groupby("patient")["split"].nunique() == 1).all()
    integrity = json.loads((tmp_path / "out" / "integrity.json").read_text())
    assert integrity["files"] == 82
    assert integrity["quarantined"] == 2
    assert (integrity["wrong_extension"], integrity["distinct_images"]) == (0, 80)
    assert integrity["verdict"] == prepared.stamp["verdict"] == "caution"
    for level in ("random", "stem", "content", "all", "subject"):
        found = integrity["controls"]["thumbnail_1nn"][level]
        assert set(found["accuracy"]) == set(found["balanced_accuracy"]) == {"value", "low", "high"}
        assert found["twin_in_train"] == 0
    own = integrity["controls"]["thumbnail_1nn_split"]
    assert own["train_images"] == len(prepared.rows("train"))
    assert own["test_images"] == len(prepared.rows("test"))
    assert (integrity["crop"], integrity["uncropped"]) == ("full", 80)
    assert set(prepared.table["cropped"]) == {"0"}
    assert sum(sum(split.values()) for split in integrity["splits"].values()) == 80
    assert not (tmp_path / "out" / ".shards").exists()
    assert require(tmp_path / "out", "prepare").digest == record.digest


def test_every_file_that_was_not_used_is_listed_with_its_reason(images, tmp_path):
    run(config(images), tmp_path / "out")
    quarantine = read_table(tmp_path / "out" / "quarantine.csv")
    assert dict(zip(quarantine["path"], quarantine["reason"], strict=True)) == {
        "F0/patient0/broken.png": "corrupt",
        "stray.png": "no_label",
    }
    used = set(read_table(tmp_path / "out" / "identities.csv")["path"])
    everything = {path.relative_to(images).as_posix() for path in images.rglob("*.*")}
    assert used | set(quarantine["path"]) == everything
    assert list(read_table(tmp_path / "out" / "unmatched.csv")["name"]) == ["stray.png"]


@pytest.mark.slow  # two spawned processes import the whole reading half
def test_one_and_two_workers_give_the_same_digests(images, tmp_path):
    one = run(config(images), tmp_path / "one")
    two = run(config(images, workers=2), tmp_path / "two")
    assert one.outputs == two.outputs
    assert one.digest == two.digest


@pytest.mark.slow
def test_an_interrupted_run_goes_on_without_reading_finished_files_again(images, tmp_path, monkeypatch):
    real, calls = shards.ingest, []

    def dies_on_file_70(job):
        calls.append(job.source.path)
        if len(calls) == 70:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(shards, "ingest", dies_on_file_70)
    with pytest.raises(KeyboardInterrupt):
        run(config(images), tmp_path / "out")
    first = list(calls)
    resumed = run(config(images), tmp_path / "out")
    assert len(calls) - len(first) == 81 - 64  # two whole shards were kept
    assert not set(calls[len(first) :]) & set(first[:64])
    assert resumed.outputs == run(config(images), tmp_path / "fresh").outputs
    before = len(calls)
    assert run(config(images), tmp_path / "out") == resumed
    assert len(calls) == before


@pytest.mark.slow  # starts an interpreter, which is killed
def test_a_killed_run_ends_as_if_never_killed(images, tmp_path):
    out = tmp_path / "out"
    command = (
        "import sys; from tests.pipeline.test_prepare import config, run; from pathlib import Path;"
        f"run(config({str(images)!r}), Path({str(out)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT)
    while process.poll() is None and not list((out / ".shards").glob("*/0*.npz")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert run(config(images), out).outputs == run(config(images), tmp_path / "fresh").outputs


def test_changed_inputs_or_settings_are_not_mixed_into_an_old_folder(images, tmp_path):
    run(config(images), tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"splits\.seed: 0 → 1"):
        run(config(images, splits={"seed": 1}), tmp_path / "out")
    (images / "F0" / "patient0" / "broken.png").unlink()
    with pytest.raises(ArtifactError, match="input files"):
        run(config(images), tmp_path / "out")


def test_pixels_belong_to_their_rows(images, tmp_path):
    run(config(images), tmp_path / "out")
    prepared = Prepared.open(tmp_path / "out")
    alone = tmp_path / "alone"
    for row in (0, 33, 79):
        path = prepared.table["path"][row]
        target = alone / str(row) / path
        target.parent.mkdir(parents=True)
        target.write_bytes((images / path).read_bytes())
        (source,) = find_files(DataConfig(root=alone / str(row))).files
        spec = config(images)
        (frame,) = ingest(IngestJob(alone / str(row), source, spec.preprocess, spec.limits, without_fan="keep")).frames
        assert (prepared.pixels[row] == frame.pixels).all()


def straddling(images):
    source = images / "F1" / "patient1" / "v1a.png"
    (images / "F4" / "patient4" / "w.png").write_bytes(source.read_bytes())
    return images


def test_a_group_with_two_stages_is_refused_by_default(images, tmp_path):
    with pytest.raises(SplitError, match=r"1 group\(s\) with several: .*\(2 × F1, 3 × F4; by content, patient\)"):
        run(config(straddling(images)), tmp_path / "out")


def test_an_error_about_groups_names_the_files_in_which_its_groups_are_found(images, tmp_path):
    with pytest.raises(SplitError, match=r"2 files had been left out before \(corrupt: 1, no label: 1\)") as refusal:
        run(config(straddling(images)), tmp_path / "out")
    for name in ("groups.csv", "identities.csv", "quarantine.csv", "unmatched.csv"):
        assert name in refusal.value.todo
    assert str(tmp_path / "out") in refusal.value.todo
    groups = read_table(tmp_path / "out" / "groups.csv")
    group = refusal.value.problem.split("group ")[1].split()[0]
    held = set(groups["image_id"][groups["group"] == group])
    identities = read_table(tmp_path / "out" / "identities.csv")
    paths = set(identities["path"][identities["image_id"].isin(held)])
    assert {Path(path).parts[1] for path in paths} == {"patient1", "patient4"}
    assert set(read_table(tmp_path / "out" / "quarantine.csv")["reason"]) == {"corrupt", "no_label"}


def test_an_error_about_too_few_groups_says_that_files_were_left_out(images, tmp_path):
    for patient in range(4, 31, 5):  # seven of the eight F4 patients lose their stage
        (images / "F4" / f"patient{patient}").rename(images / f"patient{patient}")
    with pytest.raises(SplitError, match=r"F4 has only 2.* 14 files had been left out") as refusal:
        run(config(images), tmp_path / "out")
    assert "quarantine.csv (which files were left out, and why)" in refusal.value.todo
    assert len(read_table(tmp_path / "out" / "quarantine.csv")) == 14


def test_where_no_file_is_usable_the_reasons_are_on_disk(tmp_path):
    (tmp_path / "images" / "F0").mkdir(parents=True)
    (tmp_path / "images" / "F0" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="all 1 were refused") as refusal:
        run(config(tmp_path / "images"), tmp_path / "out")
    assert "quarantine.csv" in refusal.value.todo
    assert "groups.csv" not in refusal.value.todo
    assert "left out" not in refusal.value.problem  # they have been counted
    assert list(read_table(tmp_path / "out" / "quarantine.csv")["path"]) == ["F0/a.png"]


@pytest.mark.slow
def test_where_no_label_matches_the_files_and_rows_are_on_disk_and_the_folder_can_be_used_again(images, tmp_path):
    (tmp_path / "labels.csv").write_text("path,stage\nelsewhere.png,F1\n")
    table = {"root": str(images), "layout": "table", "labels": str(tmp_path / "labels.csv")}
    with pytest.raises(InputError, match="Expected images with a stage") as refusal:
        run(config(images, data=table), tmp_path / "out")
    assert "unmatched.csv" in refusal.value.todo
    assert {"row", "file"} <= set(read_table(tmp_path / "out" / "unmatched.csv")["kind"])
    assert run(config(images), tmp_path / "out").finished


def counting(monkeypatch):
    real, calls = shards.ingest, []

    def counts(job):
        calls.append(job.source.path)
        return real(job)

    monkeypatch.setattr(shards, "ingest", counts)
    return calls


def test_the_remedy_of_an_error_works_in_the_same_folder_and_decodes_nothing_again(images, tmp_path, monkeypatch):
    calls = counting(monkeypatch)
    with pytest.raises(SplitError):
        run(config(straddling(images)), tmp_path / "out")
    assert len(calls) == 82
    done = run(config(images, mixed_stage_groups="quarantine"), tmp_path / "out")
    assert len(calls) == 82
    assert not (tmp_path / "out" / ".shards").exists()
    assert done.outputs == run(config(images, mixed_stage_groups="quarantine"), tmp_path / "fresh").outputs
    with pytest.raises(ArtifactError, match="mixed_stage_groups"):
        run(config(images), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["stage", "preprocess", "limits", "pixels", "patient"],
)
def test_what_decides_the_pictures_or_their_rows_makes_them_be_read_anew(images, tmp_path, monkeypatch, change):
    calls = counting(monkeypatch)
    with pytest.raises(SplitError):
        run(config(straddling(images)), tmp_path / "out")
    changes = {
        "preprocess": {"preprocess": {"size": 48, "crop": "full"}},
        "limits": {"limits": {"max_frames": 7}},
        "patient": {"data": {"root": str(images), "patient_folders": False}},
    }.get(change, {})
    if change == "stage":
        (images / "F4" / "patient4").rename(images / "F1" / "patient4")
    if change == "pixels":
        (images / "F0" / "patient0" / "v0a.png").write_bytes((images / "F0" / "patient0" / "v0b.png").read_bytes())
    before = len(calls)
    asked = config(images, mixed_stage_groups="keep", **changes)
    done = run(asked, tmp_path / "out")
    assert len(calls) == 2 * before
    assert done.outputs == run(asked, tmp_path / "fresh").outputs


@pytest.mark.slow
def test_shards_of_another_attempt_do_not_pile_up(images, tmp_path):
    for size in (32, 48):
        with pytest.raises(SplitError):
            run(config(straddling(images), preprocess={"size": size, "crop": "full"}), tmp_path / "out")
        assert len(list((tmp_path / "out" / ".shards").iterdir())) == 1


@pytest.mark.parametrize(("policy", "images_left"), [("keep", 81), ("quarantine", 76)])
def test_a_group_with_two_stages_is_kept_or_set_aside_as_asked(images, tmp_path, policy, images_left):
    run(config(straddling(images), mixed_stage_groups=policy), tmp_path / "out")
    prepared = Prepared.open(tmp_path / "out")
    assert len(prepared) == len(prepared.pixels) == images_left
    reasons = list(read_table(tmp_path / "out" / "quarantine.csv")["reason"])
    assert reasons.count("mixed_stage_group") == 81 - images_left
    if policy == "keep":
        assert prepared.stamp["verdict"] == "unfit"


def test_the_published_protocol_ignores_all_but_names_and_says_so(images, tmp_path):
    straddling(images)
    run(config(images, grouping="stem", accept_unfit=True), tmp_path / "out")
    prepared = Prepared.open(tmp_path / "out")
    assert "published protocol: file-stem groups only; not leak-safe" in prepared.stamp["reasons"]
    assert prepared.stamp["accepted_unfit"] is True
    assert prepared.table["group"].nunique() == 81
    assert prepared.table["cluster"].nunique() == 39  # 40 patients, two of them tied by a copy


def test_a_label_table_gives_patients_and_its_rows_without_files_are_listed(images, tmp_path):
    rows = [
        {"path": p.relative_to(images).as_posix(), "stage": p.parts[-3][1], "patient": p.parts[-2], "scanner": "s1"}
        for p in sorted(images.rglob("v*.png"))
    ]
    rows.append({"path": "gone.png", "stage": "2", "patient": "q", "scanner": "s1"})
    pd.DataFrame(rows).to_csv(images / "labels.csv", index=False)
    table = {"root": str(images), "layout": "table", "labels": "labels.csv"}
    run(config(images, data=table, synthetic=True), tmp_path / "out")
    prepared = Prepared.open(tmp_path / "out")
    assert prepared.stamp["synthetic"] is True
    assert set(prepared.table["scanner"]) == {"s1"}
    unmatched = read_table(tmp_path / "out" / "unmatched.csv")
    assert {"row", "companion"} <= set(unmatched["kind"])
    assert "labels.csv" in set(unmatched["name"])
    assert "patient0" in set(prepared.table["patient"])  # generated data: identifiers stay readable


def test_further_columns_of_a_label_table_are_kept_where_asked_for(images, tmp_path):
    rows = [
        {"path": p.relative_to(images).as_posix(), "stage": p.parts[-3][1], "View": ("left", "right")[k % 2],
         "steatosis": f"{k / 100:g}", "record": "4711-0815-42"}
        for k, p in enumerate(sorted(images.rglob("v*.png")))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(images / "labels.csv", index=False)
    table = {"root": str(images), "layout": "table", "labels": "labels.csv"}
    facts = ["view", "steatosis", "record"]
    run(config(images, data=table | {"facts": facts}), tmp_path / "out")
    prepared = Prepared.open(tmp_path / "out")
    assert list(prepared.facts) == facts
    stated = {row["path"]: row for row in rows}
    for path, view, steatosis in zip(
        prepared.table["path"], prepared.facts["view"], prepared.facts["steatosis"], strict=True
    ):
        assert (view, steatosis) == (stated[path]["View"], stated[path]["steatosis"])
    assert b"0815" not in (tmp_path / "out" / "facts.csv").read_bytes()
    assert prepared.facts["record"].str.startswith("record-").all()
    assert "facts.csv" in prepared.record.outputs
    plain = run(config(images, data=table), tmp_path / "plain")
    assert "facts" not in plain.config["data"]  # folders of before facts keep their identity
    assert list(Prepared.open(tmp_path / "plain").facts) == []
    run(config(images, data=table | {"facts": facts}, synthetic=True), tmp_path / "generated")
    assert set(Prepared.open(tmp_path / "generated").facts["record"]) == {"4711-0815-42"}


def test_subjects_from_outside_replace_the_patient_keys(images, tmp_path):
    paths = sorted(images.rglob("v*.png"))
    table = [
        {"path": p.relative_to(images).as_posix(), "subject": f"{p.parts[-3]}-{n % 5}"} for n, p in enumerate(paths)
    ]
    pd.DataFrame(table).to_csv(tmp_path / "subjects.csv", index=False)
    run(config(images, subjects={"table": str(tmp_path / "subjects.csv")}), tmp_path / "out")
    assert Prepared.open(tmp_path / "out").table["group"].nunique() <= 25


def test_a_folder_without_one_readable_picture_is_refused(tmp_path):
    (tmp_path / "images" / "F0").mkdir(parents=True)
    (tmp_path / "images" / "F0" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="all 1 were refused"):
        run(config(tmp_path / "images"), tmp_path / "out")


@pytest.mark.parametrize("name", ["kaggle", "own_folder", "own_table", "dicom"])
def test_the_shipped_configurations_are_valid(request, name):
    loaded = load_config(request.config.rootpath / "configs" / "prepare" / f"{name}.yaml", PrepareConfig)
    assert loaded.identity()["preprocess"]["size"] == 224


def test_no_identifier_is_written_and_no_digest_depends_on_the_secret(images, tmp_path, monkeypatch):
    rows = [
        {"path": p.relative_to(images).as_posix(), "stage": p.parts[-3][1], "patient": f"DOE^{p.parts[-2]}",
         "study": f"7{p.parts[-2]}"}
        for p in sorted(images.rglob("v*.png"))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(images / "labels.csv", index=False)
    table = {"root": str(images), "layout": "table", "labels": "labels.csv"}
    records, keys = [], []
    for name in ("one", "two"):
        monkeypatch.setenv("FIBROKD_IDENTITY_KEY", str(tmp_path / f"{name}.key"))
        records.append(run(config(images, data=table), tmp_path / name))
        keys.append(set(Prepared.open(tmp_path / name).table["patient"]))
        for path in (tmp_path / name).glob("*.*"):
            assert b"DOE" not in path.read_bytes(), path
    assert records[0].digest == records[1].digest
    assert records[0].outputs == records[1].outputs
    assert records[0].facts["manifest_digest"] == records[1].facts["manifest_digest"]
    assert len(keys[0]) == len(keys[1]) == PATIENTS
    assert not keys[0] & keys[1]
    (tmp_path / "two" / "identities.csv").unlink()
    assert set(Prepared.open(tmp_path / "two").table["patient"]) == {""}


@pytest.mark.slow
def test_an_interrupted_run_does_not_mix_the_keys_of_two_secrets(images, tmp_path, monkeypatch):
    def dies(_intake, _refused):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fibrokd.pipeline.prepare.take_in", dies)
        with pytest.raises(KeyboardInterrupt):
            run(config(images), tmp_path / "out")
    run(config(images, identity_key=str(tmp_path / "other.key")), tmp_path / "out")
    run(config(images, identity_key=str(tmp_path / "other.key")), tmp_path / "fresh")
    written = [(tmp_path / name / "identities.csv").read_bytes() for name in ("out", "fresh")]
    assert written[0] == written[1]


def test_a_secret_inside_the_run_folder_is_refused(images, tmp_path):
    with pytest.raises(ConfigError, match="outside the run folder"):
        run(config(images, identity_key=str(tmp_path / "out" / "identity.key")), tmp_path / "out")


def test_a_file_that_may_not_be_read_is_set_aside_and_stops_nothing(images, tmp_path, monkeypatch):
    real_open, real_read = Path.open, Path.read_bytes

    def forbid(real):
        def guarded(self, *arguments, **options):
            if self.name == "v3a.png":
                raise PermissionError(13, "Permission denied")
            return real(self, *arguments, **options)

        return guarded

    monkeypatch.setattr(Path, "open", forbid(real_open))
    monkeypatch.setattr(Path, "read_bytes", forbid(real_read))
    run(config(images), tmp_path / "out")
    quarantine = read_table(tmp_path / "out" / "quarantine.csv")
    assert ("F3/patient3/v3a.png", "unreadable") in set(zip(quarantine["path"], quarantine["reason"], strict=True))


def test_distrust_of_many_patients_stops_the_run_unless_accepted(images, tmp_path):
    rows = [
        {"path": p.relative_to(images).as_posix(), "stage": p.parts[-3][1], "study": f"S{n}",
         "patient": "12345" if n % 5 == 0 else f"P{n}"}
        for n, p in enumerate(sorted(images.rglob("v*.png")))
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(images / "labels.csv", index=False)
    changes = {"data": {"root": str(images), "layout": "table", "labels": "labels.csv"}, "mixed_stage_groups": "keep"}
    with pytest.raises(InputError, match="leaves 16 of 80 images without a patient"):
        run(config(images, **changes), tmp_path / "out")
    run(config(images, **changes, accept_distrusted_keys=True), tmp_path / "accepted")
    integrity = json.loads((tmp_path / "accepted" / "integrity.json").read_text())
    assert integrity["groups"]["distrusted_keys"] == {"patient": 1}


@pytest.mark.slow
def test_the_closing_lines_add_up_and_say_why_shares_are_not_those_asked_for(images, tmp_path, capsys):
    run(config(images), tmp_path / "out")
    told = capsys.readouterr().err
    assert "82 files: 80 gave 80 pictures (80 distinct), 2 set aside" in told
    assert "instead of" not in told
    for folder in [path for path in images.glob("F*/patient*") if int(path.name[7:]) >= 25]:
        folder.rename(tmp_path / folder.name)  # five patients of every stage are left: 3, 1, 1 and 0 are too few
    run(config(images), tmp_path / "few")
    told = capsys.readouterr().err
    assert "because groups stay whole and every split gets every stage: train 40 % instead of 60 %" in told
