"""What the order of the file names gives away: stages dealt out along a sorted list, and names dealt out at random.

Owns these two measurements; what they mean for the verdict is decided elsewhere. Returns numbers, never names.

Shape letters: N images.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_NUMBER = re.compile(r"(\d+)")
_PSEUDONYM = re.compile(r"[\d.]{8,}|[0-9a-f]{8,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_LEAST_SERIES = 20  # fewer beginnings of names than this number no patients, but days, devices or nothing at all
_LEAST_TOLD = 0.9  # of the names: the share that must follow a scheme before the scheme is believed
_LEAST_OWN = 0.9  # of the units: the share that must have a name of their own before an order of names means anything
_LEAST_TIES = 30  # neighbours that could be tied: below, chance cannot be told from scheme


def label_order(
    table: pd.DataFrame, stages: Int[np.ndarray, " N"], codes: Int[np.ndarray, " N"], draws: int = 200
) -> dict[str, int | float]:
    """Sort the files by name and count how often the stage changes; compare with stages dealt out at random.

    Counted is from one unit to the next, never inside one: pictures of one patient have neighbouring names and the
    same stage for a good reason. A unit is whatever evidence ties; and where names are built from two numbers or more
    (``P0001_C0_000``), whatever begins alike, for then nobody need have said who the patients are.

    Files of one name (``IM0001`` in every patient's folder) have no order of names: paths begin with the stage, and so
    would their order. They are walked in the order of digests, and nothing is told where most units have no other name.

    Args:
        table: Manifest rows; reads ``path`` and ``image_id``; folders are ignored.
        stages: Stage index of every row.
        codes: Group number of every row.
        draws: Random deals of stages to units.

    Returns:
        ``units``, ``changes`` found between them, ``expected`` by chance, ``ratio`` of the two, ``z`` score. Empty
        where fewer than nine tenths of the units have a name that no other unit has.
    """
    stems = [PurePosixPath(path).stem for path in table["path"]]
    units = _joined(codes, _series(stems))
    if _own_names(stems, units) < _LEAST_OWN:
        return {}
    heads = table.groupby("path")["image_id"].transform("min")
    keys = [(_natural(stem), head) for stem, head in zip(stems, heads, strict=True)]
    order = np.array(sorted(range(len(stems)), key=keys.__getitem__), dtype=np.int64)
    walked = units[order]
    border = walked[1:] != walked[:-1]
    before, after = walked[:-1][border], walked[1:][border]
    counts = np.zeros((int(units.max()) + 1, int(stages.max()) + 1), dtype=np.int64)
    np.add.at(counts, (units, stages), 1)
    stage_of_unit = counts.argmax(axis=1)
    random = np.random.default_rng(0)
    deals = (random.permutation(stage_of_unit) for _ in range(draws))
    dealt = np.array([int((deal[before] != deal[after]).sum()) for deal in deals])
    sorted_stages = stages[order]
    found, expected = int((sorted_stages[1:] != sorted_stages[:-1])[border].sum()), float(dealt.mean())
    return {
        "units": len(counts),
        "changes": found,
        "expected": round(expected, 1),
        "ratio": round(found / max(expected, 1.0), 4),
        "z": round(float((found - expected) / dealt.std()), 2) if dealt.std() > 0 else 0.0,
    }


def name_kinship(table: pd.DataFrame, codes: Int[np.ndarray, " N"]) -> dict[str, int | float]:
    """Measure whether pictures that belong together have neighbouring names.

    Args:
        table: Manifest rows; reads ``path``.
        codes: Group number of every row.

    Returns:
        ``kinship``: neighbours found tied, as a share of those possible, corrected for chance: 1 where every group's
        names follow each other, 0 where names say nothing; ``pairs`` that could be tied beyond chance; ``pseudonyms``,
        share of the names that are long digests or unique identifiers on purpose. Empty with fewer than 30 pairs.
    """
    first = ~table["path"].duplicated().to_numpy()
    paths = [PurePosixPath(path) for path in table["path"][first]]
    held = pd.DataFrame({"folder": [str(path.parent) for path in paths], "group": codes[first]})
    order = sorted(range(len(paths)), key=lambda row: (held["folder"][row], _natural(paths[row].stem)))
    walked = held.iloc[order].to_numpy()
    found = int((walked[1:] == walked[:-1]).all(axis=1).sum())
    sizes = held.value_counts(sort=False)
    possible = float((sizes - 1).sum())
    totals = held["folder"].value_counts()
    share = (sizes * (sizes - 1)) / totals.reindex(sizes.index.get_level_values("folder")).to_numpy()
    expected = float(share.sum())
    if possible - expected < _LEAST_TIES:
        return {}
    return {
        "pairs": round(possible - expected),
        "kinship": round((found - expected) / (possible - expected), 4),
        "pseudonyms": round(sum(bool(_PSEUDONYM.fullmatch(path.stem)) for path in paths) / len(paths), 4),
    }


def _natural(stem: str) -> list[tuple[int, int, str]]:
    parts = _NUMBER.split(stem)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _series(stems: list[str]) -> list[str]:
    """Beginning of every name up to the number that seems to count patients; the whole name where there is none."""
    parts = [_NUMBER.split(stem) for stem in stems]
    for depth in range(1, 4):
        deeper = [len(split) // 2 > depth for split in parts]
        if sum(deeper) < _LEAST_TOLD * len(stems):
            break
        keys = ["".join(split[: 2 * depth]) for split in parts]
        if len(set(keys)) >= _LEAST_SERIES:
            return [key if told else f"{stem}\x1f" for key, told, stem in zip(keys, deeper, stems, strict=True)]
    return [f"{number}" for number in range(len(stems))]


def _own_names(stems: list[str], units: Int[np.ndarray, " N"]) -> float:
    """Share of the units that have some name which no other unit has."""
    held = pd.DataFrame({"stem": stems, "unit": units}).drop_duplicates()
    alone = held["unit"][~held["stem"].duplicated(keep=False)]
    return alone.nunique() / (int(units.max()) + 1)


def _joined(codes: Int[np.ndarray, " N"], keys: list[str]) -> Int[np.ndarray, " N"]:
    """Number of the unit of every row: groups that share a key are one."""
    others = np.unique(np.array(keys, dtype=np.str_), return_inverse=True)[1]
    groups = int(codes.max()) + 1
    nodes = groups + int(others.max()) + 1
    edges = coo_array((np.ones(len(codes), dtype=np.int8), (codes, groups + others)), shape=(nodes, nodes))
    labels = connected_components(edges, directed=False)[1][codes]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
