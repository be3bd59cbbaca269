"""The artefacts of a run that documents read: JSON documents by path, and one table of images.

Owns how a figure is fetched (:class:`Artefacts`), and what a run must hold for that (:func:`read_artefacts`). Wall
times and peak memory are never fetched: they differ between equal runs, and equal runs give equal documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fibrokd.artifacts import RECORD, read_record
from fibrokd.data.prepared import read_table
from fibrokd.errors import ArtifactError
from fibrokd.evaluation.document import FORMAT
from fibrokd.evaluation.evidence.items import How, Source, Words
from fibrokd.files import read_json

INTEGRITY, DATASET = "prepared/integrity.json", "prepared/dataset.json"
MANIFEST, SPLITS = "prepared/manifest.csv", "prepared/splits.csv"
PREPARE, ASSESS, RELEASE, PHANTOM = (f"{part}/{RECORD}" for part in ("prepared", "assess", "bundle", "phantom"))
METRICS, BUNDLE, LEDGER = "assess/metrics.json", "bundle/bundle.json", "book/ledger.json"
REPORT, INTEGRITY_PAGE = "assess/report.html", "prepared/integrity.html"

OPTIONAL = (RELEASE, BUNDLE, PHANTOM, LEDGER, "book/book.json", f"book/{RECORD}")
TABLE_COLUMNS = ("stage", "split", "site", "scanner", "format")
HEADLINE_SPLIT = "test"


def at(*keys: str | int) -> str:
    """Return the JSON pointer through these keys."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


@dataclass(frozen=True, eq=False)
class Artefacts:
    """What a run left behind.

    Args:
        documents: Path relative to the run folder → JSON data.
        table: One row per image with :data:`TABLE_COLUMNS`: manifest.csv joined with splits.csv by image_id.
        network: The network that the model card is about.
        released: Whether that network is the one in the bundle.
    """

    documents: Mapping[str, Any]
    table: pd.DataFrame
    network: str
    released: bool

    # ------------------------------------------------------------------ fetching figures
    def get(self, file: str, pointer: str = "") -> Any:
        """Return the JSON data at a pointer.

        Raises:
            ArtifactError: There is none.
        """
        node = self.documents.get(file)
        for key in _keys(pointer):
            node = _child(node, key)
        if node is _NOTHING or file not in self.documents:
            raise ArtifactError(
                f"Expected a value at {pointer or '/'} of {file}, found none.",
                "Run the step that writes it again, with this version of fibrokd.",
            )
        return node

    def has(self, file: str, pointer: str = "") -> bool:
        """Whether there is anything but ``null`` at a pointer."""
        try:
            return self.get(file, pointer) is not None
        except ArtifactError:
            return False

    def value(self, file: str, pointer: str) -> Source:
        """Return the value at a pointer."""
        return self._source(file, pointer, "value")

    def interval(self, file: str, pointer: str) -> Source:
        """Return the value with its bounds at a pointer."""
        return self._source(file, pointer, "interval")

    def percent(self, file: str, pointer: str) -> Source:
        """Return the share at a pointer."""
        return self._source(file, pointer, "percent")

    def total(self, file: str, pointer: str) -> Source:
        """Return the sum over the object at a pointer."""
        return self._source(file, pointer, "sum")

    def count(self, file: str, pointer: str) -> Source:
        """Return the number of entries of the list at a pointer."""
        return self._source(file, pointer, "count")

    def keys(self, file: str, pointer: str) -> Source:
        """Return the names in the object at a pointer."""
        return self._source(file, pointer, "keys")

    def rows(self, **wanted: str) -> Source:
        """Return the number of images with these values in :data:`TABLE_COLUMNS`."""
        pointer = "?" + "&".join(f"{column}={value}" for column, value in wanted.items())
        chosen = pd.Series(True, index=self.table.index)
        for column, value in wanted.items():
            chosen &= self.table[column] == value
        return Source(MANIFEST, pointer, "rows", int(chosen.sum()))

    def _source(self, file: str, pointer: str, how: How) -> Source:
        return Source(file, pointer, how, _READ.get(how, lambda found: found)(self.get(file, pointer)))

    def listed(self, file: str, places: Mapping[str, str]) -> Words:
        """Return ``name: value; ….`` of the pointers that lead somewhere; nothing where none does."""
        parts: list[str | Source] = []
        for name, pointer in places.items():
            if self.has(file, pointer):
                parts += [f"; {name}: " if parts else f"{name[:1].upper()}{name[1:]}: ", self.value(file, pointer)]
        return (*parts, ".") if parts else ()

    # ------------------------------------------------------------------ what every document asks
    @property
    def synthetic(self) -> bool:
        """True where the images are simulated."""
        return bool(self.get(INTEGRITY, "/synthetic"))

    @property
    def stamp(self) -> Mapping[str, Any]:
        """Integrity stamp, as metrics.json carries it."""
        stamp: Mapping[str, Any] = self.get(METRICS, "/stamp")
        return stamp

    @property
    def title(self) -> str:
        """Title of the run's report."""
        return str(self.get(ASSESS, "/config/title"))

    @property
    def networks(self) -> list[str]:
        """Networks that were assessed on the headline split, in the order of the tables."""
        return [name for name, entry in self.get(METRICS, "/networks").items() if HEADLINE_SPLIT in entry]

    @property
    def splits(self) -> list[str]:
        """Splits that hold images."""
        return list(self.get(INTEGRITY, "/splits"))

    @property
    def scale(self) -> list[str]:
        """Stages of the collection from least to most severe."""
        return list(self.get(INTEGRITY, "/stages"))

    @cached_property
    def tested(self) -> str:
        """Pointer to the figures of :attr:`network` on the headline split."""
        return at("networks", self.network, HEADLINE_SPLIT)

    def tests(self, *keys: str | int) -> str:
        """Pointer to a figure of :attr:`network` on the headline split."""
        return self.tested + at(*keys)

    def kinds(self, column: str) -> list[str]:
        """Return the values of a column of the table, without the empty one."""
        return sorted(value for value in set(self.table[column]) if value)


