"""What trained networks report of themselves, for the page of methods: a table per method, seed by seed.

Reads the files of single cells and formats what they say; which figures are told, a method says (``MethodSpec.told``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fibrokd.evaluation.claims.findings import reported
from fibrokd.evaluation.claims.found import MissingError
from fibrokd.evaluation.markdown import table
from fibrokd.files import read_json
from fibrokd.training.method import MethodSpec


@dataclass(frozen=True)
class Reporter:
    """One trained network of a study.

    Args:
        study: Name of the study.
        cell: ``arm``, ``backbone``, ``fraction`` and ``seed``.
        kind: Its method.
        facts: All that its file says.
    """

    study: str
    cell: Mapping[str, Any]
    kind: str
    facts: Mapping[str, Any]


def read_reporters(folder: Path) -> list[Reporter]:
    """Return the finished students in ``STUDY/*.json``, by study, arm and seed.

    Args:
        folder: Folder of studies.
    """
    return sorted(_reporters(folder), key=lambda one: (one.study, *(str(part) for part in one.cell.values())))


def _reporters(folder: Path) -> Iterator[Reporter]:
    for path in folder.glob("*/*.json"):
        facts = read_json(path)
        if "cell" in facts and "method" in facts:
            yield Reporter(path.parent.name, facts["cell"], facts["method"]["kind"], facts)


def reported_table(spec: MethodSpec, reporters: Sequence[Reporter]) -> list[str]:
    """Return what networks of one method say of themselves; nothing where the method names no figure.

    Args:
        spec: The method.
        reporters: Networks of any method.
    """
    arms: dict[tuple[str, ...], list[Reporter]] = {}
    for one in reporters:
        if one.kind == spec.kind:
            share = f"{100 * one.cell['fraction']:g} %"
            key = (one.study, f"`{one.cell['arm']}`", str(one.cell["backbone"]), share)
            arms.setdefault(key, []).append(one)
    if not spec.told or not arms:
        return []
    rows = [[*key, *(_by_seed(path, networks) for path in spec.told)] for key, networks in arms.items()]
    words = "What these networks report of themselves, seed by seed (on validation images where images are needed):"
    return [words, "", *table(["study", "arm", "student", "patients", *spec.told.values()], rows)]


def _by_seed(path: str, networks: Sequence[Reporter]) -> str:
    """Figures of all seeds, or the one that all of them report."""
    told = [_figure(path, one) for one in sorted(networks, key=lambda one: one.cell["seed"])]
    return told[0] if len(set(told)) == 1 else " / ".join(told)


def _figure(path: str, network: Reporter) -> str:
    try:
        value = reported(network.facts, f"method_facts.{path}", network.study)
    except MissingError:
        return "–"
    return f"{value:,.0f}" if value == int(value) else f"{value:.3g}" if abs(value) < 0.01 else f"{value:.3f}"
