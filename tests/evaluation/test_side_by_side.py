"""Runs side by side: what is compared, what is refused, and what the document and the page say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from fibrokd.errors import ArtifactError, InputError, TableError
from fibrokd.evaluation.comparisons.p_values import holm
from fibrokd.evaluation.document import metrics_document
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.metrics import HEADLINE, METRICS
from fibrokd.evaluation.predictions import Predictions, read_predictions, write_predictions
from fibrokd.evaluation.report import render_page
from fibrokd.evaluation.side_by_side.document import SCHEMA, compare_document
from fibrokd.evaluation.side_by_side.names import run_names
from fibrokd.evaluation.side_by_side.page import SECTIONS, compare_inputs
from fibrokd.evaluation.side_by_side.repetitions import DECLARED, RECORDS, check_declared
from fibrokd.evaluation.side_by_side.runs import Run, read_runs
from fibrokd.evaluation.side_by_side.shared import Shared, shared_images
from fibrokd.evaluation.side_by_side.table import COLUMNS, pair_table
from fibrokd.evaluation.side_by_side.trainings import _unseeded
from fibrokd.files import read_json, write_json
from fibrokd.stages import METAVIR, StageScale
from tests.evaluation.made_up import made_up_predictions, of_split
from tests.evaluation.made_up_assessed import STAMP, answers, write_assessed

QUICK = BootstrapConfig(resamples=100)
UNFIT = {**STAMP, "verdict": "unfit", "grouping": "stem", "reasons": ["Twins <b> in train."], "accepted_unfit": True}


def read(*folders: Path, split: str = "test", networks: tuple[str, ...] = ()) -> list[Run]:
    return read_runs(folders, split, networks)


def compared(*folders: Path, same_but_seed: bool = False) -> tuple[dict, Shared]:
    runs = read(*folders)
    shared = shared_images(runs)
    return compare_document(runs, shared, QUICK, same_but_seed), shared


def page(document: dict, shared: Shared) -> str:
    html = render_page(compare_inputs(document, shared), SECTIONS, "runs side by side")
    return " ".join(html.split())


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs of one recipe and data; the records of their trainings lie beside them."""
    root = tmp_path_factory.mktemp("seeds")
    return tuple(write_assessed(root / f"seed_{k}", answers(k), seed=k) for k in (0, 1))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def both(seeds: tuple[Path, Path]) -> tuple[dict, Shared]:
    return compared(*seeds)


# --------------------------------------------------------------------------- names
def test_runs_are_called_by_what_tells_their_folders_apart() -> None:
    assert run_names([Path("/x/a/assess"), Path("/x/b")]) == ["a", "b"]
    assert run_names([Path("/x/a/cv/assess"), Path("/x/b/cv/assess")]) == ["a", "b"]
    assert run_names([Path("/x/a/1"), Path("/x/b/2"), Path("/x/b/1")]) == ["a/1", "b/2", "b/1"]
    assert run_names([Path("/x/a/assess"), Path("/x/a")]) == ["x (1)", "x (2)"]


# --------------------------------------------------------------------------- figures
def test_networks_of_all_runs_have_the_figures_of_their_own_reports(tmp_path: Path) -> None:
    folders = []
    for k in (0, 1):
        write_predictions(tmp_path / "answers.csv", answers(k))
        parts = read_predictions(tmp_path / "answers.csv", METAVIR)
        costs = {part.network: {"parameters": 7} for part in parts}
        metrics = metrics_document(parts, costs, STAMP, QUICK)
        folders.append(write_assessed(tmp_path / f"run_{k}", parts, metrics=metrics))
    document, _ = compared(*folders)
    assert list(document["networks"]) == ["run_0/teacher", "run_0/student_kd", "run_1/teacher", "run_1/student_kd"]
    for name, entry in document["networks"].items():
        own = read_json(folders[int(name[4])] / "metrics.json")["networks"][entry["network"]]
        assert entry["parameters"] == 7
        assert all(own["test"][figure] == value for figure, value in entry["test"].items())


