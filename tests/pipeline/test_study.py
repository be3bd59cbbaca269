"""The study command: shares teachers and books, takes results over, stops when asked, and says what is wrong early."""

import shutil

import numpy as np
import pandas as pd
import pytest

from fibrokd.config import parse_config
from fibrokd.errors import ArtifactError, ConfigError
from fibrokd.evaluation.predictions import read_answers
from fibrokd.files import digest_file, read_json, write_json
from fibrokd.pipeline.study import cell as study_cell
from fibrokd.pipeline.study import step as study
from fibrokd.pipeline.study.plan import StudyConfig
from fibrokd.stages import METAVIR
from tests.factories import write_prepared

RUNTIME = {"precision": "fp32", "memory_format": "channels_last"}
TRAIN = {"epochs": 2, "batch_size": 8, "runtime": RUNTIME}


def settings(prepared, **changes):
    base = {
        "prepared": str(prepared),
        "teachers": {"teacher": {"backbone": "tiny", "pretrained": False, "train": TRAIN}},
        "book": {"views": 2},
        "student": {"backbone": "tiny", "pretrained": False, "train": TRAIN},
        "arms": {
            "none": {"student": {"method": {"kind": "none"}}},
            "kd": {"student": {"method": {"kind": "kd"}}},
            "online": {"student": {"method": {"kind": "kd"}}, "online": True, "note": "live teacher"},
        },
        "backbones": ["tiny"],
        "seeds": [0, 1],
        "minimum_balanced_accuracy": 0,
        "bootstrap": {"resamples": 100},
    }
    return parse_config(base | changes, StudyConfig)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("study") / "prepared", patients=50)


