"""Step ``prepare``: images in; manifest, groups, splits and the integrity verdict out. Wiring only.

Nothing is dropped silently: whatever is not in manifest.csv is in quarantine.csv, and label rows without a file are
in unmatched.csv, with the files that are no pictures. The folder's files are described in :mod:`fibrokd.data.prepared`.
Identifiers of persons are written as keyed stand-ins only, into identities.csv, on which no digest depends.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from fibrokd.artifacts import Record, begin, read_record
from fibrokd.config import Config
from fibrokd.data.identities import load_secret, secret_path
from fibrokd.data.ingest import IngestJob, Refusal
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.data.manifest import check_manifest, manifest_digest
from fibrokd.data.prepared import IDENTITY_COLUMNS, MANIFEST_COLUMNS
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.shards import Intake, ingest_shards, take_in
from fibrokd.data.sources import DataConfig, Found, find_files
from fibrokd.errors import ArtifactError, ConfigError
from fibrokd.files import digest_bytes, digest_file, digest_json, write_json, write_text
from fibrokd.integrity.controls import ControlsConfig
from fibrokd.integrity.findings import Collection, Findings, survey
from fibrokd.integrity.groups import Groups, group_images, refuse_mixed
from fibrokd.integrity.identity import StemRules, refuse_unnaming
from fibrokd.integrity.page import render_page
from fibrokd.integrity.splitting import SplitConfig, split_images
from fibrokd.integrity.subjects import SubjectsConfig, with_subjects
from fibrokd.integrity.verdict import Verdict, judge
from fibrokd.progress import say, track

STEP = "prepare"
_SHARDS = ".shards"
_OUTPUTS = (
    "manifest.csv", "pixels.npy", "groups.csv", "splits.csv", "quarantine.csv", "unmatched.csv", "notes.csv",
    "dataset.json", "integrity.json", "integrity.html",
)  # fmt: skip


class PrepareConfig(Config):
    """Configuration of the ``prepare`` step."""

    data: DataConfig
    """Where the images are and how their stages are written down."""

    preprocess: PreprocessSpec = PreprocessSpec()
    """What the network is to see."""

    limits: ReadLimits = ReadLimits()
    """What a file may cost before it is refused."""

    frames: FramePolicy = FramePolicy()
    """Which frames of a cine are taken."""

    grouping: Literal["all", "content", "stem"] = "all"
    """Evidence that keeps images on one side of the split. ``stem`` reproduces the published protocol and leaks."""

    stems: StemRules = StemRules()
    """How file names are reduced to what copies share."""

    subjects: SubjectsConfig | None = None
    """A table that says whose picture a file is; replaces the patient keys of the files it knows."""

    mixed_stage_groups: Literal["refuse", "keep", "quarantine"] = "refuse"
    """Images that belong together but carry different stages: stop; keep the labels and report; or set the whole
    group aside. Under ``grouping: stem`` they are kept, as the published protocol does."""

    splits: SplitConfig = SplitConfig()
    """Shares, folds and seed."""

    controls: ControlsConfig = ControlsConfig()
    """Effort of the controls."""

    accept_unfit: bool = False
    """Allow training on data judged unfit; every later result carries the stamp."""

    accept_distrusted_keys: bool = False
    """Go on where more than 10 % of the images lose their patient because the key stands on too many studies."""

    synthetic: bool | None = None
    """The pictures were generated; by default true for the output of the ``phantom`` step. Identifiers of generated
    patients are written down as they are."""

    identity_key: Path | None = None
    """File with the secret that hides identifiers of patients and studies; made on first use, readable by its owner
    only. By default the file that FIBROKD_IDENTITY_KEY names, else ``~/.config/fibrokd/identity.key``. The same secret
    gives the same keys; it must not lie in the run folder. No part of the run's identity."""

    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read images; 0 takes every core. No part of the run's identity."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the result: everything but input paths, the secret and the number of workers."""
        identity = self.as_json()
        del identity["workers"], identity["identity_key"], identity["data"]["root"], identity["data"]["labels"]
        if identity["subjects"]:
            del identity["subjects"]["table"]
        return identity