_NOTHING = object()
_READ: dict[str, Callable[[Any], Any]] = {"sum": lambda found: sum(found.values()), "count": len, "keys": list}


def _keys(pointer: str) -> Iterable[str]:
    return (key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:])


def _child(node: Any, key: str) -> Any:
    if isinstance(node, Mapping):
        return node.get(key, _NOTHING)
    if isinstance(node, list) and key.isdigit() and int(key) < len(node):
        return node[int(key)]
    return _NOTHING


# ---------------------------------------------------------------------- reading a run folder
def read_artefacts(run: Path) -> Artefacts:
    """Read what documents need from a finished run.

    Args:
        run: Folder that ``fibrokd run`` wrote.

    Raises:
        ArtifactError: A part that cannot be done without is missing, or metrics.json is of another format.
    """
    for name in (PREPARE, INTEGRITY, ASSESS, METRICS):
        if not (run / name).is_file():
            raise ArtifactError(
                f"Expected the folder of a finished run with {name}, found none in {run}.",
                "Give the OUT of `fibrokd run`, and let it end first.",
            )
    documents = {name: read_json(run / name) for name in (PREPARE, INTEGRITY, DATASET, ASSESS, METRICS)}
    documents |= {name: read_json(run / name) for name in OPTIONAL if (run / name).is_file()}
    _check_metrics(documents[METRICS], run)
    for network in documents[METRICS]["networks"]:
        documents |= _network(run, network)
    table = read_table(run / MANIFEST).merge(read_table(run / SPLITS), on="image_id", validate="one_to_one")
    network, released = _subject(run, documents)
    return Artefacts(documents, table[list(TABLE_COLUMNS)], network, released)


def _check_metrics(metrics: Mapping[str, Any], run: Path) -> None:
    if metrics.get("format") != FORMAT:
        raise ArtifactError(
            f"Expected {run / METRICS} of format {FORMAT}, found {metrics.get('format', 'none')}.",
            "Assess the networks again with this version of fibrokd, into a new folder.",
        )
    if not any(HEADLINE_SPLIT in entry for entry in metrics["networks"].values()):
        raise ArtifactError(
            f"Expected figures on the split '{HEADLINE_SPLIT}' in {run / METRICS}, found none.",
            f"Assess the networks with '{HEADLINE_SPLIT}' among `splits`.",
        )


def _network(run: Path, name: str) -> dict[str, Any]:
    wanted = (f"{name}/card.json", f"{name}/{RECORD}")
    missing = [file for file in wanted if not (run / file).is_file()]
    if missing:
        raise ArtifactError(
            f"Expected the folder of every assessed network in {run}, found no {' and no '.join(missing)}.",
            "Give the OUT of `fibrokd run` as it was written, with the folders of its networks.",
        )
    return {file: read_json(run / file) for file in wanted}


def _subject(run: Path, documents: Mapping[str, Any]) -> tuple[str, bool]:
    """The released network; without a bundle the last that was assessed, which is the student of a usual run."""
    names = [name for name, entry in documents[METRICS]["networks"].items() if HEADLINE_SPLIT in entry]
    if RELEASE in documents and BUNDLE in documents:
        released = documents[RELEASE]["inputs"].get("student")
        own = [name for name in names if read_record(run / name).digest == released]
        if own:
            return own[0], True
    return names[-1], False
