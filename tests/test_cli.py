"""The command line: help without torch, errors in two lines, lists for programs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fibrokd.cli import STEPS, cli, main


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from fibrokd.cli import cli; from typer.testing import CliRunner;"
        "result = CliRunner().invoke(cli, ['--help']); print(result.output);"
        "heavy = {'torch', 'pandas', 'numpy', 'sklearn', 'matplotlib', 'pydantic'} & set(sys.modules);"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in (*STEPS, "predict", "verify", "app", "methods"):
        assert name in done.stdout
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("name", STEPS)
def test_every_step_has_help(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "--set" in result.output


@pytest.mark.parametrize("name", STEPS)
def test_help_of_a_step_names_configurations_to_start_from_and_they_exist(name):
    start = STEPS[name].start
    named = re.findall(r"configs/[\w/]+\.yaml", start)
    assert named or name == "compare-views"
    for path in named:
        assert (Path(__file__).parents[1] / path).is_file(), path
    output = " ".join(CliRunner().invoke(cli, [name, "--help"]).output.split())
    assert start.split()[0] in output
    assert all(path in output for path in named)


def test_an_error_is_two_lines_and_exit_code_2(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["fibrokd", "prepare", str(tmp_path / "none.yaml"), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: Expected a configuration file")
    assert lines[1].startswith("→ ")


def test_methods_are_listed_for_programs():
    result = CliRunner().invoke(cli, ["methods", "--json"])
    rows = json.loads(result.output)
    assert {"none", "kd"} <= {row["kind"] for row in rows}
    assert all(set(row) == {"kind", "title", "grades", "reference"} for row in rows)
    assert "Vanilla" in CliRunner().invoke(cli, ["methods"]).output