def test_differences_and_agreement_of_two_runs_are_those_of_their_answers(both: tuple[dict, Shared]) -> None:
    document, shared = both
    parts = {part.network: part for part in shared.parts}
    assert len(document["agreement"]) == 6
    for entry in document["agreement"]:
        one, other = parts[entry["first"]].predicted, parts[entry["second"]].predicted
        kappa = cohen_kappa_score(one, other, weights="quadratic")
        assert entry["quadratic_kappa"]["value"] == pytest.approx(kappa, abs=1e-9)
    told = [entry for entry in document["comparisons"] if entry["metric"] == "accuracy"]
    for entry in told:
        values = [
            accuracy_score(parts[entry[side]].truth, parts[entry[side]].predicted) for side in ("first", "second")
        ]
        assert entry["difference"]["value"] == pytest.approx(values[0] - values[1], abs=1e-9)
    assert [entry["p_holm"] for entry in told] == pytest.approx(holm([entry["p"] for entry in told]))
    assert {entry["family_size"] for entry in told} == {6}
    # What runs are compared for comes first: the same network in both.
    pairs = [(entry["first"], entry["second"]) for entry in told]
    assert pairs[:2] == [("seed_1/teacher", "seed_0/teacher"), ("seed_1/student_kd", "seed_0/student_kd")]


def test_a_run_beside_its_copy_does_not_differ_and_agrees_entirely(tmp_path: Path) -> None:
    parts = answers(networks={"student_kd": 1.0})
    document, _ = compared(write_assessed(tmp_path / "a", parts), write_assessed(tmp_path / "b", parts))
    assert {entry["difference"]["value"] for entry in document["comparisons"]} == {0.0}
    (agreement,) = document["agreement"]
    assert (agreement["same_stage"]["value"], agreement["total_variation"]["value"]) == (1.0, 0.0)
    assert agreement["quadratic_kappa"]["value"] == 1.0


def test_another_order_of_runs_turns_signs_and_nothing_else(
    seeds: tuple[Path, Path], both: tuple[dict, Shared]
) -> None:
    document, _ = both
    turned, _ = compared(*reversed(seeds))
    assert turned["networks"] == {name: document["networks"][name] for name in turned["networks"]}

    def of_pair(found: dict) -> dict:
        key = ("metric", "end_point", "rule")
        return {
            (frozenset((e["first"], e["second"])), *(e.get(name) for name in key)): (
                e["first"],
                e["difference"],
                e.get("p"),
            )
            for e in found["comparisons"]
        }

    first, second = of_pair(document), of_pair(turned)
    assert first.keys() == second.keys()
    for pair, (name, difference, p) in first.items():
        sign = 1 if second[pair][0] == name else -1
        assert second[pair][1]["value"] == pytest.approx(sign * difference["value"], abs=1e-9)
        assert second[pair][2] == pytest.approx(p, abs=1e-9)


def test_the_document_obeys_its_published_schema(tmp_path: Path, both: tuple[dict, Shared]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    few = [answers(k, patients=5) for k in (0, 1)]
    folders = [write_assessed(tmp_path / f"few_{k}", parts, UNFIT) for k, parts in enumerate(few)]
    for document in (both[0], compared(*folders)[0], compared(*folders, same_but_seed=True)[0]):
        jsonschema.validate(json.loads(json.dumps(document, allow_nan=False)), schema)


def test_the_table_has_a_row_per_figure_and_pair(both: tuple[dict, Shared]) -> None:
    table = pair_table(both[0])
    assert tuple(table.columns) == COLUMNS
    assert table.groupby("kind").size().to_dict() == {"agreement": 6 * 11, "difference": 6 * (len(METRICS) + 3)}
    assert set(table["first_data"]) == {"fit"}
    tested = table[table["p"].notna()]
    assert (tested["p_holm"] >= tested["p"]).all()
    assert table.loc[table["figure"] == "auroc", "end_point"].notna().all()


# --------------------------------------------------------------------------- images
def test_only_what_every_run_asked_is_compared_and_the_rest_is_counted(tmp_path: Path) -> None:
    whole = answers(0)
    part = [found.rows(np.arange(20, len(found))[::-1]) for found in answers(1)]
    document, shared = compared(write_assessed(tmp_path / "a", whole), write_assessed(tmp_path / "b", part))
    assert (document["images"], shared.images) == (60, 60)
    assert [run["left_out"] for run in document["runs"].values()] == [20, 0]
    kept = whole[0].rows(np.arange(20, 80))
    found = document["networks"]["a/teacher"]["test"]
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(kept.truth, kept.predicted))
    assert "20 of the 80 of a. Figures of these runs differ here" in page(document, shared)


