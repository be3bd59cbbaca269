"""MethodSpec: how a distillation method presents itself to the loop. The loop knows no method, methods know no loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fibrokd.config import Config
from fibrokd.training.objective import Objective, SupervisedTerm

Grade = Literal["A", "B", "C", "D", "M"]


@dataclass(frozen=True)
class MethodSpec:
    """One row of the catalogue.

    Args:
        kind: Name by which configurations ask for the method.
        title: Name for people.
        grade: Evidence grade: A authors' code read, B paper or abstract states it, C third-party code,
            D reconstruction, M from memory. D and M are called "our reading of".
        reference: Source, with DOI or arXiv number.
        config: The method's Config class; its ``kind`` is a literal.
        needs_teacher: Whether a book or a live teacher must be there.
        build: Makes the objective from the method's Config and the shared supervised term.
    """

    kind: str
    title: str
    grade: Grade
    reference: str
    config: type[Config]
    needs_teacher: bool
    build: Callable[[Any, SupervisedTerm], Objective]
