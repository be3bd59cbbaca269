"""Claims about methods, written down with what would show them before it is known. Data only.

A claim says in words what a paper says, and as numbers what our studies must find for it to have been reproduced:
contrasts between figures on test images, or figures that a method reports of itself. See
:mod:`fibrokd.evaluation.claims.judged` for how they are judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from fibrokd.config import Config

_ARM = re.compile(
    r"(?P<study>[a-z]\w*)/(?P<arm>(teacher:)?[a-z][\w-]*)( at (?P<fraction>[0-9.]+))?( on (?P<backbone>\w+))?"
)


@dataclass(frozen=True)
class ArmOf:
    """An arm of a study; written ``STUDY/ARM``, ``… at FRACTION``, ``… on BACKBONE``.

    Args:
        study: Name of the study's folder.
        arm: Name of the arm; ``teacher:NAME`` for a teacher itself.
        fraction: Share of the training patients.
        backbone: Student; None: the only one that the arm has.
    """

    study: str
    arm: str
    fraction: float = 1.0
    backbone: str | None = None

    def __str__(self) -> str:
        some = "" if self.fraction == 1 else f" at {self.fraction:g}"
        return f"{self.study}/{self.arm}{some}" + (f" on {self.backbone}" if self.backbone else "")


def _read_arm(written: object) -> object:
    if not isinstance(written, str):
        return written
    found = _ARM.fullmatch(written)
    if found is None:
        raise ValueError("expected STUDY/ARM, with ' at FRACTION' and ' on BACKBONE' where needed")
    return ArmOf(found["study"], found["arm"], float(found["fraction"] or 1), found["backbone"])


Arm = Annotated[ArmOf, BeforeValidator(_read_arm), PlainSerializer(str)]


class Bound(Config):
    """On which side of which number a figure must lie."""

    above: float | None = None
    """The claim holds where the figure is larger."""

    below: float | None = None
    """The claim holds where the figure is smaller."""

    @model_validator(mode="after")
    def _one_side(self) -> Bound:
        if (self.above is None) == (self.below is None):
            raise ValueError("expected either `above` or `below`")
        return self

    @property
    def limit(self) -> float:
        """The number."""
        return self.above if self.above is not None else self.below or 0.0

    def holds(self, value: float) -> bool:
        """Return whether a figure is beyond the number on the claimed side."""
        return value > self.limit if self.above is not None else value < self.limit

    def fails(self, value: float) -> bool:
        """Return whether a figure is beyond the number on the other side."""
        return value < self.limit if self.above is not None else value > self.limit


class Contrast(Bound):
    """A difference between arms on the same test images."""

    metric: Literal[
        "balanced_accuracy",
        "quadratic_kappa",
        "mean_absolute_stage_error",
        "log_loss",
        "expected_calibration_error",
    ] = "balanced_accuracy"
    """What is compared."""

    plus: Annotated[tuple[Arm, ...], Field(min_length=1)]
    """Arms whose figures count."""

    minus: tuple[Arm, ...] = ()
    """Arms whose figures are subtracted."""

    combine: Literal["mean", "sum"] = "mean"
    """What is made of the figures of ``plus``, and of those of ``minus``; an arm may stand there twice."""

    @property
    def arms(self) -> tuple[ArmOf, ...]:
        """Every arm that it names."""
        return (*self.plus, *self.minus)


class Finding(Bound):
    """A figure that cells report of themselves: nothing is tested, every seed must say the same."""

    fact: str
    """Where in a cell's figures it stands, such as ``method_facts.rounds.-1.student_macro_f1``; of a list, its mean."""

    of: Arm
    """Whose figure it is."""

    less: Arm | None = None
    """Whose figure is subtracted, seed by seed; ``null``: nobody's, unless ``less_fact`` is given."""

    less_fact: str | None = None
    """The figure that is subtracted; by default ``fact``."""

    @property
    def arms(self) -> tuple[ArmOf, ...]:
        """Every arm that it names."""
        return (self.of,) if self.less is None else (self.of, self.less)


class Claim(Config):
    """One claim."""

    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Kinds of the methods that it is about."""

    says: str
    """What is claimed, in words."""

    regime: str
    """Where it should be visible."""

    contrasts: tuple[Contrast, ...] = ()
    """Differences that must all be found."""

    findings: tuple[Finding, ...] = ()
    """Reported figures that must all be found."""

    elsewhere: str = ""
    """What else bears on it, in words; judged by nobody."""

    @model_validator(mode="after")
    def _can_be_judged(self) -> Claim:
        if not (self.contrasts or self.findings):
            raise ValueError("expected `contrasts` or `findings`: nothing else could show it")
        return self

    @property
    def parts(self) -> tuple[Contrast | Finding, ...]:
        """All that must be found."""
        return (*self.contrasts, *self.findings)

    @property
    def arms(self) -> tuple[ArmOf, ...]:
        """Every arm that is needed, each once."""
        return tuple(dict.fromkeys(arm for part in self.parts for arm in part.arms))


class ClaimsConfig(Config):
    """The register."""

    registered: str
    """When it was written, and what was known then."""

    claims: Annotated[dict[str, Claim], Field(min_length=1)]
    """Name → claim."""

    not_attempted: dict[str, str] = Field(default_factory=dict)
    """Kind of a method → what is claimed of it, or asked, and was not tried, and why."""

    resamples: Annotated[int, Field(ge=100, le=100_000)] = 20_000
    """Resamples of the test patients."""

    seeds: Annotated[int, Field(ge=1)] = 3
    """Seeds that all arms of a contrast or finding must have in common; teachers have one network for all of them."""

    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Nominal coverage of the intervals; 1 − level is the error allowed over the contrasts of the whole register."""