def test_what_a_cluster_is_called_is_of_no_account_but_who_is_in_it_is(tmp_path: Path) -> None:
    first, other = write_assessed(tmp_path / "a", answers(0)), answers(1)
    called = [part.renamed([f"x{name}" for name in part.groups]) for part in other]
    document, _ = compared(first, write_assessed(tmp_path / "b", called))
    assert document["networks"]["a/teacher"]["test"]["clusters"] == 40
    torn = [part.renamed(["alone", *part.groups[1:]]) for part in other]
    with pytest.raises(TableError, match=r"2 of 80 have another cluster in a than in c: 0{16} \(P000 and alone\)"):
        shared_images(read(first, write_assessed(tmp_path / "c", torn)))


def _other_truth(part: Predictions) -> Predictions:
    truth = part.truth.copy()
    truth[:7] = (truth[:7] + 1) % 5
    return replace(part, truth=truth)


def test_another_truth_is_refused_with_the_images_that_have_it(tmp_path: Path) -> None:
    folders = [
        write_assessed(tmp_path / "a", answers(0)),
        write_assessed(tmp_path / "b", [_other_truth(part) for part in answers(1)]),
    ]
    with pytest.raises(
        TableError, match=r"7 of 80 have another true stage in a than in b: 0{16} \(F0 and F1\).* 2 more"
    ):
        shared_images(read(*folders))


def test_runs_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    first = write_assessed(tmp_path / "a", answers(0))
    elsewhere = [replace(part, image_ids=tuple(f"x{name}" for name in part.image_ids)) for part in answers(1)]
    with pytest.raises(InputError, match=r"found none \(80 in a, 80 in b\)"):
        shared_images(read(first, write_assessed(tmp_path / "b", elsewhere)))
    scale = StageScale(("none", "significant", "cirrhosis"), (1, 2))
    other = write_assessed(tmp_path / "c", [made_up_predictions("teacher", scale=scale)])
    with pytest.raises(InputError, match=r"≥F2, ≥F3, ≥F4 in a; none, significant, cirrhosis with end points"):
        shared_images(read(first, other))


def test_one_run_and_the_same_run_twice_are_refused(tmp_path: Path) -> None:
    first = write_assessed(tmp_path / "a", answers(0))
    with pytest.raises(InputError, match="two or more runs to compare, found 1"):
        read(first)
    with pytest.raises(InputError, match=r"Expected different runs, found .*a twice"):
        read(first, tmp_path / "a")  # the folder of a run stands for its assessment


def test_folders_that_are_no_finished_assessment_are_refused(tmp_path: Path) -> None:
    first, second = (write_assessed(tmp_path / name, answers(k), seed=k) for k, name in enumerate("ab"))
    with pytest.raises(ArtifactError, match=r"found no record\.json"):
        read(first, tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="found one of 'teach'"):
        read(first, tmp_path / "b" / "teacher")
    record = read_json(second / "record.json")
    lacking = {name: digest for name, digest in record["outputs"].items() if name != "images.csv"}
    write_json(second / "record.json", record | {"outputs": lacking})
    with pytest.raises(ArtifactError, match=r"found no images\.csv"):
        read(first, second)
    write_json(second / "record.json", record | {"finished": False})
    with pytest.raises(ArtifactError, match="unfinished"):
        read(first, second)
    write_json(second / "record.json", record)
    (second / "predictions.csv").write_text("altered")
    with pytest.raises(ArtifactError, match="altered"):
        read(first, second)


def test_networks_and_splits_that_a_run_does_not_have_are_refused(seeds: tuple[Path, Path]) -> None:
    assert [list(run.parts) for run in read(*seeds, networks=("student_kd",))] == [["student_kd"]] * 2
    with pytest.raises(InputError, match=r"answers of nobody on test in .*, found teacher on test, student_kd on test"):
        read(*seeds, networks=("nobody",))
    with pytest.raises(InputError, match="found student_kf in none of them") as error:
        read(*seeds, networks=("student_kd", "student_kf"))
    assert error.value.todo == "Choose among teacher, student_kd."
    with pytest.raises(InputError, match="answers of networks on val"):
        read(*seeds, split="val")


