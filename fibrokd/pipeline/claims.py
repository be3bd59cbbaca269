"""Command ``claims``: judges the register of claims by the finished cells of studies. Wiring only.

Trains nothing: cells are read from folders of results, as a study leaves them in ``results/``.
"""

from __future__ import annotations

from pathlib import Path

from fibrokd.errors import ArtifactError, ConfigError
from fibrokd.evaluation.claims.found import TEACHER
from fibrokd.evaluation.claims.judged import judge_claims
from fibrokd.evaluation.claims.page import claims_markdown
from fibrokd.evaluation.claims.register import ArmOf, ClaimsConfig
from fibrokd.evaluation.intervals import BootstrapConfig
from fibrokd.evaluation.study.families import spreads_of
from fibrokd.evaluation.study.pooled import Pool, Trial, pools
from fibrokd.evaluation.study.trainings import Spread
from fibrokd.files import digest_json
from fibrokd.methods import METHODS
from fibrokd.pipeline.study.results import read_trial

_TEACHERS = "teacher_"


def run(config: ClaimsConfig, studies: Path) -> str:
    """Return the page about every claim as Markdown.

    Args:
        config: The register.
        studies: Folder with one folder of results per study, ``STUDY/CELL.json`` and ``.csv.gz``; a study that is not
            there has no cells yet.

    Raises:
        ConfigError: A claim is about a method that does not exist.
        ArtifactError: There is no such folder, an arm has several students and none is named, or its cells were made
            in different ways.
        TableError: Arms of a claim were assessed on different test images.
    """
    if not studies.is_dir():
        raise ArtifactError(f"Expected a folder with results of studies at {studies}, found none.", "Give docs/study.")
    unknown = sorted({kind for claim in config.claims.values() for kind in claim.methods} - METHODS.keys())
    if unknown:
        raise ConfigError(f"Expected kinds of methods, found {', '.join(unknown)}.", "See `fibrokd methods`.")
    wanted = {arm for claim in config.claims.values() for arm in claim.arms}
    trials = {study: _read(studies / study) for study in sorted({arm.study for arm in wanted})}
    sampling = BootstrapConfig(resamples=config.resamples, level=config.level)
    found = {arm: _pool(arm, trials[arm.study], sampling) for arm in wanted}
    spreads = {study: _spreads(own, sampling) for study, own in trials.items()}
    judged = judge_claims(config, {arm: pool for arm, pool in found.items() if pool is not None}, spreads)
    our_readings = {kind for kind, method in METHODS.items() if method.is_our_reading}
    return claims_markdown(config, judged, our_readings)


def _spreads(trials: list[Trial], sampling: BootstrapConfig) -> dict[tuple[str, float, tuple[str, ...], str], Spread]:
    """How far trainings of all arms of a study differ, whether a claim names them or not."""
    return spreads_of(pools([trial for trial in trials if not trial.arm.startswith(TEACHER)], sampling))


def _read(folder: Path) -> list[Trial]:
    """Read all cells of a study."""
    trials = []
    for answers in sorted(folder.glob("*.csv.gz")):
        name = answers.name.removesuffix(".csv.gz")
        arm = TEACHER + name.removeprefix(_TEACHERS).rsplit("-f", 1)[0] if name.startswith(_TEACHERS) else None
        if (folder / f"{name}.json").is_file():
            trials.append(read_trial(folder, name, arm))
    return trials


def _pool(arm: ArmOf, trials: list[Trial], sampling: BootstrapConfig) -> Pool | None:
    own = [trial for trial in trials if trial.arm == arm.arm and trial.fraction == arm.fraction]
    students = sorted({trial.backbone for trial in own})
    if arm.backbone is None and len(students) > 1:
        raise ArtifactError(
            f"Expected one student for {arm}, found {', '.join(students)}.", "Name it in the register: '… on STUDENT'."
        )
    own = [trial for trial in own if arm.backbone in (None, trial.backbone)]
    if len({digest_json([trial.facts.get("method"), trial.facts.get("inputs")]) for trial in own}) > 1:
        raise ArtifactError(
            f"Expected the cells of {arm} to be of one method on one input, found several.",
            "Remove those of an earlier configuration.",
        )
    return next(iter(pools(own, sampling).values()), None)