def run(config: PrepareConfig, out: Path) -> Record:
    """Prepare a collection; an interrupted run goes on where it was, a finished one is left alone.

    Args:
        config: What to prepare, and how.
        out: Run folder, new or of the same configuration and inputs.

    Raises:
        InputError: There is nothing to read, labels cannot be understood, or many patient keys cannot be believed.
        ConfigError: The secret cannot be had, or lies in the run folder.
        SplitError: Images that belong together carry different stages, or a split cannot hold every stage.
        ArtifactError: ``out`` holds something else.
    """
    found = find_files(config.data)
    files, matched = with_subjects(found.files, config.data.root, config.subjects)
    step = begin(out, STEP, config.identity(), _inputs(config, found))
    if step.finished:
        shutil.rmtree(out / _SHARDS, ignore_errors=True)
        return step.record
    synthetic = _is_synthetic(config)
    secret = None if synthetic else _secret(config, out)
    jobs = [
        IngestJob(config.data.root, file, config.preprocess, config.limits, config.frames, secret) for file in files
    ]
    shards = ingest_shards(jobs, out / _SHARDS / _fingerprint(secret), config.workers)
    unlabelled = [Refusal(i.name, None, i.reason, i.detail) for i in found.unmatched if i.kind == "file"]
    intake, groups = _group(take_in(shards, unlabelled), config)
    scale = config.data.stages.scale()
    check_manifest(intake.table, scale)
    if not config.accept_distrusted_keys:
        refuse_unnaming(list(intake.table["patient"]), list(intake.table["study"]))
    splits = split_images(intake.table, groups, scale, config.splits)
    collection = Collection(
        table=intake.table,
        scale=scale,
        files=len(found.files) + sum(item.kind == "file" for item in found.unmatched),
        refused=Counter({r.path: r.reason for r in intake.refusals}.values()),
        unmatched_rows=sum(item.kind == "row" for item in found.unmatched),
        grouping=config.grouping,
        rules=config.stems,
        synthetic=synthetic,
        crop=config.preprocess.crop,
    )
    findings = survey(collection, intake.thumbnails, groups, splits, config.controls)
    verdict = judge(findings)
    _write_tables(out, intake, found)
    _write_groups(out, findings)
    intake.write_pixels(out / "pixels.npy", config.preprocess.size)
    _write_judgement(out, config, findings, verdict)
    record = step.finish(
        _OUTPUTS,
        device="cpu",
        seed=config.splits.seed,
        images=len(intake.table),
        subjects_matched=matched,
        manifest_digest=manifest_digest(intake.table),
    )
    shutil.rmtree(out / _SHARDS)
    _tell(findings, verdict, out)
    return record


# --------------------------------------------------------------------------- inputs
def _inputs(config: PrepareConfig, found: Found) -> dict[str, str]:
    paths = [file.path for file in found.files]
    listed = [[path, _digest(config.data.root / path)] for path in track(paths, "digesting files", len(paths), "file")]
    unmatched = [[item.kind, item.name, item.reason] for item in found.unmatched]
    inputs = {"files": digest_json({"files": listed, "unmatched": unmatched})}
    if config.data.labels is not None:
        below = config.data.root / config.data.labels
        inputs["labels"] = digest_file(below if below.is_file() else config.data.labels)
    if config.subjects is not None:
        inputs["subjects"] = digest_file(config.subjects.table)
    return inputs


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except ArtifactError:
        return "unreadable"  # reading it for its pixels quarantines it with the reason


def _is_synthetic(config: PrepareConfig) -> bool:
    if config.synthetic is not None:
        return config.synthetic
    try:
        return read_record(config.data.root).step == "phantom"
    except ArtifactError:
        return False