# --------------------------------------------------------------------------- repetitions
def test_networks_that_differ_in_the_seed_are_known_by_their_records(both: tuple[dict, Shared]) -> None:
    document, shared = both
    found = {entry["network"]: entry for entry in document["repetitions"]}
    assert list(found) == ["teacher", "student_kd"]
    student = found["student_kd"]
    assert (student["known_by"], student["members"]) == (RECORDS, ["seed_0/student_kd", "seed_1/student_kd"])
    assert student["seeds"]["seed_1/student_kd"]["teacher.train.seed"] == 1
    values = [document["networks"][name]["test"]["macro_f1"]["value"] for name in student["members"]]
    assert student["figures"]["macro_f1"]["mean"] == pytest.approx(np.mean(values))
    assert student["figures"]["macro_f1"]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert set(student["figures"]) == set(HEADLINE)
    (pair,) = [e for e in document["agreement"] if {e["first"], e["second"]} == set(student["members"])]
    assert student["agreement"]["pairs"] == 1
    assert student["agreement"]["same_stage"]["mean"] == pair["same_stage"]["value"]
    told = page(document, shared)
    assert "as the records of their trainings say" in told
    assert "teacher.train.seed 1" in told


def test_another_recipe_is_no_repetition_and_may_not_be_declared_one(tmp_path: Path) -> None:
    folders = [write_assessed(tmp_path / f"e{k}", answers(k), seed=k, epochs=6 + k) for k in (0, 1)]
    document, shared = compared(*folders)
    assert document["repetitions"] == []
    assert "Every network was trained once, as far as is known" in page(document, shared)
    changed = {row["setting"]: row["values"] for row in document["settings"] if row["area"] == "student_kd"}
    assert changed["train.epochs"] == {"e0": 6, "e1": 7}
    with pytest.raises(InputError, match=r"student_kd: teacher\.train\.epochs, train\.epochs in e0 and e1"):
        check_declared(read(*folders))


def test_runs_without_records_of_trainings_may_be_declared_repetitions(tmp_path: Path) -> None:
    folders = [write_assessed(tmp_path / f"r{k}", answers(k)) for k in range(3)]
    assert compared(*folders)[0]["repetitions"] == []
    check_declared(read(*folders))
    document, shared = compared(*folders, same_but_seed=True)
    assert [(e["network"], e["known_by"], e["agreement"]["pairs"]) for e in document["repetitions"]] == [
        ("teacher", DECLARED, 3), ("student_kd", DECLARED, 3),
    ]  # fmt: skip
    assert "as the user declared" in page(document, shared)
    assert "How networks of r0, r1 and r2 were trained is not known" in page(document, shared)
    other = write_assessed(tmp_path / "other", answers(5), stamp=UNFIT)
    with pytest.raises(InputError, match="other data in r0 and other"):
        check_declared(read(folders[0], other))
    alone = write_assessed(tmp_path / "alone", answers(5, networks={"student_plain": 1.0}))
    with pytest.raises(InputError, match="no network of the same name"):
        check_declared(read(folders[0], alone))


def test_a_shared_network_is_no_repetition_of_itself_and_is_named(tmp_path: Path) -> None:
    folders = [write_assessed(tmp_path / f"r{k}", answers(0), seed=0) for k in (0, 1)]
    document, shared = compared(*folders)
    assert document["repetitions"] == []
    assert "r0/teacher and r1/teacher are one and the same network: pairs name it r0/teacher." in page(document, shared)
    assert {frozenset((pair["first"], pair["second"])) for pair in document["comparisons"]} == {
        frozenset(("r0/student_kd", "r0/teacher"))
    }
    assert len(document["agreement"]) == 1
    assert set(document["networks"]) == {"r0/teacher", "r0/student_kd", "r1/teacher", "r1/student_kd"}


