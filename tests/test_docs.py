"""What the documents say is true of the tree: links, commands, configurations, and what must never be committed."""

import gzip
import math
import re
import subprocess
from pathlib import Path

import pytest
from typer.main import get_command

from fibrokd.cli import cli
from fibrokd.config import load_config
from fibrokd.evaluation.claims.findings import reported
from fibrokd.evaluation.claims.register import ClaimsConfig
from fibrokd.evaluation.study.picture import study_picture
from fibrokd.evaluation.study.table import study_markdown
from fibrokd.files import read_json
from fibrokd.methods import METHODS
from fibrokd.pipeline import claims
from fibrokd.pipeline.methods_page import methods_page
from fibrokd.pipeline.methods_reported import read_reporters
from fibrokd.pipeline.methods_results import read_studies
from fibrokd.pipeline.study.grid import cells, configuration_digest
from fibrokd.pipeline.study.plan import StudyConfig
from fibrokd.pipeline.study.step import PICTURE

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\n") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_and_configuration_that_is_named_exists(document):
    text = document.read_text(encoding="utf-8")
    commands = set(get_command(cli).commands)
    for name in re.findall(r"(?:^|`)(?:\.venv/bin/)?fibrokd ([a-z][a-z-]+)\b", text, flags=re.MULTILINE):
        assert name in commands, name
    for name in re.findall(r"configs/[\w/]+\.yaml", text):
        assert (ROOT / name).exists(), name


def test_the_makefile_offers_what_the_readme_names():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    assert named <= targets
    assert {"setup", "demo", "app", "test", "test-all", "check", "lock"} <= targets


def test_no_registry_address_no_absolute_path_and_nothing_large_is_committed():
    for path in _tracked():
        assert path.stat().st_size < 1_000_000, path
        if path.suffix in {".png", ".jpg"}:
            continue
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
        if path.suffix in {".lock", ".toml", ".yaml", ".yml"} or path.name in {"Makefile", "run"}:
            assert not re.search(r"https?://", text), path
        assert not re.search(r"--(index-url|extra-index-url|find-links)[ =]", text) or path == Path(__file__), path
        if path.suffix in {".py", ".yaml", ".json", ".csv", ".gz", ".toml", ".lock"} and path != Path(__file__):
            assert not re.search(r"[\"' ](/root/|/work/)", text), path


def test_the_changelog_has_an_unreleased_block():
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_page_of_methods_is_what_the_catalogue_says():
    studies = ROOT / "docs" / "study"
    page = methods_page(METHODS, read_studies(studies), _register(), read_reporters(studies))
    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == page + "\n"


def test_every_committed_study_is_that_of_the_configuration_of_its_name():
    for name, study in read_studies(ROOT / "docs" / "study").items():
        (path,) = (ROOT / "configs" / "study").rglob(f"{name}.yaml")
        config = load_config(path, StudyConfig)
        assert (study["title"], study["configuration"]) == (config.title, configuration_digest(config)), name
        assert study["cells"]["planned"] == sum(1 for _ in cells(config)), name


def test_every_committed_table_and_picture_is_what_its_study_says():
    for name, study in read_studies(ROOT / "docs" / "study").items():
        folder = ROOT / "docs" / "study" / name
        assert (folder / "study.md").read_text(encoding="utf-8") == study_markdown(study, PICTURE), name
        description = re.search(r"<desc>(.*)</desc>", study_picture(study) or "")
        assert description is not None
        assert description[0] in (folder / PICTURE).read_text(encoding="utf-8"), name


def _register():
    return load_config(ROOT / "configs" / "study" / "claims.yaml", ClaimsConfig)


def test_what_was_not_tried_is_of_methods_that_exist_and_on_the_page_of_claims():
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for kind, what in _register().not_attempted.items():
        assert kind in METHODS
        assert f"* {_marked(kind)}: {what.strip()}" in page


def test_every_registered_claim_is_on_the_page_of_claims():
    page = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    for name, claim in _register().claims.items():
        of = ", ".join(_marked(kind) for kind in claim.methods)
        assert f"## {name}\n\n{claim.says} Of {of}: **" in page, name


def _marked(kind):
    """How the page calls a method: what is a reconstruction is called our reading wherever users meet it."""
    return f"`{kind}` (our reading)" if METHODS[kind].is_our_reading else f"`{kind}`"


def test_every_figure_that_a_claim_reads_is_reported_by_the_committed_cells():
    findings = [finding for claim in _register().claims.values() for finding in claim.findings]
    wanted = {(finding.of, finding.fact) for finding in findings}
    wanted |= {(finding.less or finding.of, finding.less_fact or finding.fact) for finding in findings}
    for arm, fact in wanted:
        folder = ROOT / "docs" / "study" / arm.study
        cells = [path for path in folder.glob(f"{arm.arm}-*.json") if not path.name.endswith(".failed.json")]
        assert cells, arm
        for cell in cells:
            assert math.isfinite(reported(read_json(cell), fact, cell.stem))


@pytest.mark.slow
def test_the_page_of_claims_is_what_the_committed_cells_say():
    page = claims.run(_register(), ROOT / "docs" / "study")
    assert (ROOT / "docs" / "claims.md").read_text(encoding="utf-8") == page + "\n"
