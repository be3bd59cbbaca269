"""What networks answered: the table predictions.csv, its checks, and the in-memory form every number starts from.

Owns the file format. It computes no metric and knows no network. Columns of the file: ``network``, ``split``,
``image_id``, ``group`` (cluster of images that belong together), ``stage`` (the truth, by name) and one ``p_<stage>``
per stage of the scale.

Shape letters: N images, K stages.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from fibrokd.data.prepared import read_table
from fibrokd.errors import ArtifactError, TableError
from fibrokd.files import atomic_path
from fibrokd.stages import StageScale

KEY_COLUMNS = ("network", "split", "image_id", "group", "stage")
SUM_TOLERANCE = 1e-3
FIRST_LINE = 2  # line 1 of the file is its header
_TODO = "Correct these rows, or collect the predictions again with `fibrokd assess`."


@dataclass(frozen=True, eq=False)
class Predictions:
    """Answers of one network on one split; valid from the moment it exists.

    Args:
        network: Name of the network, such as ``student_kd``.
        split: Name of the split, such as ``test``.
        image_ids: Opaque image ids, unique.
        groups: Cluster of each image under all evidence; images of one cluster are not independent.
        truth: True stage index of each image.
        probabilities: Probability of each stage; rows sum to 1 within :data:`SUM_TOLERANCE`.
        scale: Stage scale.

    Raises:
        TableError: Lists every kind of problem with the rows (counted from 0) that have it.
    """

    network: str
    split: str
    image_ids: tuple[str, ...]
    groups: tuple[str, ...]
    truth: Int[np.ndarray, " N"]
    probabilities: Float[np.ndarray, "N K"]
    scale: StageScale

    def __post_init__(self) -> None:
        problems = _problems(self, np.arange(len(self.truth)), "row")
        if problems:
            raise TableError(f"predictions of {self.network or '(unnamed)'} on {self.split}", problems, _TODO)

    def __len__(self) -> int:
        return len(self.truth)

    def rows(self, chosen: Int[np.ndarray, " M"]) -> Predictions:
        """Return the answers to some of the images, in the order given.

        Raises:
            TableError: There are none, or an image comes twice.
        """
        return replace(
            self,
            image_ids=tuple(self.image_ids[row] for row in chosen),
            groups=tuple(self.groups[row] for row in chosen),
            truth=self.truth[chosen],
            probabilities=self.probabilities[chosen],
        )

    def renamed(self, groups: Sequence[str]) -> Predictions:
        """Return the same answers under other names of their clusters."""
        return replace(self, groups=tuple(groups))

    @cached_property
    def predicted(self) -> Int[np.ndarray, " N"]:
        """The most probable stage of each image; of equally probable stages the least severe."""
        best: np.ndarray = np.argmax(self.probabilities, axis=1)
        return best.astype(np.int64)


def read_predictions(path: Path, scale: StageScale) -> list[Predictions]:
    """Read predictions.csv; parts come in the order in which (network, split) first appears.

    Args:
        path: The file.
        scale: Scale its stages must belong to.

    Raises:
        ArtifactError: There is no such file.
        TableError: Lists every problem with the line numbers of the file.
    """
    try:
        table = read_table(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"Expected {path}, found nothing.", "Run `fibrokd assess` first.") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TableError(str(path), [f"not a CSV table ({error})"], _TODO) from error
    probability_columns = [f"p_{name}" for name in scale.names]
    _require_columns(path, table, probability_columns)
    index = {name: k for k, name in enumerate(scale.names)}
    truth = table["stage"].map(index).fillna(-1).to_numpy(dtype=np.int64)
    probabilities = table[probability_columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    parts: list[Predictions] = []
    problems: list[str] = []
    part_of_row = table.groupby(["network", "split"], sort=False).ngroup().to_numpy()
    for number in range(part_of_row.max() + 1):
        rows = np.flatnonzero(part_of_row == number)
        part = _unchecked(table.iloc[rows], truth[rows], probabilities[rows], scale)
        found = _problems(part, rows + FIRST_LINE, "line")
        problems += [f"{part.network} on {part.split}: {problem}" for problem in found]
        parts.append(part)
    if problems:
        raise TableError(str(path), problems, _TODO)
    return [Predictions(**vars(part)) for part in parts]


def write_predictions(path: Path, predictions: Sequence[Predictions]) -> None:
    """Write predictions.csv atomically; nine significant digits, so that float32 answers survive unchanged.

    Raises:
        TableError: There is nothing to write, scales differ, or a (network, split) pair comes twice.
    """
    pairs = [(part.network, part.split) for part in predictions]
    problems = [f"{network} on {split} comes twice" for network, split in {p for p in pairs if pairs.count(p) > 1}]
    if len({part.scale for part in predictions}) != 1:
        problems.append("expected predictions on one stage scale")
    if problems:
        raise TableError(str(path), sorted(problems), "Give each network's answers on each split once.")
    table = pd.concat([_as_table(part) for part in predictions])
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g", lineterminator="\n")


def write_answers(path: Path, answers: Predictions) -> None:
    """Write the answers of one network alone, compressed: what a study keeps of it. Equal answers give equal bytes.

    Args:
        path: File to write, ``.csv.gz``.
        answers: Answers; network and split are not stored.
    """
    table = _as_table(answers).drop(columns=["network", "split"])
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))  # no time in the header


def read_answers(path: Path, scale: StageScale, network: str, split: str = "test") -> Predictions:
    """Read what :func:`write_answers` wrote.

    Args:
        path: The file.
        scale: Its stage scale.
        network: What to call the network.
        split: Split of its images.

    Raises:
        ArtifactError: There is no such file, or it is no table of this scale.
        TableError: Rows break the schema.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        truth = table["stage"].map({name: k for k, name in enumerate(scale.names)}).fillna(-1).to_numpy(dtype=np.int64)
        probabilities = table[[f"p_{name}" for name in scale.names]].astype(np.float64).to_numpy()
        keys, groups = tuple(table["image_id"]), tuple(table["group"])
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise ArtifactError(
            f"Expected answers to {', '.join(scale.names)} at {path}, found none ({type(error).__name__}).",
            "Train the cell again: remove its files from results/.",
        ) from error
    return Predictions(network, split, keys, groups, truth, probabilities, scale)


