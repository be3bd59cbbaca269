"""Every method by the command of its section in docs/methods.md, assessed, released and asked: what a user would do."""

import shlex

import pytest
from typer.testing import CliRunner

from fibrokd.cli import cli
from fibrokd.files import read_json
from fibrokd.methods import METHODS
from fibrokd.pipeline import distill
from fibrokd.pipeline.methods_page import command
from fibrokd.serving.bundle import Bundle
from tests.factories import write_prepared
from tests.methods.arrangements import ARRANGEMENTS
from tests.methods.tiny import ROOT, configuration

TINY = ["pretrained=false", "minimum_balanced_accuracy=0.0", "train.batch_size=10", "train.epochs=4"]
TINY += ["train.early_stopping=null", "train.runtime.precision=fp32", "train.runtime.memory_format=nchw"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder as the commands expect it: prepared data of two frames a patient, and a finished teacher."""
    root = tmp_path_factory.mktemp("mine")
    prepared = write_prepared(root / "prepared", patients=50, frames=2)
    distill.run(configuration(prepared, {"kind": "none"}), root / "teacher")
    return root


def _run(*words):
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def _smaller(kind):
    """What lets the method's own configuration run in seconds, and nothing else of it changed."""
    how = ARRANGEMENTS.get(kind, {})
    changes = [f"backbone={how.get('student', 'tiny')}", *TINY]
    changes += [f"method.{name}={value}" for name, value in how.get("method", {}).items()]
    changes += [f"train.{name}={value}" for name, value in how.get("train", {}).items() if value is not None]
    return changes


@pytest.mark.parametrize("kind", METHODS)
def test_its_command_leads_to_a_bundle_that_passes_its_own_golden_cases(mine, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(ROOT)  # the command names its configuration from there
    words = shlex.split(command(METHODS[kind]))
    name = words[3].rpartition("/")[2]
    student, given = tmp_path / name, [word.replace("runs/mine", str(mine)) for word in words[4:]]
    changes = [word for change in _smaller(kind) for word in ("--set", change)]
    _run(words[1], words[2], student, *given, *changes)
    card = read_json(student / "card.json")
    assert card["method"]["kind"] == kind

    networks = tmp_path / "assess.yaml"
    stages = card["stages"] if len(card["stages"]) < 5 else None
    networks.write_text(
        f"prepared: {mine / 'prepared'}\nnetworks: {{{name}: {student}}}\nsplits: [test]\nlatency_repeats: 1\n"
    )
    _run("assess", networks, tmp_path / "assess", *(["--set", f"stages={stages}"] if stages else []))
    document = read_json(tmp_path / "assess" / "metrics.json")
    assert document["networks"][name]["test"]["images"] == 4 * len(card["stages"])

    wanted = tmp_path / "release.yaml"
    wanted.write_text(f"student: {student}\nprepared: {mine / 'prepared'}\nassess: {tmp_path / 'assess'}\n")
    _run("release", wanted, tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    assert list(bundle.scale.names) == card["stages"]
    assert bundle.card.parity["images"] == 4 * len(card["stages"])
    assert bundle.card.parity["largest_difference"] < 1e-5
    _run("verify", tmp_path / "bundle")
