"""Step ``prepare``: images in; manifest, groups, splits and the integrity verdict out. Wiring only.

Nothing is dropped silently: whatever is not in manifest.csv is in quarantine.csv, and label rows without a file are
in unmatched.csv, with the files that are no pictures. The folder's files are described in :mod:`fibrokd.data.prepared`.
Identifiers of persons are written as keyed stand-ins only, into identities.csv, on which no digest depends.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from fibrokd.artifacts import Record, begin
from fibrokd.config import Config
from fibrokd.data.identities import load_secret, secret_path
from fibrokd.data.ingest import IngestJob, Refusal
from fibrokd.data.intake import Intake, take_in
from fibrokd.data.isolation import BLAMES, WorkerLimits
from fibrokd.data.limits import FramePolicy, ReadLimits
from fibrokd.data.manifest import check_manifest, manifest_digest
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.shards import Shard
from fibrokd.data.sources import DataConfig, Found, list_files, refuse_none
from fibrokd.data.walking import locate
from fibrokd.errors import ArtifactError, ConfigError
from fibrokd.files import digest_file, digest_json
from fibrokd.integrity.card import CollectionCard, load_card, phantom_card
from fibrokd.integrity.collection import Collection, PictureEvidence, count_refused
from fibrokd.integrity.controls import ControlsConfig
from fibrokd.integrity.findings import survey
from fibrokd.integrity.groups import Groups, group_images, refuse_mixed
from fibrokd.integrity.identity import StemRules, refuse_unnaming
from fibrokd.integrity.links import Link
from fibrokd.integrity.near_duplicates import NearConfig, near_links
from fibrokd.integrity.splitting import SplitConfig, Splits, split_images
from fibrokd.integrity.subjects import SubjectsConfig, with_subjects
from fibrokd.integrity.verdict import judge
from fibrokd.pipeline.phantom_pictures import are_of_phantom_step
from fibrokd.pipeline.prepare_evidence import EVIDENCE, Evidence, write_groups, write_identities
from fibrokd.pipeline.prepare_shards import SHARDS, read_shards
from fibrokd.pipeline.prepared_folder import Outcome, tell, write_facts, write_folder
from fibrokd.progress import track

STEP = "prepare"


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

    without_fan: Literal["keep", "refuse"] | None = None
    """Frames of which nothing can be blackened, for no fan is found (or ``preprocess.crop: full`` looks for none) and
    the file declares no tissue: ``refuse`` them as ``no_fan``; or ``keep`` them whole, with whatever is burned in.
    By default refuse, but keep generated pictures: nobody's name is in them."""

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

    near: NearConfig = NearConfig()
    """When two pictures count as near-duplicates, and how they are searched."""

    controls: ControlsConfig = ControlsConfig()
    """Effort of the controls."""

    card: Path | None = None
    """YAML file with the card of the collection: where it comes from, who may use it, how its stages were found.
    Without one the verdict is ``caution`` at best, and a form to fill in is written to OUT. Synthetic cohorts of
    ``fibrokd phantom`` bring their own."""

    accept_unfit: bool = False
    """Allow training on data judged unfit; every later result carries the stamp."""

    accept_distrusted_keys: bool = False
    """Go on where more than 10 % of the images lose their patient because the key stands on too many studies."""

    synthetic: bool | None = None
    """The pictures were generated; by default true where all files are those that the ``phantom`` step recorded in
    data.root, unaltered. Identifiers of generated patients are written down as they are."""

    identity_key: Path | None = None
    """File with the secret that hides identifiers of patients and studies; made on first use, readable by its owner
    only. By default the file that FIBROKD_IDENTITY_KEY names, else ``~/.config/fibrokd/identity.key``. The same secret
    gives the same keys; it must not lie in the run folder. No part of the run's identity."""

    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read images; 0 takes every core. No part of the run's identity."""

    isolation: WorkerLimits | None = WorkerLimits()
    """What one file may cost the process that reads it. ``null`` with one worker reads in this process, which a
    damaged file may then kill: for files made by whoever calls. No part of the run's identity."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the result: everything but input paths, the secret, and workers and their limits."""
        identity = self.as_json()
        del identity["workers"], identity["isolation"], identity["identity_key"], identity["card"]
        del identity["data"]["root"], identity["data"]["labels"]
        if identity["subjects"]:
            del identity["subjects"]["table"]
        if not self.data.facts:  # came later: folders of before keep their digest
            del identity["data"]["facts"]
        return identity


