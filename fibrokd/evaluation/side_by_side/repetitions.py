"""Networks that differ in nothing but the seed: how far their figures differ, and how far they agree.

That is the yardstick of any difference between two single networks. Repetitions are known by the records of their
trainings, or declared by whoever compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from fibrokd.errors import InputError
from fibrokd.evaluation.metrics import HEADLINE
from fibrokd.evaluation.side_by_side.runs import Run
from fibrokd.evaluation.side_by_side.trainings import PREPARED, SEED
from fibrokd.evaluation.spread import spread

RECORDS, DECLARED = "records of trainings", "declared by the user"

AGREEING = ("same_stage", "quadratic_kappa", "total_variation", "error_overlap")
"""Figures of agreement that are averaged over pairs of repetitions."""


def repetitions(
    runs: Sequence[Run],
    networks: Mapping[str, Mapping[str, Any]],
    agreement: Sequence[Mapping[str, Any]],
    split: str,
    declared: bool,
) -> list[dict[str, Any]]:
    """Return one entry per network that was trained several times.

    Args:
        runs: All runs.
        networks: ``RUN/NETWORK`` → its figures, of the document.
        agreement: The document's agreement.
        split: Split that is compared.
        declared: All runs are repetitions of one another, their networks those of equal names.
    """
    return [
        {
            "network": network,
            "known_by": DECLARED if declared else RECORDS,
            "members": members,
            "seeds": _seeds(runs, network, members),
            "figures": {metric: _over(members, networks, split, metric) for metric in HEADLINE},
            "agreement": _agreement(members, agreement),
        }
        for network, members in _groups(runs, declared)
    ]


def _groups(runs: Sequence[Run], declared: bool) -> Iterator[tuple[str, list[str]]]:
    """Network and what its repetitions are called; two of them are never the same files."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for run in runs:
        for network in run.parts:
            training = run.trainings.get(network)
            if declared or training is not None:
                recipe = "" if declared or training is None else training.recipe
                # The same network in two runs, such as a shared teacher, was trained once.
                digest = run.record.inputs.get(network, run.record.digest)
                found.setdefault((network, recipe), {}).setdefault(digest, run.network_name(network))
    for (network, _), members in found.items():
        if len(members) > 1:
            yield network, list(members.values())


def _seeds(runs: Sequence[Run], network: str, members: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        run.network_name(network): run.trainings[network].seeds
        for run in runs
        if run.network_name(network) in members and network in run.trainings
    }


def _over(
    members: Sequence[str], networks: Mapping[str, Mapping[str, Any]], split: str, metric: str
) -> dict[str, float | None]:
    values = [networks[name][split][metric]["value"] for name in members]
    return spread([value for value in values if value is not None])


def _agreement(members: Sequence[str], agreement: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    pairs = [entry for entry in agreement if entry["first"] in members and entry["second"] in members]
    told = {
        name: spread([pair[name]["value"] for pair in pairs if pair[name]["value"] is not None]) for name in AGREEING
    }
    return {"pairs": len(pairs), **told}


def check_declared(runs: Sequence[Run]) -> None:
    """Refuse what is declared to be repetitions and is not, as far as records tell.

    Args:
        runs: All runs.

    Raises:
        InputError: They differ in more than a seed.
    """
    problems = [problem for one, other in combinations(runs, 2) for problem in _differences(one, other)]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise InputError(
            f"Expected runs that differ in nothing but the seed, found {shown}.",
            "Leave out --same-but-seed, or the runs that are something else.",
        )


def _differences(one: Run, other: Run) -> Iterator[str]:
    between = f"in {one.name} and {other.name}"
    if one.record.inputs.get(PREPARED) != other.record.inputs.get(PREPARED):
        yield f"other data {between}"
    if not one.parts.keys() & other.parts.keys():
        yield f"no network of the same name {between}"
    elif one.parts.keys() != other.parts.keys():
        yield f"other networks {between}"
    for network in sorted(one.parts.keys() & other.parts.keys()):
        counts = [run.metrics["networks"][network]["parameters"] for run in (one, other)]
        if counts[0] != counts[1]:
            yield f"{network}: {counts[0]:,} and {counts[1]:,} parameters {between}"
    for network in sorted(one.parts.keys() & other.parts.keys() & one.trainings.keys() & other.trainings.keys()):
        first, second = one.trainings[network], other.trainings[network]
        if first.recipe == second.recipe:
            continue
        paths = sorted({*first.settings, *second.settings} - {*first.seeds, *second.seeds})
        changed = [path for path in paths if first.settings.get(path) != second.settings.get(path)]
        yield f"{network}: {', '.join(changed) or f'more than a {SEED}'} {between}"
