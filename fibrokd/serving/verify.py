"""Repeats a bundle's golden cases on the machine it landed on, from the PNG bytes to the probabilities.

Owns the comparison. The deviations are reported, not only the verdict: a small drift seen early is worth more than a
failure seen late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from fibrokd.errors import BundleError
from fibrokd.serving.bundle import Bundle, GoldenCase
from fibrokd.serving.predictor import Predictor, Staging


@dataclass(frozen=True)
class CaseDeviation:
    """How far one golden case is from its expected answer.

    Args:
        name: The case.
        deviation: Largest absolute difference of a probability; infinite where the outcome itself differs.
        where: Stage of the largest difference, or what differs otherwise.
    """

    name: str
    deviation: float
    where: str


@dataclass(frozen=True)
class Verification:
    """Result of :func:`verify`.

    Args:
        cases: One entry per golden case.
        tolerance: Largest accepted deviation.
    """

    cases: tuple[CaseDeviation, ...]
    tolerance: float

    @property
    def worst(self) -> CaseDeviation:
        """The case that deviates most."""
        return max(self.cases, key=lambda case: case.deviation)

    @property
    def passed(self) -> bool:
        """True when every case lies within the tolerance."""
        return self.worst.deviation <= self.tolerance

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON data; a case without a comparable answer has deviation null."""
        return {
            "tolerance": self.tolerance,
            "cases": [
                {
                    "name": case.name,
                    "deviation": case.deviation if math.isfinite(case.deviation) else None,
                    "where": case.where,
                }
                for case in self.cases
            ],
        }

    def require_passed(self) -> None:
        """Raise where a golden case failed.

        Raises:
            BundleError: Names the worst case.
        """
        if not self.passed:
            raise BundleError(
                f"Golden case {self.worst.name} deviates by {self.worst.deviation:.2g} in {self.worst.where} on this "
                f"machine; at most {self.tolerance:.2g} is accepted.",
                "Do not use this bundle here; report the case with the versions of onnxruntime and pillow.",
            )


def verify(bundle: Bundle, predictor: Predictor | None = None) -> Verification:
    """Re-run every golden case.

    Args:
        bundle: An opened bundle.
        predictor: A predictor of the same bundle, where one exists already; else one is made.

    Raises:
        BundleError: The bundle holds no golden case, so nothing can be verified.
    """
    if not bundle.golden:
        raise BundleError("Expected golden cases in the bundle, found none.", "Run `fibrokd release` again.")
    predictor = predictor or Predictor(bundle)
    return Verification(tuple(_compare(predictor, case) for case in bundle.golden), bundle.card.tolerance)


def _compare(predictor: Predictor, case: GoldenCase) -> CaseDeviation:
    stagings = predictor.predict_bytes(case.png, case.name)
    if len(stagings) != 1:
        return CaseDeviation(case.name, math.inf, f"the number of frames ({len(stagings)} instead of 1)")
    return deviation(stagings[0], case)


def deviation(staging: Staging, case: GoldenCase) -> CaseDeviation:
    """Compare one answer with the expected one."""
    if staging.outcome != case.outcome:
        return CaseDeviation(case.name, math.inf, f"the outcome ({staging.outcome!r} instead of {case.outcome!r})")
    if set(staging.probabilities) != set(case.probabilities):
        return CaseDeviation(case.name, math.inf, "the stages that are answered")
    differences = {name: abs(p - case.probabilities[name]) for name, p in staging.probabilities.items()}
    if not differences:
        return CaseDeviation(case.name, 0.0, "nothing: the case is refused, as expected")
    # A NaN compares false with everything and would slip through a maximum.
    where = max(differences, key=lambda name: math.inf if math.isnan(differences[name]) else differences[name])
    worst = differences[where]
    return CaseDeviation(case.name, math.inf if math.isnan(worst) else worst, where)
