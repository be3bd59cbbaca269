"""The command that judges claims: it reads what studies leave behind, and says what is not there."""

import pytest
from typer.testing import CliRunner

from fibrokd.cli import cli
from fibrokd.config import parse_config
from fibrokd.errors import ArtifactError, ConfigError
from fibrokd.evaluation.claims.register import ClaimsConfig
from fibrokd.files import read_json, write_json
from fibrokd.pipeline import claims
from fibrokd.pipeline.study.results import RESULTS, keep
from tests.evaluation.test_study import FACTS, answers


def register(arms=("medium/kd", "medium/teacher:big"), kind="kd"):
    contrast = {"plus": [arms[0]], "minus": list(arms[1:]), "above": 0}
    one = {"methods": [kind], "says": "It helps.", "regime": "all", "contrasts": [contrast]}
    return parse_config({"registered": "now", "resamples": 100, "seeds": 2, "claims": {"a": one}}, ClaimsConfig)


@pytest.fixture
def studies(tmp_path):
    def cell(name, arm, skill, seed=0, backbone="tiny", fraction=1.0):
        where = {"arm": arm, "backbone": backbone, "fraction": fraction, "seed": seed}
        keep(tmp_path / "runs", name, answers(skill, seed), {"identity": name, "cell": where, **FACTS})

    for seed in range(2):
        cell(f"kd-tiny-f1-s{seed}", "kd", 0.9, seed)
        cell(f"kd_more-tiny-f1-s{seed}", "kd_more", 0.1, seed)
        cell(f"kd-tiny-f0.25-s{seed}", "kd", 0.3, seed, fraction=0.25)
        cell(f"two-tiny-f1-s{seed}", "two", 0.9, seed)
        cell(f"two-resnet18-f1-s{seed}", "two", 0.2, seed, backbone="resnet18")
    cell("teacher_big-f1", "big", 0.5)
    (tmp_path / "docs").mkdir()
    (tmp_path / "runs" / RESULTS).rename(tmp_path / "docs" / "medium")
    (tmp_path / "docs" / "medium" / "study.json").write_text("{}")
    return tmp_path / "docs"


def test_arms_are_told_apart_by_name_share_and_student(studies):
    assert "| reproduced |" in claims.run(register(), studies)
    assert "| contradicted |" in claims.run(register(("medium/kd_more", "medium/teacher:big")), studies)
    assert "| contradicted |" in claims.run(register(("medium/kd at 0.25", "medium/teacher:big")), studies)
    assert "| reproduced |" in claims.run(register(("medium/two on tiny", "medium/two on resnet18")), studies)


def test_where_an_arm_has_several_students_one_must_be_named(studies):
    with pytest.raises(ArtifactError, match="found resnet18, tiny"):
        claims.run(register(("medium/two", "medium/kd")), studies)


def test_a_study_that_is_not_there_has_no_cells_yet(studies):
    page = claims.run(register(("other/kd", "medium/kd")), studies)
    assert "Missing: 2 seeds that other/kd (0 networks), medium/kd (2 networks) have in common." in page


def test_a_half_written_cell_is_no_cell(studies):
    (studies / "medium" / "kd-tiny-f1-s1.json").unlink()
    assert "Missing: 2 seeds that medium/kd (1 networks)" in claims.run(register(), studies)


@pytest.mark.parametrize("change", [{"method": {"kind": "kd", "alpha": 0.1}}, {"inputs": {"prepared": "other"}}])
def test_cells_of_an_arm_that_were_made_in_different_ways_are_not_pooled(studies, change):
    path = studies / "medium" / "kd-tiny-f1-s1.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(ArtifactError, match="one method on one input"):
        claims.run(register(), studies)


def test_what_does_not_exist_is_named(studies, tmp_path):
    with pytest.raises(ConfigError, match="found magic"):
        claims.run(register(kind="magic"), studies)
    with pytest.raises(ArtifactError, match="nowhere"):
        claims.run(register(), tmp_path / "nowhere")


def test_the_command_prints_the_page(studies, tmp_path):
    written = tmp_path / "register.yaml"
    written.write_text(
        "registered: now\nresamples: 100\nseeds: 2\nclaims:\n  a:\n    methods: [kd]\n    says: It helps.\n"
        '    regime: all\n    contrasts: [{plus: [medium/kd], minus: ["medium/teacher:big"], above: 0}]\n'
    )
    done = CliRunner().invoke(cli, ["claims", str(written), "--studies", str(studies)])
    assert done.exit_code == 0
    assert "| It helps. | `kd` (our reading) | all | reproduced |" in done.stdout
