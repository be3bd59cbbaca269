"""What every term of a method weighs where its knobs are not at their defaults.

Every method's test file says it in ``WEIGHED``, by hand from the formula: a factor that is left out, squared or taken
from another knob shows. α = 0.7 and T = 2 where nothing else is said.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

SHARED = {"alpha": 0.7, "kd_temperature": 2.0}
LABELS, SOFT = 0.3, 0.7 * 2.0**2
VANILLA = {"supervised": LABELS, "kd": SOFT}
ALONE = {"supervised": 1.0}


@dataclass(frozen=True)
class Weighed:
    """Knobs of a method, and name of a phase (a pattern) → term → its coefficient in the phase's first step."""

    knobs: Mapping[str, Any]
    phases: Mapping[str, Mapping[str, float]]

    def expected(self, phase: str) -> Mapping[str, float]:
        """Return the coefficients of a phase; a phase that nobody thought of has none."""
        return next((terms for pattern, terms in self.phases.items() if fnmatchcase(phase, pattern)), {})


def weighed(kind: str) -> Weighed:
    """Return what the method's own test file says; it must."""
    found = getattr(importlib.import_module(f"tests.methods.test_{kind}"), "WEIGHED", None)
    assert isinstance(found, Weighed), f"tests/methods/test_{kind}.py: WEIGHED must say what every term weighs"
    return found
