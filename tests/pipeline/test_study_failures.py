"""A study goes on when a cell fails: it says which, does not try them again unasked, and loses nothing of the rest."""

import numpy as np
import pytest
from typer.testing import CliRunner

from fibrokd.artifacts import begin
from fibrokd.cli import cli
from fibrokd.data.prepared import Prepared
from fibrokd.data.selection import Selection
from fibrokd.errors import ArtifactError, BusyError, TrainingError
from fibrokd.evaluation.predictions import Predictions
from fibrokd.files import read_json
from fibrokd.pipeline import teach, write_book
from fibrokd.pipeline.study import bench as study_bench
from fibrokd.pipeline.study import step as study
from fibrokd.pipeline.study.bench import Bench, SharedBusyError
from fibrokd.pipeline.study.grid import cells
from fibrokd.pipeline.study.results import keep
from fibrokd.training.dropout import Thinning
from tests.factories import write_prepared
from tests.pipeline.test_study import TRAIN, settings

FIGURES = {"parameters": 10, "deployed_bytes": 40, "latency_ms": 1.0}
COST = {"train_seconds": 2.0, "book_teacher_forwards": 0, "online_teacher_forwards": 0}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("failures") / "prepared", patients=50)


class Trainer:
    """Stands for train_cell: chosen arms fail, the others leave made-up answers."""

    def __init__(self, failing=None):
        self.failing = failing or {}
        self.tried = []

    def __call__(self, bench, cell):
        self.tried.append(cell.name)
        if cell.arm in self.failing:
            raise self.failing[cell.arm]
        rows = bench.prepared.rows("test")
        table = bench.prepared.table.iloc[rows]
        p = np.random.default_rng(cell.seed).dirichlet(np.ones(5), len(rows))
        answers = Predictions(
            "n",
            "test",
            tuple(table["image_id"]),
            tuple(table["cluster"]),
            bench.prepared.stages[rows],
            p,
            bench.prepared.scale,
        )
        where = {"arm": cell.arm, "backbone": cell.backbone, "fraction": cell.fraction, "seed": cell.seed}
        identity = cell.identity(bench.config, bench.prepared.record.digest)
        keep(bench.out, cell.name, answers, {"identity": identity, "cell": where, **FIGURES, "cost": COST})


@pytest.fixture
def trainer(monkeypatch):
    made = Trainer()
    monkeypatch.setattr(study, "train_cell", made)
    return made


BROKEN = TrainingError("Expected a finite loss, found nan.", "Lower the rate.")


def test_a_cell_that_fails_does_not_keep_the_others_from_being_trained(prepared, tmp_path, trainer):
    trainer.failing = {"kd": BROKEN}
    with pytest.raises(TrainingError, match=r"2 of them failed \(kd-tiny-f1-s0, kd-tiny-f1-s1\)"):
        study.run(settings(prepared), tmp_path)
    assert len(trainer.tried) == 6
    document = read_json(tmp_path / "study.json")
    assert document["cells"] == {"finished": 4, "planned": 6, "failed": 2}
    assert {row["arm"] for row in document["rows"]} == {"none", "online"}
    first = document["failed"][0]
    assert (first["cell"], first["error"]) == ("kd-tiny-f1-s0", "TrainingError")
    assert "found nan" in first["message"]
    assert "* `kd-tiny-f1-s0`: TrainingError: Expected a finite loss" in (tmp_path / "study.md").read_text()
    assert read_json(tmp_path / "results" / "kd-tiny-f1-s0.failed.json")["identity"]


def test_a_failed_cell_is_tried_again_when_asked_or_when_it_is_another_one(prepared, tmp_path, trainer):
    trainer.failing = {"kd": BROKEN}
    with pytest.raises(TrainingError):
        study.run(settings(prepared), tmp_path)
    trainer.tried.clear()
    with pytest.raises(TrainingError, match="retry-failed"):
        study.run(settings(prepared), tmp_path)
    assert trainer.tried == []
    with pytest.raises(TrainingError):
        study.run(settings(prepared, student=settings(prepared).student.as_json() | {"wrap_book": True}), tmp_path)
    assert [name for name in trainer.tried if name.startswith("kd")] == ["kd-tiny-f1-s0", "kd-tiny-f1-s1"]
    trainer.failing = {}
    document = study.run(settings(prepared, retry_failed=True), tmp_path)
    assert document["cells"] == {"finished": 6, "planned": 6, "failed": 0}
    assert list((tmp_path / "results").glob("*.failed.json")) == []