def test_other_numbers_of_parameters_are_no_repetition(tmp_path: Path) -> None:
    folders = [write_assessed(tmp_path / f"r{k}", answers(k)) for k in range(2)]
    metrics = read_json(folders[1] / "metrics.json")
    metrics["networks"]["teacher"]["parameters"] = 23_518_277
    other = write_assessed(tmp_path / "other", answers(1), metrics=metrics)
    with pytest.raises(InputError, match="teacher: 1,000 and 23,518,277 parameters in r0 and other"):
        check_declared(read(folders[0], other))
    fewer = write_assessed(tmp_path / "fewer", answers(1, networks={"teacher": 1.0}))
    with pytest.raises(InputError, match="other networks in r0 and fewer"):
        check_declared(read(folders[0], fewer))


def test_a_seed_that_draws_whose_images_are_learned_from_is_part_of_the_recipe() -> None:
    drawn = {"train": {"seed": 0}, "selection": {"fraction": 0.1, "seed": 0}}
    assert _unseeded(drawn) == _unseeded(drawn | {"train": {"seed": 1}})
    assert _unseeded(drawn) != _unseeded(drawn | {"selection": {"fraction": 0.1, "seed": 1}})


# --------------------------------------------------------------------------- the page
def test_a_verdict_stands_beside_every_figure_and_data_that_differ_are_told_first(tmp_path: Path) -> None:
    folders = [
        write_assessed(tmp_path / "good", answers(0, networks={"student_kd": 1.0})),
        write_assessed(tmp_path / "bad", answers(1, networks={"student_kd": 2.0}), stamp=UNFIT),
    ]
    document, shared = compared(*folders)
    told = page(document, shared)
    assert told.index("Data: Unfit") < told.index("Data: Fit") < told.index("Headline numbers")
    assert "Twins &lt;b&gt; in train." in told
    assert "The runs stand on data that differ in verdict and kind of split" in told
    assert "The runs were prepared differently" in told
    rows = told.split("bad/student_kd")[1:]
    assert all(row.startswith(" (unfit data)") for row in rows)
    assert len(rows) >= 6  # headline, differences, areas, agreement twice and in words, recall, further metrics
    assert pair_table(document)["first_data"].isin(["unfit", "fit"]).all()
    assert "Nothing about liver fibrosis: the data were found unfit" in told


def test_the_page_says_nothing_of_where_runs_lie_and_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    pages = []
    for place in ("here", "there"):
        folders = [write_assessed(tmp_path / place / f"s{k}", answers(k), seed=k) for k in (0, 1)]
        document, shared = compared(*folders)
        pages.append(page(document, shared) + json.dumps(document))
    assert pages[0] == pages[1]
    assert str(tmp_path) not in pages[0]
    assert "http" not in pages[0].replace("http-equiv", "")


def test_settings_that_are_equal_everywhere_are_left_out(both: tuple[dict, Shared]) -> None:
    settings = pd.DataFrame(both[0]["settings"])
    assert set(settings["area"]) == {"teacher", "student_kd", "inputs"}
    assert set(settings.loc[settings["area"] == "teacher", "setting"]) == {"train.seed", "views.seed"}


def test_networks_of_different_runs_are_compared_at_the_thresholds_that_their_own_runs_fixed(tmp_path: Path) -> None:
    folders = []
    for k in (0, 1):
        tested = answers(k)
        fixed = [of_split(part, "val") for part in answers(k + 2)]
        costs = {part.network: {"parameters": 1} for part in tested}
        metrics = metrics_document([*fixed, *tested], costs, STAMP, QUICK)
        folders.append(write_assessed(tmp_path / f"run_{k}", [*fixed, *tested], seed=k, metrics=metrics))
    document, _ = compared(*folders)
    told = [entry for entry in document["comparisons"] if entry["metric"] == "sensitivity"]
    assert told
    for entry in told:
        values = []
        for side in ("first", "second"):
            found = document["networks"][entry[side]]
            metrics = json.loads((folders[int(found["run"][-1])] / "metrics.json").read_text(encoding="utf-8"))
            point = metrics["networks"][found["network"]]["test"]["end_points"][entry["end_point"]]
            values.append(point["operating_points"][entry["rule"]]["sensitivity"]["value"])
        assert entry["difference"]["value"] == pytest.approx(values[0] - values[1], abs=1e-9)
    assert set(pair_table(document)["rule"].dropna()) == {"youden", "sensitivity_95"}
