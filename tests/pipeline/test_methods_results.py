"""The page of methods shows what studies found, variants included, and refuses what another version wrote."""

import pytest

from fibrokd.errors import ArtifactError
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.study.document import study_document
from fibrokd.evaluation.study.families import Declaration
from fibrokd.evaluation.study.pooled import Trial
from fibrokd.files import write_json
from fibrokd.methods import METHODS
from fibrokd.pipeline.methods_page import methods_page
from fibrokd.pipeline.methods_results import read_studies, results_table, studies_table
from fibrokd.stages import METAVIR, StageScale
from tests.evaluation.test_study import FACTS, answers

TWO = StageScale(METAVIR.names[:2], (1,))
ARMS = {
    "none": Declaration(unaided=True),
    "kd": Declaration(),
    "kd_hot": Declaration(note="T = 9", control=True),
    "kd_two": Declaration(),
}


def _trial(arm, kind, seed, scale=METAVIR):
    said = answers(0.3 if kind == "none" else 0.8, 100 * seed + len(arm), scale=scale)
    return Trial(arm, "tiny", 0.25, seed, said, {**FACTS, "method": {"kind": kind}})


@pytest.fixture(scope="module")
def study():
    trials = [_trial(arm, arm.split("_")[0], seed) for arm in ("none", "kd", "kd_hot") for seed in (0, 1)]
    document = study_document(
        [*trials, _trial("kd_two", "kd", 0, TWO)], ARMS, ("none",), BootstrapConfig(resamples=200)
    )
    counts = {"finished": 7, "planned": 9, "failed": 0}
    return {**document, "cells": counts, "title": "Small", "configuration": "a" * 64, "prepared": "b" * 64}


def test_a_study_is_named_with_its_question_its_cells_and_both_digests(study):
    (line,) = [line for line in studies_table({"little": study}) if line.startswith("| [")]
    assert line == f"| [little](study/little/study.md) | Small | 7 of 9 | `{'a' * 12}` | `{'b' * 12}` |"


def test_every_arm_of_a_method_has_a_line_and_no_other(study):
    lines = results_table("kd", {"little": study})[2:]
    assert [line.split(" | ")[1] for line in lines] == ["`kd`", "`kd_hot` (control; T = 9)", "`kd_two`"]
    assert [line.split(" | ")[2:5] for line in lines] == [
        ["tiny", "25 %", "2"],
        ["tiny", "25 %", "2"],
        ["tiny, F0 and F1 alone", "25 %", "1"],
    ]
    row = next(row for row in study["rows"] if row["arm"] == "kd")
    figure = row["metrics"]["balanced_accuracy"]
    assert f"| {figure['value']:.3f} ± {figure['seed_deviation']:.3f} |" in lines[0]
    (entry,) = [c for c in study["comparisons"] if (c["arm"], c["metric"]) == ("kd", "quadratic_kappa")]
    told = f"`none` {entry['value']:+.3f} [{entry['low']:+.3f}, {entry['high']:+.3f}] |"
    assert lines[0].endswith(told)
    assert entry["value"] > 0


def test_several_references_stand_beside_each_other_and_missing_figures_are_dashes(study):
    row = {**next(row for row in study["rows"] if row["arm"] == "kd"), "note": "a|b", "seeds": [0]}
    blank = {"value": None, "low": None, "high": None, "note": "none", "seed_deviation": None}
    row["metrics"] = {**row["metrics"], "balanced_accuracy": blank}
    entry = {"arm": "kd", "backbone": "tiny", "fraction": 0.25, "metric": "quadratic_kappa"}
    figures = {"x": (0.5, 0.4, 0.6), "y": (-0.1, -0.2, 0.0), "z": (0.1, None, None)}
    compared = [
        {**entry, "reference": name, "value": value, "low": low, "high": high}
        for name, (value, low, high) in figures.items()
    ]
    line = results_table("kd", {"little": {**study, "rows": [row], "comparisons": compared}})[-1]
    assert line.endswith("| `x` +0.500 [+0.400, +0.600]; `y` -0.100 [-0.200, +0.000] |")
    assert "`kd` (a\\|b) | tiny | 25 % | 1 | – |" in line


def test_the_page_has_results_of_all_studies_or_none(study):
    page = methods_page(METHODS, {"little": study, "again": study})
    assert page.count("`kd_hot` (control; T = 9)") == 2
    assert page.count("Results: not studied yet") == len(METHODS) - 2
    assert "tiny" not in methods_page(METHODS)


def test_studies_are_read_by_name_and_those_of_another_version_refused(study, tmp_path):
    write_json(tmp_path / "little" / "study.json", study)
    (tmp_path / "unfinished").mkdir()
    assert list(read_studies(tmp_path)) == ["little"]
    write_json(tmp_path / "little" / "study.json", {**study, "format": 1})
    with pytest.raises(ArtifactError, match="of format 5, found 1"):
        read_studies(tmp_path)
    with pytest.raises(ArtifactError, match="found none"):
        read_studies(tmp_path / "nowhere")
