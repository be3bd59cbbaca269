"""Writes the files of a ``prepared/`` folder and says what was found. Part of the step ``prepare``; decides nothing.

What the files hold is described in :mod:`fibrokd.data.prepared`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import UInt8

from fibrokd.data.devices import fact_label
from fibrokd.data.intake import Intake
from fibrokd.data.prepared import FACTS_FILE, LEVELS_FILE, MANIFEST_COLUMNS
from fibrokd.data.preprocess import PreprocessSpec
from fibrokd.data.sources import Found, SourceFile
from fibrokd.files import write_json, write_text
from fibrokd.integrity.card import card_form
from fibrokd.integrity.findings import Findings
from fibrokd.integrity.levels import level_table
from fibrokd.integrity.page import render_page
from fibrokd.integrity.reasons import counted
from fibrokd.integrity.verdict import Verdict
from fibrokd.pipeline.prepare_evidence import write_csv, write_groups, write_identities, write_refusals
from fibrokd.progress import say

CARD_FORM = "card_form.yaml"
FAR_FROM_WANTED = 0.05
"""Above this difference of a share from what was asked for, of any stage, it is said why."""


@dataclass(frozen=True)
class Outcome:
    """Everything that ``prepare`` writes down.

    Args:
        preprocess: What was done to every frame.
        intake: The frames.
        found: The files.
        findings: What the integrity check found out.
        verdict: What it makes of it.
        accepted_unfit: Training on unfit data was allowed.
    """

    preprocess: PreprocessSpec
    intake: Intake
    found: Found
    findings: Findings
    verdict: Verdict
    accepted_unfit: bool


def write_folder(out: Path, outcome: Outcome) -> list[str]:
    """Write all files; returns the names of those that digests cover.

    Not covered are the files that name files and persons, so that they can be left out when the folder is passed on.
    """
    _write_tables(out, outcome.intake, outcome.found)
    _write_groups(out, outcome.findings)
    outcome.intake.write_pixels(out / "pixels.npy", outcome.preprocess.size)
    _write_judgement(out, outcome)
    names = [
        "manifest.csv", "pixels.npy", "groups.csv", LEVELS_FILE, "splits.csv", "notes.csv", "dataset.json",
        "integrity.json", "integrity.html",
    ]  # fmt: skip
    if outcome.findings.collection.card is None:
        write_text(out / CARD_FORM, card_form())
        names.append(CARD_FORM)
    return names


def write_facts(
    out: Path, table: pd.DataFrame, files: Sequence[SourceFile], names: Sequence[str], plain: bool
) -> list[str]:
    """Write facts.csv where any are wanted; returns the names of the files written.

    Args:
        out: Run folder.
        table: Manifest with paths.
        files: What the collection says about every file.
        names: Wanted facts.
        plain: Write them down as they are: of generated data.
    """
    if not names:
        return []
    stated = {file.path: dict(file.facts) for file in files}
    columns = {
        name: [text if plain else fact_label(name, text) for path in table["path"] for text in [stated[path][name]]]
        for name in names
    }
    write_csv(out / FACTS_FILE, pd.DataFrame({"image_id": table["image_id"], **columns}))
    return [FACTS_FILE]


def _write_tables(out: Path, intake: Intake, found: Found) -> None:
    write_csv(out / "manifest.csv", intake.table[list(MANIFEST_COLUMNS)])
    write_identities(out, intake.table)
    write_refusals(out, intake.refusals, found)
    write_csv(out / "notes.csv", pd.DataFrame(intake.notes, columns=["image_id", "note"]))


def _write_groups(out: Path, findings: Findings) -> None:
    image_ids = findings.collection.table["image_id"]
    write_groups(out, list(image_ids), findings.groups, findings.evidence_groups.names)
    write_csv(out / LEVELS_FILE, level_table(findings.collection.table, findings.collection.rules))
    write_csv(out / "splits.csv", findings.splits.to_table(image_ids))


def _write_judgement(out: Path, outcome: Outcome) -> None:
    findings, verdict = outcome.findings, outcome.verdict
    integrity = {
        "verdict": verdict.name,
        "reasons": [vars(reason) for reason in verdict.reasons],
        **findings.as_json(),
        "accepted_unfit": outcome.accepted_unfit,
    }
    write_json(out / "integrity.json", integrity)
    write_text(out / "integrity.html", render_page(integrity, _Pictures(out / "pixels.npy", outcome.intake).get))
    collection = findings.collection
    write_json(
        out / "dataset.json",
        {
            "stages": {"names": collection.scale.names, "cutoffs": collection.scale.cutoffs},
            "preprocess": outcome.preprocess.as_json(),
            "stamp": verdict.stamp(collection.grouping, collection.synthetic, outcome.accepted_unfit),
            "card": collection.card.as_json() if collection.card else None,
        },
    )


class _Pictures:
    """Preprocessed frames by image_id, as they were written."""

    def __init__(self, path: Path, intake: Intake) -> None:
        self._pixels = np.load(path, mmap_mode="r", allow_pickle=False)
        self._rows = {name: row for row, name in enumerate(intake.table["image_id"])}

    def get(self, image_id: str) -> UInt8[np.ndarray, "S S"] | None:
        return np.asarray(self._pixels[self._rows[image_id]])


def _why_not_as_asked(findings: Findings) -> str:
    """Say in percent what was asked for and what came out."""
    parts = findings.splits.splits
    found = parts.counts.sum(axis=1) / parts.counts.sum()
    shares = ", ".join(
        f"{name} {100 * got:.0f} % instead of {100 * parts.wanted[name]:.0f} %"
        for name, got in zip(parts.names, found, strict=True)
    )
    return f"shares differ from those asked for, because groups stay whole and every split gets every stage: {shares}"


def tell(findings: Findings, verdict: Verdict, out: Path) -> None:
    """Say what was found, shortly."""
    facts = findings.as_json()
    say(
        f"  {counted(facts['files'], 'file')}: {facts['files'] - facts['quarantined']} gave "
        f"{counted(facts['images'], 'picture')} ({facts['distinct_images']} distinct), {facts['quarantined']} set aside"
    )
    splits = ", ".join(f"{name} {sum(counts.values())}" for name, counts in facts["splits"].items())
    say(f"  {counted(facts['groups']['count'], 'group')} by {facts['grouping']} evidence; {splits}")
    if facts["worst_deviation"]["splits"] > FAR_FROM_WANTED:
        say(f"  {_why_not_as_asked(findings)}")
    say(f"  verdict: {verdict.name}")
    for reason in verdict.reasons[:3]:
        say(f"  - {reason.text}")
    more = len(verdict.reasons) - 3
    say(f"  {f'and {more} more reasons, ' if more > 0 else ''}see {out / 'integrity.html'}")
