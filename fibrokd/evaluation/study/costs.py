"""What the arms of a study cost: figures for study.json from the facts of trials, and their table.

Three kinds are kept apart: what every cell paid itself, how much of that went into networks other than the student
(an earlier self, assistants, an undertrained teacher), and what was paid once for all readers of a book and all
students of a teacher. A figure that a result does not hold is None, "not counted", and never 0: earlier versions
counted less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from fibrokd.evaluation.markdown import table
from fibrokd.evaluation.study.pooled import Pool, Trial

_COLUMNS = {
    "train_seconds": "Training s",
    "cpu_seconds": "Processor s",
    "other_networks_seconds": "of it other networks s",
    "images_trained": "Images, student",
    "other_networks_images": "Images, other networks",
    "online_teacher_forwards": "Answers of given teachers online",
    "own_teacher_forwards": "Answers of own teachers",
    "book_teacher_forwards": "Shared: book answers",
    "book_seconds": "Shared: book s",
    "teacher_seconds": "Shared: teacher s",
}
_LOST_WITH_AN_ATTEMPT = (
    "train_seconds",
    "cpu_seconds",
    "other_networks_seconds",
    "online_teacher_forwards",
    "own_teacher_forwards",
)
COST_WORDS = (
    "Medians over seeds. Training s is all that a cell paid itself, other networks that it trained on the way (an "
    "earlier self, assistants) included; where other work ran on the machine it is longer than it need be. Processor s "
    "is the time of all threads for the same, over those seeds that counted it. Images are those that went through "
    "training, each once per epoch; answers are images that went through a teacher, once for every dropout mask, those "
    "on validation images not included. What is shared was paid once for all cells that read the book or learn from "
    "the teacher, and is in no cell's own seconds. ≥: an attempt was killed, and what it spent is not in the figure. "
    "Not counted: the result was written before this was counted."
)


Shape = tuple[str, tuple[str, ...], int]
"""Backbone, stages and number of parameters: networks that agree in them take as long as each other."""


def quietest(trials: Iterable[Trial]) -> dict[Shape, float]:
    """Return the least time of an image over all networks of a shape.

    A single one was measured beside whatever else the machine did: the same network took from 4 to 300 ms.

    Args:
        trials: All of a study, teachers included.
    """
    least: dict[Shape, float] = {}
    for trial in trials:
        shape = _shape(trial)
        least[shape] = min(least.get(shape, math.inf), trial.facts["latency_ms"])
    return least


def _shape(trial: Trial) -> Shape:
    return trial.backbone, trial.answers.scale.names, trial.facts["parameters"]


def costs(pool: Pool, least_ms: Mapping[Shape, float], teachers: Sequence[Pool | None] = ()) -> dict[str, Any]:
    """Return the costs of an arm.

    Args:
        pool: The arm.
        least_ms: Latency of every shape, see :func:`quietest`.
        teachers: Its teachers; None for one that has no result.

    Returns:
        Sizes and latency of what is deployed, and the figures of the table: seconds, images, answers; ``at_least``
        names those that are lower bounds.
    """
    facts = [trial.facts for trial in pool.trials]
    found = [_cost(f) for f in facts]
    known = [teacher for teacher in teachers if teacher is not None]
    seconds = sum(median(trial.facts["cost"]["train_seconds"] for trial in teacher.trials) for teacher in known)
    at_least = list(_LOST_WITH_AN_ATTEMPT) if any(_lost(f["cost"]) for f in facts) else []
    at_least += ["book_seconds"] if any(_lost(b.get("cost", {})) for f in facts for b in _books(f["cost"])) else []
    at_least += ["teacher_seconds"] if any(_lost(t.facts["cost"]) for teacher in known for t in teacher.trials) else []
    return {
        "parameters": round(median(f["parameters"] for f in facts)),
        "deployed_bytes": round(median(f["deployed_bytes"] for f in facts)),
        "latency_ms": median(least_ms[_shape(trial)] for trial in pool.trials),
        **{name: _median_if_known([one[name] for one in found]) for name in found[0]},
        "cpu_seconds": _median_of_known([f["cost"].get("cpu_seconds") for f in facts]),
        "book_teacher_forwards": max(one["book_teacher_forwards"] for one in found),
        "teacher_seconds": seconds if len(known) == len(teachers) else None,
        "at_least": at_least,
    }


def cost_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a Markdown table.

    Args:
        rows: Rows of study.json.
    """
    cells = [[f"`{row['arm']}`", *(_figure(row["cost"], name) for name in _COLUMNS)] for row in rows]
    return table(["Arm", *_COLUMNS.values()], cells)


def _figure(cost: Mapping[str, Any], name: str) -> str:
    value = cost.get(name)
    if value is None:
        return "not counted"
    return ("≥ " if name in cost.get("at_least", ()) else "") + f"{value:,.0f}"


def _cost(facts: Mapping[str, Any]) -> dict[str, Any]:
    cost = facts["cost"]
    return {
        "train_seconds": cost["train_seconds"],
        **_trained(cost.get("phases") or ()),
        "online_teacher_forwards": _online(facts),
        "own_teacher_forwards": cost.get("own_teacher_forwards"),
        "book_teacher_forwards": cost["book_teacher_forwards"],
        "book_seconds": _book_seconds(cost),
        "peak_memory_mb": cost.get("peak_memory_mb"),
    }


def _trained(phases: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """Images and seconds by network: the student is that of the last phase."""
    if not phases:
        return dict.fromkeys(("images_trained", "other_networks_images", "other_networks_seconds"))
    others = [phase for phase in phases if phase["network"] != phases[-1]["network"]]
    images = sum(phase["images_trained"] for phase in others)
    return {
        "images_trained": sum(phase["images_trained"] for phase in phases) - images,
        "other_networks_images": images,
        "other_networks_seconds": sum(phase["seconds"] for phase in others),
    }


def _online(facts: Mapping[str, Any]) -> int | None:
    """Answers of given teachers; results that did not count them had none where they had no teacher online."""
    known: int | None = facts["cost"].get("online_teacher_forwards")
    if known is None and not any(name.startswith("teacher") for name in facts.get("inputs", {})):
        return 0
    return known


def _books(cost: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    books: Sequence[Mapping[str, Any]] = cost.get("books", ())
    return books


def _book_seconds(cost: Mapping[str, Any]) -> float | int | None:
    if not cost["book_teacher_forwards"]:
        return 0
    seconds = [book.get("cost", {}).get("wall_seconds") for book in _books(cost)]
    known = [one for one in seconds if one is not None]
    return sum(known) if known and len(known) == len(seconds) else None


def _lost(cost: Mapping[str, Any]) -> bool:
    """Whether an attempt is not in the figures."""
    begun = cost.get("attempts_begun")
    return bool(cost.get("last_attempt_alone")) or (begun is not None and begun > cost["attempts"])


def _median_of_known(values: Sequence[float | int | None]) -> float | int | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _median_if_known(values: Sequence[float | int | None]) -> float | int | None:
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None
