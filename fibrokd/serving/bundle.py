"""The released bundle: its documented format, opening it with every check, and writing it.

Format 1 is a folder that holds exactly these files and no others::

    bundle.json           the card: format, stages, PreprocessSpec, network, stamp, parity, digests of all files
    network.onnx          the network with its normalisation inside; no external data
    golden/expected.json  outcome and probabilities every machine must repeat within the tolerance
    golden/*.png          the golden cases themselves: rendered phantoms, never images of people
    record.json           optional: how the release step made the folder; never read here

bundle.json carries the sha256 of every other file and of its own content, and depends on neither time nor host.
An extra file is refused rather than ignored: nobody can say who put it there or what will read it. All bytes are read
once, checked, and used from memory, so what was checked is what runs. Nothing here is ever unpickled.

Owns the format. Does not run the network (engine), judge images (gates) or compare numbers (verify).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fibrokd.artifacts import RECORD
from fibrokd.config import parse_config
from fibrokd.errors import BundleError, ConfigError, LabelError
from fibrokd.files import digest_bytes, digest_json, write_bytes, write_text
from fibrokd.serving.card import FORMAT, BundleCard
from fibrokd.stages import StageScale

CARD = "bundle.json"
NETWORK = "network.onnx"
EXPECTED = "golden/expected.json"

_RESTORE = "Restore the bundle from its release, or run `fibrokd release` again into a new folder."
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True)
class GoldenCase:
    """One image with the answer every machine must repeat.

    Args:
        name: File name without folder, such as ``case_F3.png``.
        png: The file's bytes.
        description: What the picture is, for people.
        outcome: Expected outcome (``stage``, ``re-acquire``, ``refer``).
        probabilities: Expected probability by stage name; empty where nothing is staged.
    """

    name: str
    png: bytes
    description: str
    outcome: str
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class Bundle:
    """A released package held in memory; :meth:`open` reads and checks one.

    Args:
        card: Content of bundle.json.
        network: Bytes of network.onnx.
        golden: Golden cases in the order of expected.json.
    """

    card: BundleCard
    network: bytes
    golden: tuple[GoldenCase, ...]

    @property
    def scale(self) -> StageScale:
        """Stage scale of the answers."""
        return StageScale(self.card.stages.names, self.card.stages.cutoffs)

    @property
    def digest(self) -> str:
        """Digest of the whole bundle: of its card, which holds the digests of all files."""
        return digest_json(self.card.as_json())

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Read a bundle, refusing whatever is newer, altered, incomplete or unexpected.

        Args:
            folder: The bundle's folder.

        Raises:
            BundleError: Names the file and what is wrong with it.
        """
        card = _read_card(folder)
        _check_names(folder, card)
        files = {name: _read_checked(folder, name, digest) for name, digest in card.files.items()}
        if NETWORK not in files or EXPECTED not in files:
            raise BundleError(f"Expected {NETWORK} and {EXPECTED} among the files of {CARD}.", _RESTORE)
        try:
            StageScale(card.stages.names, card.stages.cutoffs)
        except LabelError as error:
            raise BundleError(f"The stages of {CARD} are no scale: {error.problem}", _RESTORE) from error
        return cls(card, files[NETWORK], _read_golden(files))


def write_bundle(folder: Path, bundle: Bundle) -> tuple[str, ...]:
    """Write a bundle; bundle.json comes last, so that an interrupted write is never taken for a bundle.

    Args:
        folder: New or empty folder; it may hold the record.json of the step that writes.
        bundle: What to write; the digests in its card are made here.

    Returns:
        Relative paths of all files written.

    Raises:
        BundleError: The folder holds files that do not belong to a bundle.
    """
    files = _content_files(bundle)
    if folder.exists():
        foreign = _present(folder) - {*files, CARD, RECORD}
        leftovers = {name for name in foreign if Path(name).name.startswith(".")}
        if foreign - leftovers:
            raise BundleError(
                f"{folder} holds files of something else: {_some(foreign - leftovers)}.", "Choose a new folder."
            )
        for name in leftovers:  # halves of an interrupted atomic write
            (folder / name).unlink()
        (folder / CARD).unlink(missing_ok=True)
    for name, data in files.items():
        write_bytes(folder / name, data)
    card = bundle.card.model_copy(update={"files": {name: digest_bytes(data) for name, data in files.items()}})
    write_text(folder / CARD, _card_text(card))
    return (*files, CARD)


