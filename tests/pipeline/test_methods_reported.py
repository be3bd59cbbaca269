"""What networks report of themselves: the figures that a method names, of its own networks, in the order of seeds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fibrokd.files import write_json
from fibrokd.methods import METHODS
from fibrokd.pipeline.methods_page import methods_page
from fibrokd.pipeline.methods_reported import read_reporters, reported_table

ROOT = Path(__file__).parents[2]
SPEC = dataclasses.replace(METHODS["kd"], told={"width": "neurons", "deep.errors.1": "errors"})


def _cell(folder, arm, seed, kind, facts):
    cell = {"arm": arm, "backbone": "tiny", "fraction": 0.25, "seed": seed}
    folder.mkdir(exist_ok=True)
    write_json(
        folder / f"{arm}-tiny-f0.25-s{seed}.json", {"cell": cell, "method": {"kind": kind}, "method_facts": facts}
    )


@pytest.fixture
def studies(tmp_path):
    for seed, width in ((10, 1.0), (2, 2000.0), (1, 0.00123456)):
        _cell(tmp_path / "small", "odd", seed, "kd", {"width": width, "deep": {"errors": [0, 0.25]}})
    _cell(tmp_path / "small", "silent", 0, "kd", {})
    _cell(tmp_path / "small", "other", 0, "none", {"width": 5})
    write_json(tmp_path / "small" / "teacher_teacher-f1.json", {"cell": {"arm": "teacher"}, "parameters": 1})
    write_json(tmp_path / "small" / "study.json", {"rows": []})
    return tmp_path


def test_a_line_tells_all_seeds_of_an_arm_in_their_order_and_once_what_they_agree_in(studies):
    lines = reported_table(SPEC, read_reporters(studies))
    assert lines[2].split(" | ")[-2:] == ["neurons", "errors |"]
    assert lines[4:] == [
        "| small | `odd` | tiny | 25 % | 0.00123 / 2,000 / 1 | 0.250 |",
        "| small | `silent` | tiny | 25 % | – | – |",
    ]


def test_a_method_that_names_no_figure_or_was_not_studied_has_no_table(studies):
    found = read_reporters(studies)
    assert reported_table(METHODS["kd"], found) == []
    assert reported_table(dataclasses.replace(SPEC, kind="vam"), found) == []
    page = methods_page({"kd": SPEC, "none": METHODS["none"]}, {}, reporters=found)
    assert page.count("report of themselves") == 1


def test_what_methods_name_is_what_their_committed_networks_report():
    known = read_reporters(ROOT / "docs" / "study")
    for spec in (spec for spec in METHODS.values() if spec.told):
        lines = reported_table(spec, known)
        assert len(lines) > 4, spec.kind
        assert all("–" not in line for line in lines[4:]), spec.kind