def run(config: PrepareConfig, out: Path) -> Record:
    """Prepare a collection; an interrupted run goes on where it was, a finished one is left alone.

    Files that took their worker with them are tried again by a run that goes on, so that higher limits help; after a
    finished one choose a new OUT. A script that calls this needs ``if __name__ == "__main__"``, see
    :mod:`fibrokd.data.isolation`.

    Args:
        config: What to prepare, and how.
        out: Run folder: new, of the same configuration and inputs, or one in which an attempt was stopped before it
            wrote its results. Shards whose making has not changed are kept.

    Raises:
        InputError: There is nothing to read, labels cannot be understood, or many patient keys cannot be believed.
        ConfigError: The secret cannot be had, or lies in the run folder.
        SplitError: Images that belong together carry different stages, or a split cannot hold every stage.
        ArtifactError: ``out`` holds something else.
    """
    found = list_files(config.data, config.isolation)
    if not found.files:
        _refuse_none(found, config, out)
    files, matched = with_subjects(found.files, config.data.root, config.subjects)
    digests = _digests(config, found)
    step = begin(out, STEP, config.identity(), _inputs(config, found, digests), replaceable=(SHARDS, *EVIDENCE))
    if step.finished:
        shutil.rmtree(out / SHARDS, ignore_errors=True)
        return step.record
    phantom = are_of_phantom_step(config.data.root, digests)
    synthetic = phantom if config.synthetic is None else config.synthetic
    secret = None if synthetic else _secret(config, out)
    without_fan = config.without_fan or ("keep" if synthetic else "refuse")
    jobs = [
        IngestJob(config.data.root, file, config.preprocess, config.limits, config.frames, secret, without_fan)
        for file in files
    ]
    shards = read_shards(jobs, digests, out, config.workers, config.isolation)
    scale = config.data.stages.scale()
    intake, near, groups, splits = _checked(shards, found, config, out)
    refused = count_refused(intake.refusals, set(intake.table["path"]))
    collection = Collection(
        table=intake.table,
        scale=scale,
        files=len(found.files) + sum(item.kind == "file" for item in found.unmatched),
        refused=refused.files,
        refused_pictures=refused.pictures,
        unmatched_rows=sum(item.kind == "row" for item in found.unmatched),
        grouping=config.grouping,
        rules=config.stems,
        synthetic=synthetic,
        crop=config.preprocess.crop,
        card=_card(config, intake, phantom),
    )
    pictures = PictureEvidence(near, config.near.threshold if config.near.enabled else None, intake.margins)
    findings = survey(collection, intake.thumbnails, groups, splits, config.controls, pictures)
    verdict = judge(findings)
    outcome = Outcome(config.preprocess, intake, found, findings, verdict, config.accept_unfit)
    outputs = write_folder(out, outcome) + write_facts(out, intake.table, files, config.data.facts, plain=synthetic)
    record = step.finish(
        outputs,
        device="cpu",
        seed=config.splits.seed,
        images=len(intake.table),
        subjects_matched=matched,
        manifest_digest=manifest_digest(intake.table),
        isolation=config.isolation.as_json() if config.isolation else None,
        workers_lost=Counter(refusal.reason for refusal in intake.refusals if refusal.reason in BLAMES),
    )
    shutil.rmtree(out / SHARDS)
    tell(findings, verdict, out)
    return record


# --------------------------------------------------------------------------- inputs
def _digests(config: PrepareConfig, found: Found) -> dict[str, str]:
    paths = [file.path for file in found.files]
    tracked = track(paths, "digesting files", len(paths), "files")
    return {path: _digest(locate(config.data.root, path)) for path in tracked}