def _secret(config: PrepareConfig, out: Path) -> bytes:
    path = secret_path(config.identity_key)
    if path.resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            f"Expected the secret that hides identifiers outside the run folder, found {path}.",
            "Keep it where the folder is not passed on with it: set identity_key elsewhere.",
        )
    return load_secret(path)


def _fingerprint(secret: bytes | None) -> str:
    """Name of the folder of the shards: a resumed run must not mix keys of two secrets."""
    return "clear" if secret is None else digest_bytes(b"shards" + secret)[:8]


# --------------------------------------------------------------------------- groups
def _group(intake: Intake, config: PrepareConfig) -> tuple[Intake, Groups]:
    """Group the frames, and deal with groups that carry several stages as the configuration says."""
    groups = group_images(intake.table, config.grouping, config.stems)
    if config.grouping == "stem" or config.mixed_stage_groups == "keep" or not groups.mixed:
        return intake, groups
    if config.mixed_stage_groups == "refuse":
        refuse_mixed(groups)
    mixed = {group.group for group in groups.mixed}
    aside = np.array([name in mixed for name in groups.names])
    left = intake.without(aside, "mixed_stage_group", "images that belong with it carry other stages")
    return left, group_images(left.table, config.grouping, config.stems)


# --------------------------------------------------------------------------- outputs
def _write_tables(out: Path, intake: Intake, found: Found) -> None:
    _csv(out / "manifest.csv", intake.table[list(MANIFEST_COLUMNS)])
    _csv(out / "identities.csv", intake.table[["image_id", *IDENTITY_COLUMNS]])
    refused = [(r.path, "" if r.frame is None else r.frame, r.reason, r.detail) for r in intake.refusals]
    _csv(out / "quarantine.csv", pd.DataFrame(refused, columns=["path", "frame", "reason", "detail"]))
    unmatched = [(item.kind, item.name, item.reason, item.detail) for item in (*found.unmatched, *found.companions)]
    _csv(out / "unmatched.csv", pd.DataFrame(unmatched, columns=["kind", "name", "reason", "detail"]))
    notes = [note for shard in intake.shards for note in shard.notes]
    _csv(out / "notes.csv", pd.DataFrame(notes, columns=["image_id", "note"]))


def _write_groups(out: Path, findings: Findings) -> None:
    image_ids = findings.collection.table["image_id"]
    _csv(out / "groups.csv", findings.groups.to_table(list(image_ids), findings.evidence_groups.names))
    _csv(out / "splits.csv", findings.splits.to_table(image_ids))


def _csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _write_judgement(out: Path, config: PrepareConfig, findings: Findings, verdict: Verdict) -> None:
    integrity = {
        "verdict": verdict.name,
        "reasons": [vars(reason) for reason in verdict.reasons],
        **findings.as_json(),
        "accepted_unfit": config.accept_unfit,
    }
    write_json(out / "integrity.json", integrity)
    write_text(out / "integrity.html", render_page(integrity))
    stages = config.data.stages
    stamp = verdict.stamp(config.grouping, findings.collection.synthetic, config.accept_unfit)
    write_json(
        out / "dataset.json",
        {
            "stages": {"names": stages.names, "cutoffs": stages.cutoffs},
            "preprocess": config.preprocess.as_json(),
            "stamp": stamp,
        },
    )


def _tell(findings: Findings, verdict: Verdict, out: Path) -> None:
    facts = findings.as_json()
    say(
        f"  {facts['files']} files: {facts['images']} pictures used ({facts['distinct_images']} distinct), "
        f"{facts['quarantined']} set aside"
    )
    splits = ", ".join(f"{name} {sum(counts.values())}" for name, counts in facts["splits"].items())
    say(f"  {facts['groups']['count']} groups by {facts['grouping']} evidence; {splits}")
    say(f"  verdict: {verdict.name}")
    for reason in verdict.reasons[:3]:
        say(f"  - {reason.text}")
    more = len(verdict.reasons) - 3
    say(f"  {f'and {more} more reasons, ' if more > 0 else ''}see {out / 'integrity.html'}")
