"""In what configurations, data and inputs of runs differ: what is equal in all of them is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fibrokd.artifacts import leaves
from fibrokd.evaluation.side_by_side.runs import Run

STAMPED = ("verdict", "grouping", "synthetic", "accepted_unfit")
"""Entries of the integrity stamp that are compared."""


def differing(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return rows ``{"area", "setting", "values": {run: value}}``; a run that lacks a setting has no value.

    Areas are ``data``, ``assessment``, ``inputs`` (digests), and every network that several runs have and say the
    training of.

    Args:
        runs: All runs.
    """
    known = {run.name: {(area, name): value for area, name, value in _settings(run)} for run in runs}
    keys = dict.fromkeys(key for settings in known.values() for key in settings)
    rows = []
    for area, setting in sorted(keys, key=lambda key: _order(key[0])):
        values = {name: found[area, setting] for name, found in known.items() if (area, setting) in found}
        having = sum(any(place == area for place, _ in found) for found in known.values())
        if having > 1 and (len(values) < having or len({repr(value) for value in values.values()}) > 1):
            rows.append({"area": area, "setting": setting, "values": values})
    return rows


def _settings(run: Run) -> Iterator[tuple[str, str, Any]]:
    yield from (("data", name, run.stamp[name]) for name in STAMPED if name in run.stamp)
    yield "assessment", "step", run.record.step
    yield from (("assessment", path, value) for path, value in leaves(run.record.config))
    yield from (("inputs", name, digest) for name, digest in run.record.inputs.items())
    for network in run.parts:
        if network in run.trainings:
            yield network, "parameters", run.metrics["networks"][network]["parameters"]
            yield from ((network, path, value) for path, value in run.trainings[network].settings.items())


def _order(area: str) -> int:
    """Data first, networks next, digests last; networks keep the order in which they come."""
    return {"data": 0, "assessment": 2, "inputs": 3}.get(area, 1)