def _inputs(config: PrepareConfig, found: Found, digests: Mapping[str, str]) -> dict[str, str]:
    listed = [[path, digest] for path, digest in digests.items()]
    unmatched = [[item.kind, item.name, item.reason] for item in found.unmatched]
    inputs = {"files": digest_json({"files": listed, "unmatched": unmatched})}
    if config.data.labels is not None:
        below = config.data.root / config.data.labels
        inputs["labels"] = digest_file(below if below.is_file() else config.data.labels)
    if config.subjects is not None:
        inputs["subjects"] = digest_file(config.subjects.table)
    if config.card is not None:
        inputs["card"] = digest_file(config.card)
    return inputs


def _refuse_none(found: Found, config: PrepareConfig, out: Path) -> None:
    """Refuse a collection without one stage, and leave behind which files and rows it has."""
    begin(out, STEP, config.identity(), _inputs(config, found, {}), replaceable=(SHARDS, *EVIDENCE))
    evidence = Evidence(out, found, tuple(_unlabelled(found)))
    evidence.write()
    with evidence.explaining(left_out=False):
        refuse_none(config.data, found)


def _unlabelled(found: Found) -> list[Refusal]:
    return [Refusal(item.name, None, item.reason, item.detail) for item in found.unmatched if item.kind == "file"]


def _digest(path: Path) -> str:
    try:
        return digest_file(path)
    except ArtifactError:
        return "unreadable"  # reading it for its pixels quarantines it with the reason


def _secret(config: PrepareConfig, out: Path) -> bytes:
    path = secret_path(config.identity_key)
    if path.resolve().is_relative_to(out.resolve()):
        raise ConfigError(
            f"Expected the secret that hides identifiers outside the run folder, found {path}.",
            "Keep it where the folder is not passed on with it: set identity_key elsewhere.",
        )
    return load_secret(path)


# --------------------------------------------------------------------------- checks and groups
def _checked(
    shards: Sequence[Shard], found: Found, config: PrepareConfig, out: Path
) -> tuple[Intake, list[Link], Groups, Splits]:
    """Take the frames in, check, group and split them; whatever stops this leaves behind what it is about."""
    unlabelled = _unlabelled(found)
    refusals = (*(refusal for shard in shards for refusal in shard.refusals), *unlabelled)
    scale = config.data.stages.scale()
    evidence = Evidence(out, found, refusals)
    evidence.write()
    with evidence.explaining(left_out=False):
        taken = take_in(shards, unlabelled)
    with evidence.explaining():
        intake, near, groups = _group(taken, config, out)
        check_manifest(intake.table, scale)
        if not config.accept_distrusted_keys:
            refuse_unnaming(list(intake.table["patient"]), list(intake.table["study"]))
        return intake, near, groups, split_images(intake.table, groups, scale, config.splits)


def _group(intake: Intake, config: PrepareConfig, out: Path) -> tuple[Intake, list[Link], Groups]:
    """Group the frames, and deal with groups that carry several stages as the configuration says."""
    write_identities(out, intake.table)
    near = _near(intake, config.near)
    groups = group_images(intake.table, config.grouping, config.stems, near)
    whole = groups if config.grouping == "all" else group_images(intake.table, "all", config.stems, near)
    write_groups(out, list(intake.table["image_id"]), groups, whole.names)
    if config.grouping == "stem" or config.mixed_stage_groups == "keep" or not groups.mixed:
        return intake, near, groups
    if config.mixed_stage_groups == "refuse":
        refuse_mixed(groups)
    mixed = {group.group for group in groups.mixed}
    aside = np.array([name in mixed for name in groups.names])
    left = intake.without(aside, "mixed_stage_group", "images that belong with it carry other stages")
    near = _near(left, config.near)
    return left, near, group_images(left.table, config.grouping, config.stems, near)


def _near(intake: Intake, config: NearConfig) -> list[Link]:
    """Near-duplicates among the frames of a collection; identical content is evidence of its own."""
    if not config.enabled:
        return []
    contents = list(intake.table["pixel_digest"])
    links = near_links(intake.fingerprints(np.arange(len(contents))), config)
    return [link for link in links if contents[link.a] != contents[link.b]]


# --------------------------------------------------------------------------- card
def _card(config: PrepareConfig, intake: Intake, phantom: bool) -> CollectionCard | None:
    if config.card is not None:
        return load_card(config.card)
    if phantom:
        return phantom_card(intake.table["patient"].nunique(), len(intake.table))
    return None