def _content_files(bundle: Bundle) -> dict[str, bytes]:
    cases = [
        {
            "file": case.name,
            "description": case.description,
            "outcome": case.outcome,
            "probabilities": dict(case.probabilities),
        }
        for case in bundle.golden
    ]
    expected = json.dumps({"cases": cases}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files = {NETWORK: bundle.network, EXPECTED: expected.encode()}
    return {**files, **{f"golden/{case.name}": case.png for case in bundle.golden}}


def _card_text(card: BundleCard) -> str:
    data = card.as_json()
    return json.dumps({**data, "digest": digest_json(data)}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _read_card(folder: Path) -> BundleCard:
    path = folder / CARD
    try:
        text = path.read_bytes().decode("utf-8")
        data = json.loads(text)
    except OSError as error:
        raise BundleError(
            f"Expected a bundle at {folder}, found no readable {CARD}.", "Give the folder that `fibrokd release` wrote."
        ) from error
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: it was cut or altered.", _RESTORE) from error
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise BundleError(f"{path} states no format number, so it is no card of a bundle.", _RESTORE)
    if data["format"] > FORMAT:
        raise BundleError(
            f"Expected bundle format {FORMAT} or older, found format {data['format']}.",
            "Install a newer fibrokd to open this bundle.",
        )
    stated = data.pop("digest", None)
    # The text itself is compared too: a card cut by one byte may still be valid JSON.
    if stated != digest_json(data) or not text.endswith("}\n"):
        raise BundleError(f"{path} was altered: its content does not have the digest it states.", _RESTORE)
    try:
        return parse_config(data, BundleCard, source=str(path))
    except ConfigError as error:
        raise BundleError(error.problem, _RESTORE) from error


def _check_names(folder: Path, card: BundleCard) -> None:
    unsafe = [name for name in card.files if not _SAFE_NAME.fullmatch(name) or ".." in name]
    if unsafe:
        raise BundleError(f"{CARD} lists file names that a bundle may not hold: {_some(unsafe)}.", _RESTORE)
    present = _present(folder) - {CARD, RECORD}
    missing, extra = set(card.files) - present, present - set(card.files)
    if missing:
        raise BundleError(f"The bundle lacks {_some(missing)}.", _RESTORE)
    if extra:
        raise BundleError(
            f"The bundle holds files it does not list: {_some(extra)}.", "Remove them, or restore the bundle."
        )


def _present(folder: Path) -> set[str]:
    return {
        (Path(root) / name).relative_to(folder).as_posix()
        for root, _, names in os.walk(folder, followlinks=False)
        for name in names
    }


def _read_checked(folder: Path, name: str, digest: str) -> bytes:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"Expected an ordinary file {name} in the bundle, found a link.", _RESTORE)
    data = path.read_bytes()
    if digest_bytes(data) != digest:
        raise BundleError(f"{name} of the bundle was altered: its digest differs from {CARD}.", _RESTORE)
    return data


def _read_golden(files: Mapping[str, bytes]) -> tuple[GoldenCase, ...]:
    try:
        cases = json.loads(files[EXPECTED])["cases"]
        return tuple(
            GoldenCase(
                name=str(case["file"]),
                png=files[f"golden/{case['file']}"],
                description=str(case["description"]),
                outcome=str(case["outcome"]),
                probabilities={str(stage): float(p) for stage, p in case["probabilities"].items()},
            )
            for case in cases
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{EXPECTED} does not describe the golden cases of this bundle.", _RESTORE) from error


def _some(names: set[str] | list[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (f" and {len(ordered) - 5} more" if len(ordered) > 5 else "")