def test_a_cell_that_failed_here_and_was_trained_elsewhere_has_not_failed(prepared, tmp_path, trainer):
    study.run(settings(prepared), tmp_path / "elsewhere")
    trainer.failing = {"kd": BROKEN}
    with pytest.raises(TrainingError):
        study.run(settings(prepared), tmp_path / "here")
    document = study.run(settings(prepared, resume_from=str(tmp_path / "elsewhere" / "results")), tmp_path / "here")
    assert document["cells"] == {"finished": 6, "planned": 6, "failed": 0}


def test_a_cell_that_another_process_holds_has_not_failed(prepared, tmp_path, trainer):
    trainer.failing = {"kd": BusyError("held", "wait")}
    document = study.run(settings(prepared), tmp_path)
    assert document["cells"] == {"finished": 4, "planned": 6, "failed": 0}


def test_a_cell_whose_book_another_process_makes_comes_after_the_others(prepared, tmp_path, trainer, monkeypatch):
    waits = []

    def wait(seconds):
        waits.append(list(trainer.tried))
        if len(waits) == 2:
            trainer.failing = {}  # the other process has made it
            assert trainer.tried[-1] == "kd-tiny-f1-s0"

    monkeypatch.setattr(study.time, "sleep", wait)
    trainer.failing = {"kd": SharedBusyError("held", "wait")}
    document = study.run(settings(prepared), tmp_path)
    assert document["cells"] == {"finished": 6, "planned": 6, "failed": 0}
    one, other = "kd-tiny-f1-s0", "kd-tiny-f1-s1"
    assert len(waits[0]) == 6
    assert waits[1][6:] == [one]  # a single one is tried after a wait
    assert trainer.tried[7:] == [other, one]


def test_a_study_that_waits_for_another_process_ends_in_time(prepared, tmp_path, trainer, monkeypatch):
    waits = []
    monkeypatch.setattr(study.time, "sleep", waits.append)
    monkeypatch.setattr(study.time, "monotonic", lambda: 60.0 * len(waits))
    trainer.failing = {"kd": SharedBusyError("held", "wait")}
    document = study.run(settings(prepared, minutes=3.0), tmp_path)
    assert document["cells"] == {"finished": 4, "planned": 6, "failed": 0}
    assert len(waits) == 3


def test_what_is_shared_is_made_by_one_process(prepared, tmp_path, monkeypatch):
    bench = Bench(settings(prepared), Prepared.open(prepared), tmp_path)
    at_work = []

    def train(config, folder):
        at_work.append(begin(folder, "teach", config.settings, {"prepared": bench.prepared.record.digest}))

    monkeypatch.setattr(teach, "run", train)
    folder = bench.teacher("teacher", Selection())
    with pytest.raises(SharedBusyError, match="nobody else"):
        bench.teacher("teacher", Selection())
    at_work.clear()  # the other process ends, and its lock with it
    assert bench.teacher("teacher", Selection()) == folder


def test_where_nothing_but_failures_is_there_they_are_named(prepared, tmp_path, trainer):
    trainer.failing = dict.fromkeys(("none", "kd", "online"), BROKEN)
    with pytest.raises(TrainingError, match="6 of them failed"):
        study.run(settings(prepared), tmp_path)
    assert read_json(tmp_path / "study.json")["rows"] == []


def test_a_crash_leaves_a_table_of_what_is_finished(prepared, tmp_path, trainer):
    trainer.failing = {"kd": ZeroDivisionError("a bug")}
    with pytest.raises(ZeroDivisionError):
        study.run(settings(prepared), tmp_path)
    assert trainer.tried == ["none-tiny-f1-s0", "kd-tiny-f1-s0"]
    document = read_json(tmp_path / "study.json")
    assert document["cells"] == {"finished": 1, "planned": 6, "failed": 0}


