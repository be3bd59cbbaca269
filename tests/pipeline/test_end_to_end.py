"""The whole way, from rendered images to a staged patient, on configs/smoke/run.yaml."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from fibrokd.artifacts import read_record
from fibrokd.cli import cli
from fibrokd.config import load_config
from fibrokd.data.prepared import Prepared, read_table
from fibrokd.errors import ArtifactError, BookError, TrainingError
from fibrokd.evaluation.atlas.image_arrays import read_image_arrays
from fibrokd.files import read_json
from fibrokd.pipeline import distill, evidence, run
from fibrokd.pipeline.run import RunConfig

SMOKE = Path(__file__).parents[2] / "configs" / "smoke" / "run.yaml"
STEPS = ("phantom", "prepared", "teacher", "book", "student_plain", "student_kd", "assess", "bundle")


def smoke(out, *overrides):
    run.run(load_config(SMOKE, RunConfig, overrides), out)
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return smoke(tmp_path_factory.mktemp("smoke") / "run")


def test_every_step_leaves_a_finished_record_that_chains_by_digest(finished):
    records = {step: read_record(finished / step) for step in STEPS}
    assert all(record.finished for record in records.values())
    assert records["teacher"].inputs["prepared"] == records["prepared"].digest
    assert records["book"].inputs["teacher"] == records["teacher"].digest
    assert records["student_kd"].inputs["book"] == records["book"].digest
    assert "book" not in records["student_plain"].inputs
    assert records["bundle"].inputs["student"] == records["student_kd"].digest


def test_a_second_run_redoes_nothing(finished, capsys):
    before = {step: (finished / step / "record.json").stat().st_mtime_ns for step in STEPS}
    smoke(finished)
    assert {step: (finished / step / "record.json").stat().st_mtime_ns for step in STEPS} == before
    assert "fibrokd app" in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_configuration_elsewhere_gives_equal_digests(finished, tmp_path):
    again = smoke(tmp_path / "again")
    for step in STEPS:
        assert read_record(again / step).outputs == read_record(finished / step).outputs, step
        assert read_record(again / step).digest == read_record(finished / step).digest, step


def test_another_configuration_in_the_same_folder_is_refused(finished):
    with pytest.raises(ArtifactError, match=r"epochs: 2 → 3"):
        smoke(finished, "teacher.train.epochs=3")


def test_what_networks_answered_with_is_kept_and_neighbours_are_other_patients_they_learned_from(finished):
    folder = finished / "assess"
    prepared = Prepared.open(finished / "prepared")
    table = prepared.table.set_index("image_id")
    outputs = read_record(folder).outputs
    tested = set(table.index[table["split"] == "test"])
    for network in ("teacher", "student_plain", "student_kd"):
        assert {f"embeddings_{network}.npz", f"evidence_{network}.npz", "neighbours.csv"} <= set(outputs)
        evidence = read_image_arrays(folder / f"evidence_{network}.npz")
        assert set(evidence.image_ids) <= tested
        assert evidence.values.shape[1:] == (5, 8, 8)
        assert evidence.values.any(axis=(1, 2, 3)).all(), "no map is blank"
        assert set(read_image_arrays(folder / f"embeddings_{network}.npz").image_ids) == tested | set(
            table.index[table["split"] == "train"]
        )
    neighbours = read_table(folder / "neighbours.csv")
    assert set(table.loc[neighbours["neighbour"], "split"]) == {"train"}
    assert (table.loc[neighbours["neighbour"], "stage"].to_numpy() == neighbours["stage"]).all()
    clusters = neighbours.assign(cluster=table.loc[neighbours["neighbour"], "cluster"].to_numpy())
    assert not clusters.duplicated(["network", "image_id", "cluster"]).any()


def test_metrics_have_the_names_that_others_rely_on(finished):
    networks = read_json(finished / "assess" / "metrics.json")["networks"]
    assert list(networks) == ["teacher", "student_plain", "student_kd"]
    for entry in networks.values():
        assert isinstance(entry["parameters"], int)
        for metric in ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_kappa"):
            assert {"value", "low", "high"} <= entry["test"][metric].keys()


def test_integrity_has_the_names_that_others_rely_on(finished):
    integrity = read_json(finished / "prepared" / "integrity.json")
    assert integrity["files"] == integrity["distinct_images"] == 40
    assert integrity["quarantined"] == integrity["wrong_extension"] == 0
    for level in ("random", "stem", "content", "all"):
        control = integrity["controls"]["thumbnail_1nn"][level]
        assert {"value", "low", "high"} <= control["accuracy"].keys()
        assert control["twin_in_train"] == 0.0


def test_predictions_are_those_of_untouched_patients(finished):
    splits = pd.read_csv(finished / "prepared" / "splits.csv", dtype=str).merge(
        pd.read_csv(finished / "prepared" / "groups.csv", dtype=str), on="image_id"
    )
    predictions = pd.read_csv(finished / "assess" / "predictions.csv", dtype={"image_id": str})
    test = set(predictions.loc[predictions["split"] == "test", "image_id"])
    assert test == set(splits.loc[splits["split"] == "test", "image_id"])
    trained_on = set(splits.loc[splits["split"] == "train", "group"])
    assert not trained_on & set(splits.loc[splits["image_id"].isin(test), "group"])


def test_predict_answers_one_json_object_per_line_without_torch(finished, tmp_path):
    image = next((finished / "phantom").glob("F*/*.png"))
    text = tmp_path / "note.png"
    text.write_text("not an image")
    code = (
        "import sys; sys.argv = ['fibrokd', 'predict', *sys.argv[1:]];"
        "from fibrokd.cli import cli; cli(standalone_mode=False);"
        "print('TORCH' if 'torch' in sys.modules else 'FREE', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(finished / "bundle"), str(image), str(text), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    staged, refused = (json.loads(line) for line in done.stdout.splitlines())
    assert set(staged) >= {"path", "outcome", "stage", "probabilities", "reasons"}
    assert set(staged["probabilities"]) == {"F0", "F1", "F2", "F3", "F4"}
    assert sum(staged["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert refused["stage"] is None
    assert refused["reasons"]
    assert "FREE" in done.stderr


def test_the_bundle_verifies_itself(finished):
    result = CliRunner().invoke(cli, ["verify", str(finished / "bundle")])
    assert result.exit_code == 0, result.output


def test_the_report_is_one_file_without_external_requests(finished):
    html = (finished / "assess" / "report.html").read_text()
    assert len(html) < 5e6
    for forbidden in ('src="http', 'href="http', "url(http", "<script", "@import"):
        assert forbidden not in html


def test_its_evidence_reads_what_the_steps_really_write(finished):
    """Made-up runs of other tests could fall behind what the steps write; this one cannot."""
    out = finished / "evidence"
    evidence.run(finished, out)
    data = read_json(out / "evidence.json")
    assert (data["verdict"], data["simulated"]) == ("caution", True)
    counts = {name: checklist["counts"] for name, checklist in data["checklists"].items()}
    assert all(found["filled"] >= 15 for found in counts.values()), counts
    links = set(re.findall(r'href="\.\./([^"]+)"', "".join(page.read_text() for page in out.glob("*.html"))))
    assert len(links) > 20
    for link in links:
        path, _, anchor = link.partition("#")
        assert (finished / path).is_file(), link
        assert not anchor or f'id="{anchor}"' in (finished / path).read_text(encoding="utf-8"), link
    patients = set(pd.read_csv(finished / "prepared" / "identities.csv")["patient"])
    text = "".join(page.read_text() for page in out.iterdir())
    assert not {patient for patient in patients if patient in text}
    assert str(finished) not in text


def test_a_student_refuses_a_book_with_other_views(finished):
    plan = load_config(SMOKE, RunConfig).students["student_kd"]
    settings = {name: getattr(plan, name) for name in type(plan).model_fields}
    config = distill.DistillConfig(
        **settings,
        prepared=finished / "prepared",
        book=finished / "book",
        views=load_config(SMOKE, RunConfig).views.model_copy(update={"seed": 99}),
    )
    with pytest.raises(BookError, match="other views"):
        distill.run(config, finished.parent / "refused")


def test_a_hopeless_live_teacher_is_refused_before_the_first_step(finished):
    plan = load_config(SMOKE, RunConfig).students["student_kd"]
    settings = {name: getattr(plan, name) for name in type(plan).model_fields}
    config = distill.DistillConfig(
        **settings,
        prepared=finished / "prepared",
        teacher=finished / "teacher",
        minimum_balanced_accuracy=0.99,
    )
    with pytest.raises(TrainingError, match=r"at least 0\.99"):
        distill.run(config, finished.parent / "hopeless")
