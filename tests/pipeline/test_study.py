"""The study command: shares teachers and books, takes results over, stops when asked, and says what is wrong early."""

import shutil
from pathlib import Path

import pytest

from fibrokd.config import load_config, parse_config
from fibrokd.errors import ArtifactError, ConfigError
from fibrokd.files import digest_file, read_json
from fibrokd.pipeline import study, study_cell
from fibrokd.pipeline.study_plan import StudyConfig, cells
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
    names = {path.name for path in (done / "results").iterdir()}
    wanted = {f"{arm}-tiny-f1-s{seed}" for arm in ("none", "kd", "online") for seed in (0, 1)}
    assert names == {f"{name}.{kind}" for name in wanted for kind in ("json", "csv.gz")}
    assert list((done / "cells").iterdir()) == []
    facts = read_json(done / "results" / "kd-tiny-f1-s1.json")
    assert facts["parameters"] == 373_173
    assert facts["cost"]["book_teacher_forwards"] == 2 * 40
    assert set(facts["inputs"]) == {"prepared", "book"}


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
    assert (done / "accuracy_against_cost.svg").read_text().startswith("<svg")


def test_a_second_run_trains_nothing_and_gives_the_same_bytes(prepared, done, monkeypatch):
    monkeypatch.setattr(study, "train_cell", lambda *_: pytest.fail("trained again"))
    before = digest_file(done / "study.json")
    study.run(settings(prepared), done)
    assert digest_file(done / "study.json") == before


def test_results_are_taken_over_elsewhere_and_others_are_not(prepared, done, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "train_cell", lambda *_: pytest.fail("trained again"))
    study.run(settings(prepared, resume_from=str(done / "results")), tmp_path / "out")
    assert digest_file(tmp_path / "out" / "study.json") == digest_file(done / "study.json")
    other = settings(prepared, resume_from=str(done / "results"), seeds=[0], minutes=1e-9, views={"seed": 5})
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
    assert [row["fraction"] for row in document["rows"]] == [1.0, 0.5]


def test_cells_come_seed_by_seed_in_the_order_of_the_arms(prepared):
    names = [cell.name for cell in cells(settings(prepared, backbones=["tiny", "resnet18"]))]
    assert names[:3] == ["none-tiny-f1-s0", "none-resnet18-f1-s0", "kd-tiny-f1-s0"]
    assert names[6] == "none-tiny-f1-s1"


def test_an_arm_changes_what_it_names_and_nothing_else(prepared):
    arms = {
        "kd": {
            "student": {"method": {"kind": "kd", "alpha": 0.9}, "train": {"batch_size": 16}},
            "views": {"mixup_alpha": 0.0},
        }
    }
    (cell,) = cells(settings(prepared, seeds=[4], arms=arms))
    assert cell.plan.method.alpha == 0.9
    assert (cell.plan.train.batch_size, cell.plan.train.epochs, cell.plan.train.seed) == (16, 2, 4)
    assert cell.views.mixup_alpha == 0
    assert cell.plan.pretrained is False


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"student": {"method": {"kind": "kd"}}, "teachers": ["nobody"]}, "unknown teacher"),
        ({"student": {"method": {"kind": "kd"}}, "teachers": []}, "takes 1 to 1"),
        ({"student": {"method": {"kind": "none"}}, "teachers": ["teacher"]}, "takes 0 to 0"),
        ({"student": {"method": {"kind": "none"}, "selection": {"fraction": 0.5}}}, "belong into `fractions`"),
        ({"student": {"method": {"kind": "kd"}, "trian": {}}}, "unknown key"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said_before_anything_is_trained(prepared, arm, message):
    with pytest.raises(ConfigError, match=message):
        settings(prepared, arms={"x": arm})


def test_the_smoke_configuration_loads():
    config = load_config(Path("configs/study/smoke.yaml"), StudyConfig)
    assert list(config.arms) == ["none", "kd"]


def test_a_teacher_made_wrong_is_as_wrong_from_a_book_as_online(prepared, done, tmp_path):
    noisy = {"student": {"method": {"kind": "kd"}}, "teacher_noise": {"share": 0.5}}
    document = study.run(
        settings(prepared, seeds=[0], arms={"kd": noisy, "online": noisy | {"online": True}}), tmp_path
    )
    book, online = (row["metrics"]["log_loss"]["value"] for row in document["rows"])
    assert online == pytest.approx(book, abs=2e-3)
    undisturbed = read_json(done / "results" / "kd-tiny-f1-s0.json")
    disturbed = read_json(tmp_path / "results" / "kd-tiny-f1-s0.json")
    assert disturbed["identity"] != undisturbed["identity"]
    assert disturbed["inputs"] == undisturbed["inputs"]  # the same teacher and book
    answers = "results/kd-tiny-f1-s0.csv.gz"
    assert digest_file(tmp_path / answers) != digest_file(done / answers)