def test_an_interrupt_ends_the_study_at_once(prepared, tmp_path, trainer):
    trainer.failing = {"kd": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        study.run(settings(prepared), tmp_path)
    assert list((tmp_path / "results").glob("*.failed.json")) == []


@pytest.mark.parametrize(("options", "wanted"), [([], False), (["--retry-failed"], True)])
def test_the_command_line_can_ask_for_failed_cells(tmp_path, monkeypatch, options, wanted):
    asked = []
    monkeypatch.setattr(study, "run", lambda config, out: asked.append(config.retry_failed))
    done = CliRunner().invoke(cli, ["study", "configs/study/smoke.yaml", str(tmp_path), *options])
    assert (done.exit_code, asked) == (0, [wanted])


# --------------------------------------------------------------------------- what cells share
def made(bench, name, monkeypatch):
    """The folder of a teacher, whose training is a bare record."""

    def train(config, folder):
        run = begin(folder, "teach", config.settings, {"prepared": bench.prepared.record.digest})
        return run.record if run.finished else run.finish([])

    monkeypatch.setattr(teach, "run", train)
    return bench.teacher(name, Selection())


def with_rate(rate):
    return {"teacher": {"backbone": "tiny", "pretrained": False, "train": TRAIN | {"learning_rate": rate}}}


def test_studies_that_share_a_folder_do_not_mistake_each_others_teachers(prepared, tmp_path, monkeypatch):
    data = Prepared.open(prepared)
    one = Bench(settings(prepared, teachers=with_rate(0.1), shared=str(tmp_path)), data, tmp_path / "a")
    other = Bench(settings(prepared, teachers=with_rate(0.2), shared=str(tmp_path)), data, tmp_path / "b")
    first, second = made(one, "teacher", monkeypatch), made(other, "teacher", monkeypatch)
    assert first.name == "teacher-f1"
    assert second.name.startswith("teacher-f1-")
    assert len(second.name) == len("teacher-f1-") + 8
    assert (made(one, "teacher", monkeypatch), made(other, "teacher", monkeypatch)) == (first, second)
    assert one.teacher_folder("teacher", Selection(seed=3)) not in (first, second)


def test_books_of_different_teachers_of_one_name_lie_apart(prepared, tmp_path, monkeypatch):
    data = Prepared.open(prepared)

    def write(config, folder):
        left_out = {"prepared": True, "teacher": True, "book": {"batch_size"}}
        inputs = {"prepared": data.record.digest, "teacher": study_bench.require(config.teacher, "teach").digest}
        run = begin(folder, "write-book", config.model_dump(mode="json", exclude=left_out), inputs)
        return run.record if run.finished else run.finish([])

    monkeypatch.setattr(write_book, "run", write)
    found = []
    for rate in (0.1, 0.2):
        config = settings(prepared, teachers=with_rate(rate), shared=str(tmp_path))
        bench = Bench(config, data, tmp_path / "out")
        made(bench, "teacher", monkeypatch)
        cell = next(cell for cell in cells(config) if cell.arm == "kd")
        found.append(bench.book("teacher", cell))
    assert found[0] != found[1]
    assert found[1].name.startswith(found[0].name + "-")


def test_a_teacher_that_cannot_be_trained_is_tried_once_for_all_its_cells(prepared, tmp_path, monkeypatch):
    bench = Bench(settings(prepared), Prepared.open(prepared), tmp_path)
    tried = []

    def fail(config, folder):
        tried.append(folder)
        raise ArtifactError("altered", "restore it")

    monkeypatch.setattr(teach, "run", fail)
    for _ in range(2):
        with pytest.raises(ArtifactError, match="altered"):
            bench.teacher("teacher", Selection())
    assert len(tried) == 1


def test_a_book_holds_the_masks_of_its_method_and_others_share_one_form(prepared, tmp_path):
    kinds = {"kd": {"kind": "kd"}, "uncertain": {"kind": "uncertainty_kd", "thinning": {"masks": 7}}}
    config = settings(prepared, seeds=[0], arms={name: {"student": {"method": kind}} for name, kind in kinds.items()})
    bench = Bench(config, Prepared.open(prepared), tmp_path)
    plain, uncertain = (bench.form(cell) for cell in cells(config))
    assert plain == config.book
    assert uncertain.stores == ("uncertainty",)
    assert uncertain.thinning == Thinning(masks=7)