@pytest.fixture(scope="module")
def done(prepared, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    study.run(settings(prepared), out)
    return out


def test_every_cell_leaves_figures_and_answers_and_nothing_large(done):
    names = {path.name for path in (done / "results").iterdir() if not path.name.startswith("teacher_")}
    wanted = {f"{arm}-tiny-f1-s{seed}" for arm in ("none", "kd", "online") for seed in (0, 1)}
    assert names == {f"{name}.{kind}" for name in wanted for kind in ("json", "csv.gz")}
    assert list((done / "cells").iterdir()) == []
    facts = read_json(done / "results" / "kd-tiny-f1-s1.json")
    assert facts["parameters"] == 373_173
    assert facts["cost"]["book_teacher_forwards"] == 2 * 40
    assert facts["cost"]["online_teacher_forwards"] == 0
    assert set(facts["inputs"]) == {"prepared", "book"}
    assert {"threads", "versions", "commit", "processor"} == facts["machine"].keys()
    assert [line["epoch"] for line in facts["history"]] == list(range(1, len(facts["history"]) + 1))
    assert {"phase", "train_loss", "terms", "val_macro_f1"} <= set(facts["history"][0])
    assert facts["machine"]["commit"] == read_json(done / "results" / "teacher_teacher-f1.json")["machine"]["commit"]


def test_the_cost_of_a_cell_is_what_its_run_folder_measured_and_outlives_it(done):
    cost = read_json(done / "results" / "online-tiny-f1-s0.json")["cost"]
    assert cost["online_teacher_forwards"] == 2 * 40  # two epochs of forty pictures
    assert cost["book_teacher_forwards"] == 0
    assert cost["attempts"] == 1
    assert cost["peak_memory_mb"] > 0
    assert cost["train_seconds"] > 0
    (book,) = read_json(done / "results" / "kd-tiny-f1-s0.json")["cost"]["books"]
    assert book["cost"]["teacher_forwards"] == book["ledger"]["teacher_forwards"] == 2 * 40
    assert book["cost"]["wall_seconds"] > 0


def test_networks_that_a_cell_trains_besides_its_student_are_seen_in_its_cost(prepared, tmp_path):
    arms = {"self": {"student": {"method": {"kind": "tf_kd_self"}}}}
    document = study.run(settings(prepared, seeds=[0], arms=arms), tmp_path)
    (row,) = document["rows"]
    cost = row["cost"]
    assert cost["images_trained"] == cost["other_networks_images"] == 2 * 40
    assert (cost["online_teacher_forwards"], cost["own_teacher_forwards"]) == (0, 2 * 40)
    assert cost["train_seconds"] > cost["other_networks_seconds"] > 0
    assert cost["teacher_seconds"] == cost["book_seconds"] == 0


def test_what_is_shared_is_told_apart_from_what_a_cell_paid(done):
    rows = {row["arm"]: row["cost"] for row in read_json(done / "study.json")["rows"]}
    taught = read_json(done / "results" / "teacher_teacher-f1.json")["cost"]
    (book,) = read_json(done / "results" / "kd-tiny-f1-s0.json")["cost"]["books"]
    assert rows["kd"]["book_seconds"] == book["cost"]["wall_seconds"] > 0
    assert rows["kd"]["teacher_seconds"] == rows["online"]["teacher_seconds"] == taught["train_seconds"]
    assert rows["none"]["teacher_seconds"] == rows["online"]["book_seconds"] == 0
    assert rows["teacher:teacher"]["images_trained"] == 2 * 40


def test_the_training_time_of_a_cell_counts_all_its_attempts(prepared, done, tmp_path, monkeypatch):
    """Stopped after the student was trained and before its answers were written, the cell goes on in its folder."""
    config = settings(prepared, shared=str(done), seeds=[0], arms={"kd": {"student": {"method": {"kind": "kd"}}}})
    with monkeypatch.context() as patch:
        patch.setattr(study_cell, "keep", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
        with pytest.raises(RuntimeError, match="power cut"):
            study.run(config, tmp_path)
    cost_file = tmp_path / "cells" / "kd-tiny-f1-s0" / "cost.json"
    write_json(cost_file, read_json(cost_file) | {"wall_seconds": 1234.5, "attempts": 2})
    study.run(config, tmp_path)
    cost = read_json(tmp_path / "results" / "kd-tiny-f1-s0.json")["cost"]
    assert (cost["train_seconds"], cost["attempts"]) == (1234.5, 2)


def test_the_teacher_has_a_row_and_is_measured_against_learning_without_it(done):
    facts = read_json(done / "results" / "teacher_teacher-f1.json")
    assert facts["cell"] == {"arm": "teacher", "backbone": "tiny", "fraction": 1.0, "seed": 0}
    assert facts["cost"]["train_seconds"] > 0
    document = read_json(done / "study.json")
    row = next(row for row in document["rows"] if row["arm"] == "teacher:teacher")
    kept = read_answers(done / "results" / "teacher_teacher-f1.csv.gz", METAVIR, "teacher")
    assert row["metrics"]["accuracy"]["value"] == pytest.approx(float((kept.predicted == kept.truth).mean()))
    assert {(t["teacher"], t["reference"]) for t in document["teachers"]} == {("teacher", "none")}
    assert "`teacher:teacher`" in (done / "study.md").read_text()


def test_answers_of_teachers_are_written_for_cells_that_were_trained_before(prepared, done, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "train_cell", lambda *_: pytest.fail("trained again"))
    results = tmp_path / "earlier"
    shutil.copytree(done / "results", results, ignore=shutil.ignore_patterns("teacher_*"))
    there = study.run(settings(prepared, resume_from=str(results), shared=str(done)), tmp_path / "there")
    assert "teacher:teacher" in {row["arm"] for row in there["rows"]}
    gone = study.run(settings(prepared, resume_from=str(results)), tmp_path / "gone")
    assert "teacher:teacher" not in {row["arm"] for row in gone["rows"]}


def test_a_method_that_asks_for_uncertainty_gets_a_book_of_its_own_masks(prepared, done, tmp_path):
    arms = {
        f"masks_{count}": {"student": {"method": {"kind": "uncertainty_kd", "thinning": {"masks": count}}}}
        for count in (2, 3)
    }
    config = settings(prepared, shared=str(tmp_path / "shared"), seeds=[0], arms=arms)
    shutil.copytree(done / "teachers", tmp_path / "shared" / "teachers")
    document = study.run(config, tmp_path / "out")
    assert document["cells"] == {"finished": 2, "planned": 2, "failed": 0}
    books = [read_json(folder / "book.json") for folder in (tmp_path / "shared" / "books").iterdir()]
    assert {book["thinning"]["masks"] for book in books} == {2, 3}


def test_one_teacher_and_one_book_serve_all_cells(done):
    assert len(list((done / "teachers").iterdir())) == 1
    assert len(list((done / "books").iterdir())) == 1


def test_a_book_gives_what_the_live_teacher_gives(done):
    """Same seed, same views: the two arms differ by fp16 only."""
    document = read_json(done / "study.json")
    rows = {row["arm"]: row["metrics"] for row in document["rows"]}
    assert rows["online"]["log_loss"]["value"] == pytest.approx(rows["kd"]["log_loss"]["value"], abs=2e-3)
    assert rows["none"]["log_loss"]["value"] != pytest.approx(rows["kd"]["log_loss"]["value"], abs=2e-3)


def test_tables_and_picture_are_written(done):
    text = (done / "study.md").read_text()
    assert "Difference from `none`" in text
    assert "`online` (live teacher)" in text
    picture = (done / "accuracy_against_cost.svg").read_text()
    assert picture.startswith("<svg")
    assert "Processor time of one cell, seconds" in picture


def test_a_second_run_trains_nothing_and_gives_the_same_bytes(prepared, done, monkeypatch):
    monkeypatch.setattr(study, "train_cell", lambda *_: pytest.fail("trained again"))
    before = digest_file(done / "study.json")
    study.run(settings(prepared), done)
    assert digest_file(done / "study.json") == before


def test_results_are_taken_over_elsewhere_and_others_are_not(prepared, done, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "train_cell", lambda *_: pytest.fail("trained again"))
    study.run(settings(prepared, resume_from=str(done / "results")), tmp_path / "out")
    assert digest_file(tmp_path / "out" / "study.json") == digest_file(done / "study.json")
    other = settings(prepared, resume_from=str(done / "results"), seeds=[0], minutes=0, views={"seed": 5})
    with pytest.raises(ArtifactError, match="Expected a finished cell"):
        study.run(other, tmp_path / "other")


def test_more_seeds_train_only_what_is_new(prepared, done, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(done, out)
    trained = []
    real = study_cell.train_cell
    monkeypatch.setattr(study, "train_cell", lambda bench, cell: (trained.append(cell.name), real(bench, cell)))
    arms = {"none": {"student": {"method": {"kind": "none"}}}}
    document = study.run(settings(prepared, seeds=[0, 1, 2], arms=arms), out)
    assert trained == ["none-tiny-f1-s2"]
    assert document["rows"][0]["seeds"] == [0, 1, 2]


def test_fractions_have_teachers_and_books_of_their_own(prepared, tmp_path):
    arms = {"kd": {"student": {"method": {"kind": "kd"}}}}
    document = study.run(settings(prepared, seeds=[0], fractions=[1.0, 0.5], arms=arms), tmp_path)
    assert {path.name for path in (tmp_path / "teachers").iterdir()} == {"teacher-f1", "teacher-f0.5"}
    assert len(list((tmp_path / "books").iterdir())) == 2
    half = read_json(tmp_path / "results" / "kd-tiny-f0.5-s0.json")
    assert half["training_images"] == 20
    assert half["cost"]["book_teacher_forwards"] == 2 * 20
    assert [(row["arm"], row["fraction"]) for row in document["rows"]] == [
        ("kd", 1.0),
        ("kd", 0.5),
        ("teacher:teacher", 1.0),
        ("teacher:teacher", 0.5),
    ]


@pytest.mark.slow
def test_a_teacher_made_wrong_is_as_wrong_from_a_book_as_online(prepared, done, tmp_path):
    noisy = {"student": {"method": {"kind": "kd"}}, "teacher_noise": {"share": 0.5}}
    document = study.run(
        settings(prepared, seeds=[0], arms={"kd": noisy, "online": noisy | {"online": True}}), tmp_path
    )
    book, online = (row["metrics"]["log_loss"]["value"] for row in document["rows"][:2])
    assert online == pytest.approx(book, abs=2e-3)
    undisturbed = read_json(done / "results" / "kd-tiny-f1-s0.json")
    disturbed = read_json(tmp_path / "results" / "kd-tiny-f1-s0.json")
    assert disturbed["identity"] != undisturbed["identity"]
    assert disturbed["inputs"] == undisturbed["inputs"]  # the same teacher and book
    answers = "results/kd-tiny-f1-s0.csv.gz"
    assert digest_file(tmp_path / answers) != digest_file(done / answers)


@pytest.mark.slow
def test_wrong_labels_reach_teacher_and_students_alike_and_no_figure_is_counted_on_them(prepared, done, tmp_path):
    study.run(settings(prepared, seeds=[0], label_noise={"share": 0.5}), tmp_path)
    for name in ("none-tiny-f1-s0", "kd-tiny-f1-s0", "teacher_teacher-f1"):
        right, wrong = (read_json(folder / "results" / f"{name}.json") for folder in (done, tmp_path))
        assert wrong["identity"] != right["identity"]
        told = [pd.read_csv(folder / "results" / f"{name}.csv.gz") for folder in (done, tmp_path)]
        assert list(told[0]["stage"]) == list(told[1]["stage"])  # the truth of the test images stays
        assert not np.allclose(told[0].filter(like="p_"), told[1].filter(like="p_"))


def test_an_arm_may_have_a_longer_book_of_its_own(prepared):
    arms = {
        "kd": {"student": {"method": {"kind": "kd"}}},
        "longer": {"student": {"method": {"kind": "kd"}, "train": TRAIN | {"epochs": 4}}, "book": {"views": 4}},
    }
    config = settings(prepared, arms=arms)
    assert (config.book_of("kd").views, config.book_of("longer").views) == (2, 4)
    with pytest.raises(ConfigError, match="book of"):
        settings(prepared, arms=arms | {"odd": {"student": {"method": {"kind": "kd"}}, "book": {"pages": 4}}})
