"""The files of ``prepare`` that name files and persons, written before any check may stop the step.

Owns these files and how errors point to them: an error names groups and counts alone, and can be acted on only by who
can look up which files those are. No digest covers them, save groups.csv once the step has finished. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fibrokd.data.ingest import Refusal
from fibrokd.data.prepared import IDENTITY_COLUMNS
from fibrokd.data.sources import Found
from fibrokd.errors import InputError, SplitError
from fibrokd.files import write_text
from fibrokd.integrity.groups import Groups
from fibrokd.integrity.reasons import counted

EVIDENCE = {
    "groups.csv": "which pictures belong together and by what",
    "identities.csv": "which file each picture is",
    "quarantine.csv": "which files were left out, and why",
    "unmatched.csv": "which files have no stage, and which rows of a label table no file",
}
"""Name of a file → what it says. Attempts that stopped leave them behind, and each writes them anew."""


@dataclass(frozen=True)
class Evidence:
    """What is written down before the checks.

    Args:
        out: Run folder.
        found: Files and rows that were found.
        refusals: Every file and picture that could not be used.
    """

    out: Path
    found: Found
    refusals: tuple[Refusal, ...]

    def write(self) -> None:
        """Write quarantine.csv and unmatched.csv; what an attempt that stopped has left goes."""
        for name in EVIDENCE:
            (self.out / name).unlink(missing_ok=True)
        write_refusals(self.out, self.refusals, self.found)

    @contextmanager
    def explaining(self, left_out: bool = True) -> Iterator[None]:
        """Add to an error how many files had been left out, and where to look up which pictures it means.

        Args:
            left_out: Tell how many; not where the error itself counts them.

        Raises:
            InputError: As inside, with more words.
            SplitError: As inside, with more words.
        """
        try:
            yield
        except (InputError, SplitError) as error:
            error.problem += self._left_out() if left_out else ""
            written = [f"{name} ({says})" for name, says in EVIDENCE.items() if (self.out / name).exists()]
            error.todo += f" Look them up in {self.out}: {'; '.join(written)}."
            raise

    def _left_out(self) -> str:
        reasons = {refusal.path: refusal.reason for refusal in reversed(self.refusals) if refusal.frame is None}
        if not reasons:
            return ""
        told = ", ".join(f"{reason.replace('_', ' ')}: {n}" for reason, n in sorted(Counter(reasons.values()).items()))
        return f" {counted(len(reasons), 'file')} had been left out before ({told})."


def write_refusals(out: Path, refusals: Iterable[Refusal], found: Found) -> None:
    """Write quarantine.csv and unmatched.csv."""
    refused = [(r.path, _number(r.frame), _number(r.part), r.reason, r.detail) for r in refusals]
    write_csv(out / "quarantine.csv", pd.DataFrame(refused, columns=["path", "frame", "part", "reason", "detail"]))
    unmatched = [(item.kind, item.name, item.reason, item.detail) for item in (*found.unmatched, *found.companions)]
    write_csv(out / "unmatched.csv", pd.DataFrame(unmatched, columns=["kind", "name", "reason", "detail"]))


def write_identities(out: Path, table: pd.DataFrame) -> None:
    """Write identities.csv from manifest rows."""
    write_csv(out / "identities.csv", table[["image_id", *IDENTITY_COLUMNS]])


def write_groups(out: Path, image_ids: Sequence[str], groups: Groups, clusters: Sequence[str]) -> None:
    """Write groups.csv, see :meth:`fibrokd.integrity.groups.Groups.to_table`."""
    write_csv(out / "groups.csv", groups.to_table(image_ids, clusters))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, the same bytes everywhere."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _number(value: int | None) -> str:
    """Empty where a whole file is meant."""
    return "" if value is None else str(value)