def _as_table(part: Predictions) -> pd.DataFrame:
    names = np.array(part.scale.names, dtype=object)
    columns = {
        "network": part.network,
        "split": part.split,
        "image_id": part.image_ids,
        "group": part.groups,
        "stage": names[part.truth],
    }
    table = pd.DataFrame(columns)
    for k, name in enumerate(part.scale.names):
        table[f"p_{name}"] = part.probabilities[:, k]
    return table


def _require_columns(path: Path, table: pd.DataFrame, probability_columns: list[str]) -> None:
    found = list(table.columns)
    problems = [f"column {name!r} is missing" for name in (*KEY_COLUMNS, *probability_columns) if name not in found]
    strange = [name for name in found if name.startswith("p_") and name not in probability_columns]
    problems += [f"column {name!r} is of no stage of the scale" for name in strange]
    if not problems and table.empty:
        problems.append("it holds no predictions")
    if problems:
        raise TableError(str(path), problems, "Use the stage scale that the predictions were made with.")


def _unchecked(
    rows: pd.DataFrame,
    truth: Int[np.ndarray, " N"],
    probabilities: Float[np.ndarray, "N K"],
    scale: StageScale,
) -> Predictions:
    # Built without __post_init__, so that the problems of all parts of a file can be reported together.
    part = object.__new__(Predictions)
    values = {
        "network": str(rows["network"].iloc[0]),
        "split": str(rows["split"].iloc[0]),
        "image_ids": tuple(rows["image_id"]),
        "groups": tuple(rows["group"]),
        "truth": truth,
        "probabilities": probabilities,
        "scale": scale,
    }
    for name, value in values.items():
        object.__setattr__(part, name, value)
    return part


def _problems(part: Predictions, numbers: Int[np.ndarray, " N"], unit: str) -> list[str]:
    shape = _shape_problems(part)
    if shape:
        return shape
    ids, groups = pd.Series(part.image_ids, dtype=object), pd.Series(part.groups, dtype=object)
    p = part.probabilities
    finite = np.isfinite(p).all(axis=1)
    inside = finite & (np.nan_to_num(p) >= 0).all(axis=1) & (np.nan_to_num(p) <= 1 + SUM_TOLERANCE).all(axis=1)
    sums = np.abs(np.nan_to_num(p).sum(axis=1) - 1) <= SUM_TOLERANCE
    checks = {
        "image_id is empty": (ids == "").to_numpy(dtype=bool),
        "image_id occurs twice": ids.duplicated(keep=False).to_numpy(dtype=bool),
        "group is empty": (groups == "").to_numpy(dtype=bool),
        f"true stage is not one of {', '.join(part.scale.names)}": (part.truth < 0) | (part.truth >= len(part.scale)),
        "probabilities are not numbers": ~finite,
        "probabilities lie outside 0 … 1": finite & ~inside,
        f"probabilities do not sum to 1 within {SUM_TOLERANCE}": inside & ~sums,
    }
    return [f"{what} ({_where(bad, numbers, unit)})" for what, bad in checks.items() if bad.any()]


def _shape_problems(part: Predictions) -> list[str]:
    problems = [f"{name} is empty" for name in ("network", "split") if not getattr(part, name)]
    if len(part.truth) == 0:
        problems.append("it holds no predictions")
    lengths = {len(part.image_ids), len(part.groups), len(part.truth), len(part.probabilities)}
    if len(lengths) > 1:
        problems.append(f"image ids, groups, truth and probabilities differ in length ({sorted(lengths)})")
    if part.truth.ndim != 1 or part.truth.dtype.kind not in "iu":
        problems.append(f"expected whole numbers as true stages, found {part.truth.dtype} of shape {part.truth.shape}")
    if part.probabilities.ndim != 2 or part.probabilities.dtype.kind != "f":
        kind = f"{part.probabilities.dtype} of shape {part.probabilities.shape}"
        return [*problems, f"expected one row of floating-point probabilities per image, found {kind}"]
    if part.probabilities.shape[1] != len(part.scale):
        problems.append(f"expected {len(part.scale)} probabilities per image, found {part.probabilities.shape[1]}")
    return problems


def _where(bad: Bool[np.ndarray, " N"], numbers: Int[np.ndarray, " N"], unit: str) -> str:
    found = numbers[bad]
    shown = ", ".join(str(number) for number in found[:5])
    plural = "s" if len(found) > 1 else ""
    return f"{unit}{plural} {shown}" + (f" and {len(found) - 5} more" if len(found) > 5 else "")
