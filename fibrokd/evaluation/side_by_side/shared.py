"""The images that all runs asked: the same, with the same truth and clusters, in the same order.

Shape letters: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from fibrokd.errors import InputError, TableError
from fibrokd.evaluation.pairing import in_order_of, of_images
from fibrokd.evaluation.predictions import Predictions
from fibrokd.evaluation.side_by_side.runs import Run

_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Shared:
    """What is compared.

    Args:
        parts: Answers of all networks of all runs to the shared images, called ``RUN/NETWORK``.
        asked: Run → images that it asked.
        known_patients: Share of the shared images whose patient is known in some run.
    """

    parts: Sequence[Predictions]
    asked: dict[str, int]
    known_patients: float

    @property
    def images(self) -> int:
        """Number of shared images."""
        return len(self.parts[0])


def shared_images(runs: Sequence[Run]) -> Shared:
    """Return the answers of all runs to the images that all of them asked, in ascending order of image ids.

    Args:
        runs: Two or more.

    Raises:
        InputError: Stage scales differ, or no image is shared.
        TableError: A shared image has another truth, or belongs together with other images, in two runs.
    """
    _one_scale(runs)
    bases = {run.name: next(iter(run.parts.values())) for run in runs}
    asked = {name: len(part) for name, part in bases.items()}
    ids = tuple(sorted(set.intersection(*(set(part.image_ids) for part in bases.values()))))
    if not ids:
        counts = ", ".join(f"{number} in {name}" for name, number in asked.items())
        raise InputError(
            f"Expected images that all runs asked on {bases[runs[0].name].split}, found none ({counts}).",
            "Give runs of one prepared folder, or of collections whose test images overlap.",
        )
    of_run = {name: of_images(part, ids) for name, part in bases.items()}
    _same_facts(of_run)
    groups = _groups(list(of_run.values()))
    parts = [
        replace(of_images(in_order_of(bases[run.name], part), ids), network=run.network_name(network)).renamed(groups)
        for run in runs
        for network, part in run.parts.items()
    ]
    known = [any(run.patients.get(name, "") for run in runs) for name in ids]
    return Shared(parts, asked, sum(known) / len(known))


def _one_scale(runs: Sequence[Run]) -> None:
    if len({run.scale for run in runs}) > 1:
        found = "; ".join(
            f"{', '.join(run.scale.names)} with end points {', '.join(run.scale.cutoff_names) or 'none'} in {run.name}"
            for run in runs
        )
        raise InputError(
            f"Expected runs on one stage scale, found {found}.", "Stages of two scales do not compare; leave one out."
        )


def _same_facts(of_run: dict[str, Predictions]) -> None:
    problems = []
    for (one, first), (other, second) in combinations(of_run.items(), 2):
        names = first.scale.names
        told = [f"{names[a]} and {names[b]}" for a, b in zip(first.truth, second.truth, strict=True)]
        problems += _problem("another true stage", first.truth != second.truth, first, one, other, told)
        apart = _clustered_otherwise(first, second)
        told = [f"{a} and {b}" for a, b in zip(first.groups, second.groups, strict=True)]
        problems += _problem("another cluster", apart, first, one, other, told)
    if problems:
        raise TableError(
            "the images that runs share",
            problems,
            "Compare runs of one prepared folder, or prepare both collections with the same labels and evidence.",
        )


def _problem(what: str, bad: np.ndarray, part: Predictions, one: str, other: str, told: Sequence[str]) -> list[str]:
    rows = np.flatnonzero(bad)
    if not len(rows):
        return []
    shown = ", ".join(f"{part.image_ids[row]} ({told[row]})" for row in rows[:_SHOWN])
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return [f"{len(rows)} of {len(part)} have {what} in {one} than in {other}: {shown}{more}"]


def _clustered_otherwise(first: Predictions, second: Predictions) -> np.ndarray:
    """Images whose cluster holds other shared images in the two runs; what a cluster is called is of no account."""
    pairs = pd.DataFrame({"first": first.groups, "second": second.groups})
    distinct = pairs.drop_duplicates()
    torn = {
        column: set(distinct.loc[distinct[column].duplicated(keep=False), column]) for column in ("first", "second")
    }
    found: np.ndarray = (pairs["first"].isin(torn["first"]) | pairs["second"].isin(torn["second"])).to_numpy()
    return found


def _groups(parts: Sequence[Predictions]) -> tuple[str, ...]:
    """Names of the clusters: those of the runs where they agree, so that intervals are those of their reports."""
    first = parts[0]
    if all(part.groups == first.groups for part in parts):
        return first.groups
    smallest: dict[str, str] = {}
    for group, image_id in zip(first.groups, first.image_ids, strict=True):
        smallest.setdefault(group, image_id)
    return tuple(smallest[group] for group in first.groups)
