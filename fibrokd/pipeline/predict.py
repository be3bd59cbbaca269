"""Command ``predict``: stages images, folders and DICOM files with a released bundle. Wiring and printing only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibrokd.errors import InputError
from fibrokd.serving.bundle import Bundle

if TYPE_CHECKING:
    from fibrokd.serving.predictor import Staging


def run(bundle: Path, paths: Sequence[Path], as_json: bool, titles: Mapping[Path, str] | None = None) -> int:
    """Stage every image under ``paths`` and print one answer per frame.

    Args:
        bundle: Folder of a released bundle.
        paths: Files and folders; folders are walked, hidden files left out. Every other file gets an answer.
        as_json: Print one JSON object per line, as soon as it is known, instead of a table.
        titles: What the table calls a file; by default its path. For steps that nobody asked about this very file: what
            they print goes into logs, and names of files are names of persons.

    Returns:
        0, also where files were refused: a refusal is an answer.

    Raises:
        BundleError: The bundle is incomplete, altered or newer.
        InputError: A path does not exist, or a folder holds no file.
    """
    # Imported here: the engine costs 0.4 s that `fibrokd --help` must not pay.
    from fibrokd.serving.predictor import Predictor

    files = list(_files(paths))
    predictor = Predictor(Bundle.open(bundle))
    stagings = predictor.predict_many(files)
    if as_json:
        for staging in stagings:
            sys.stdout.write(json.dumps(staging.as_row(), ensure_ascii=False) + "\n")
            sys.stdout.flush()
    else:
        _print_table(stagings, predictor.bundle, {str(path): title for path, title in (titles or {}).items()})
    return 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = sorted(item for item in path.rglob("*") if item.is_file() and not _hidden(item, path))
            if not found:
                raise InputError(f"Expected images in {path}, found no file.", "Give a folder that holds images.")
            yield from found
        elif path.exists():
            yield path
        else:
            raise InputError(f"Expected an image or a folder at {path}, found nothing.", "Correct the path.")


def _hidden(item: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in item.relative_to(root).parts)


def _print_table(stagings: Iterable[Staging], bundle: Bundle, titles: Mapping[str, str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    names = bundle.scale.names
    table = Table(box=box.SIMPLE)
    table.add_column("image", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("stage", justify="center", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    notes = []
    for staging in stagings:
        title = titles.get(staging.path, staging.path)
        label = title if staging.frame == 0 else f"{title} (frame {staging.frame})"
        label += f" (picture {staging.part + 1} of the frame)" if staging.part else ""
        shares = [f"{staging.probabilities[n]:.3f}" if staging.probabilities else "–" for n in names]
        table.add_row(label, staging.outcome, staging.stage or "–", *shares)
        notes += [f"{label}: {reason}" for reason in staging.reasons]
    console = Console(markup=False, highlight=False)
    console.print(table)
    for note in notes:
        console.print(note)
    console.print("Research use only — not a medical device.")
