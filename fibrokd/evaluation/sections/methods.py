"""What methods left behind beside a network: the tree of a mixture of experts, and figures of their own.

Must not know any method: a tree is whatever a card describes by ``paths`` and ``sharing``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fibrokd.evaluation.report_inputs import ReportInputs

_TREE = (
    "paths",
    "sharing",
    "gate_entropy",
    "gate_entropy_at_start",
    "sharing_of_adjacent_stages",
    "sharing_of_distant_stages",
)
"""Keys of ``method_facts`` that describe a tree; others are listed as they are."""


def methods(inputs: ReportInputs) -> dict[str, Any] | None:
    """Return trees and lists of figures per network; ``None`` where no method left anything."""
    found = {
        name: card["method_facts"]
        for name, card in inputs.cards.items()
        if name in inputs.networks and card.get("method_facts")
    }
    if not found:
        return None
    trees = [
        {"title": inputs.title_of(name), **_tree(facts, inputs.cards[name]["stages"])}
        for name, facts in found.items()
        if "paths" in facts and "sharing" in facts
    ]
    lists = [{"title": inputs.title_of(name), "facts": _told(facts)} for name, facts in found.items()]
    return {"trees": trees, "lists": [one for one in lists if one["facts"]]}


def _tree(facts: Mapping[str, Any], stages: Sequence[str]) -> dict[str, Any]:
    """Rows of both tables of a tree, and its shape in words."""
    sharing = facts["sharing"]
    rows = [
        {
            "stage": stage,
            "path": [str(expert + 1) for expert in path],
            "shares": [f"{share:.0%}" for share in shares],
        }
        for stage, path, shares in zip(stages, facts["paths"], sharing, strict=True)
    ]
    return {
        "stages": list(stages),
        "levels": len(facts["paths"][0]),
        "rows": rows,
        "words": _in_words(facts),
    }


def _in_words(facts: Mapping[str, Any]) -> str:
    near, far = facts.get("sharing_of_adjacent_stages"), facts.get("sharing_of_distant_stages")
    said = []
    if near is not None and far is not None:
        said.append(f"Neighbouring stages share {near:.0%} of their experts, others {far:.0%}")
    if facts.get("gate_entropy"):
        entropies = ", ".join(f"{value:.2f}" for value in facts["gate_entropy"])
        before = ", ".join(f"{value:.2f}" for value in facts.get("gate_entropy_at_start", ()))
        began = f"; {before} before they learned" if before else ""
        said.append(f"entropy of the gates by level {entropies} (1: undecided, 0: decided{began})")
    return "; ".join(said) + "." if said else ""


def _told(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(key.replace("_", " "), _spelled(value)) for key, value in facts.items() if key not in _TREE]


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_spelled(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_spelled(one) for one in value)
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
